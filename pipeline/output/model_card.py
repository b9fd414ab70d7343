"""A checkpoint as a folder for others, with a model card: what it learned from, how long, how good it is.

The card's keys are the Hub's: huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from fuse.dataset.layout import Layout
from pipeline.output.card import ShardFacts, shard_facts, table
from render.failures import DAMAGE, UserError
from training import checkpoints
from training.config import TrainConfig
from training.evaluate import EVALUATIONS
from training.output.logs import read_log
from training.output.model_folder import write_model

_SNIPPET = """```sh
pip install 'insideout3d[train]'
insideout generate --checkpoint MODEL --image chair.png --to chair.ply
```

`MODEL` is this folder."""


def export_model(run: Path, to: Path, license: str | None = None) -> Path:
    """Write the run's newest checkpoint, or a checkpoint, to the folder `to`; return it."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"{to}: is not an empty folder. Choose another one.")
    path = checkpoints.newest(run)
    state = checkpoints.load(path)
    if not checkpoints.is_weights(state["ema"]):
        raise UserError(f"{path}: its weights are no tensors by name. Use another checkpoint.")
    text = model_card(path, state, license)
    to.mkdir(parents=True, exist_ok=True)
    write_model(to, state)
    (to / "README.md").write_text(text)
    return to


def model_card(path: Path, state: dict[str, Any], license: str | None) -> str:
    """The card of a checkpoint's model, as Markdown."""
    config, folder = checkpoints.config_of(state, path), path.parent
    parameters = sum(value.numel() for value in state["ema"].values())
    evaluations = list(_evaluations(folder / EVALUATIONS, path.stem))
    sections = [
        f"# {folder.name}",
        f"{_task(config)} {parameters / 1e6:.2f} million parameters, trained for {state['step']} steps of "
        f"{config.batch} clouds with InsideOut.",
        "## Use",
        _SNIPPET,
        "## Data",
        *_data(folder, config),
        "## Training",
        table(("after", "step", "value"), _last_values(folder, state["step"])),
        *(["## Scores", *evaluations] if evaluations else []),
        "## Configuration",
        f"```json\n{json.dumps(config.model_dump(mode='json', exclude_defaults=True), indent=1)}\n```",
        "Settings that are not listed have their defaults.",
    ]
    return _front_matter(folder, license) + "\n\n".join(sections) + "\n"


def _front_matter(folder: Path, license: str | None) -> str:
    values = {
        "license": license or "other",
        **({} if license else {"license_name": "not-stated"}),
        "library_name": "insideout3d",
        "pipeline_tag": "image-to-3d",
        "tags": ["3d", "point-cloud", "diffusion"],
        "model_name": folder.name,
    }
    return f"---\n{yaml.safe_dump(values, sort_keys=False)}---\n\n"


def _task(config: TrainConfig) -> str:
    given = {"uncond": "nothing", "upsample": "a coarse cloud and an image"}.get(config.model)
    given = given or ("a text" if config.encoder == "clip_text" else "an image")
    kind = {"outside": "colored", "outside+hidden": "colored, with hidden points,", "solid": "solid"}
    return f"Generates point clouds ({kind[config.points_from]} {config.points} points) from {given}."


def _data(folder: Path, config: TrainConfig) -> Iterator[str]:
    """How many models of which license it has seen; the run may have left its dataset."""
    layout = Layout(folder.parent.parent)
    if layout.checkpoints != folder.parent or not layout.manifest.exists():
        yield "The dataset is not beside the run: say here what the model has seen."
        return
    facts: ShardFacts = shard_facts(layout)
    yield f"{facts.splits[config.split]} models (split `{config.split}`) of the dataset `{layout.root.name}`."
    yield table(("license, of all splits", "models"), facts.models_by_license().items())


def _last_values(folder: Path, step: int) -> Iterator[tuple[str, int, str]]:
    """(log, step, mean) of each log's last line up to a step."""
    for log, key in (("loss", "loss"), ("validation", "loss"), ("score", "chamfer")):
        lines = list(read_log(folder / f"{log}.jsonl", step))
        if lines and _is_finite(lines[-1].get(key)):
            yield f"{log}, {key}" if log != key else log, lines[-1]["step"], f"{lines[-1][key]:.4f}"


def _evaluations(folder: Path, checkpoint: str) -> Iterator[str]:
    """What `insideout evaluate` kept of the checkpoint: a line and a table each."""
    for path in sorted(folder.glob(f"{checkpoint}*.json")):
        try:
            found = json.loads(path.read_text())
            scores = table(("score", "value", "floor", "ceiling"), _scores(found["scores"]["scores"]))
            about = f"{found['objects_of']}:"
        except DAMAGE as error:
            reason = f"not what `insideout evaluate` keeps ({type(error).__name__}: {error})"
            raise UserError(f"{path}: {reason}. Delete it.") from None
        yield about
        yield scores


def _scores(scores: Iterable[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for one in scores:
        values = (one.get(key) for key in ("value", "floor", "ceiling"))
        yield str(one["name"]), *(f"{value:.4f}" if _is_finite(value) else "" for value in values)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < math.inf
