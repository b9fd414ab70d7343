"""Failed models processed again, with the configuration that their dataset records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fuse.config import FuseConfig
from fuse.dataset import storage
from fuse.dataset.layout import Layout, open_dataset
from pipeline.config import EngineConfig
from pipeline.engine.runner import Summary
from pipeline.ledger.compact import runs
from pipeline.ledger.failed import failed_rows
from pipeline.output import record as dataset
from pipeline.stages.fuse import fuse
from pipeline.stages.render import render
from render.config import RenderConfig
from render.failures import UserError


def retry(
    out: Path, stage: str, models: Path | None, kinds: Sequence[str], engine: EngineConfig
) -> Summary | None:
    """Process the failed models of `stage` again; None if none has failed.

    Without `models`, render's are looked for where its last run had them.
    """
    layout = open_dataset(out)
    uids = {row.uid for row in failed_rows(layout, stage, kinds)}
    if not uids:
        return None
    if stage == "render":
        models = models or _models_of_last_run(layout)
    config = dataset.read(layout).get("stages", {}).get(stage, {}).get("config")
    if config is None:
        raise UserError(
            f"{layout.dataset}: no configuration of {stage}. Run `insideout {stage}` again instead."
        )
    engine = engine.model_copy(update={"on_existing": "retry-failed"})
    if stage == "fuse":
        return fuse(out, FuseConfig.model_validate(config), engine, uids)
    assert models is not None
    return render(models, out, RenderConfig.model_validate(config), engine, uids)


def _models_of_last_run(layout: Layout) -> Path:
    """What the newest run of render was given, as its ledger says."""
    said = runs(layout.ledger("render"))
    if not said or not said[-1].models:
        raise UserError("retry needs --models: the folder, list or file that the models were rendered from.")
    models = storage.locate(said[-1].models)
    if not models.exists():
        raise UserError(f"{models}, where the last run had its models, is not there. Give --models.")
    return models
