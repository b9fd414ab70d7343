"""What the layers of three views are worth: alone, and as one more cloud to merge.

    insideout train out/furniture/data --config layers_cpu --views 12 --run layers
    python examples/layers.py out/furniture/data out/layers --layers out/furniture/data/checkpoints/layers \\
        --base out/inside/runs/mixed-1000-0

takes a dataset of 20 views (examples/it_learns.sh makes it; fuse with `--validation 0.1`), a checkpoint of
`model: layers` and one that makes labeled clouds of one posed view (examples/inside_conditioning.py trains
it). Each held-out object has three views that no step has shown. The surfaces along their rays are compared
with clouds that look at no picture, or at silhouettes alone, and with those of the base, half of each cloud's
points hidden; then each rule merges the base's clouds with and without them. OUT/table.md is the outcome.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from tyro.conf import Positional

from fuse.dataset.layout import Layout
from training.conditioning.shown import View
from training.config import TrainConfig
from training.evaluate import Sample, read_samples
from training.generator import Generator
from training.merging.pictures import shown_by
from training.merging.rules import ON_OBJECT, rule_of, sample
from training.merging.settings import MergeRule
from training.scores.bootstrap import mean_interval, paired_difference
from training.scores.clouds import distinct, from_channels
from training.scores.distances import chamfer
from training.scores.inside import inside_scores
from training.segmentation.layer_cloud import LayerPredictor
from training.settings import Sampling

UNSEEN = range(12, 15)
"""The views of the evaluation."""
POINTS, SAMPLING_STEPS = 1024, 8
"""Points of every cloud that is scored; the base's clouds have half as many each."""
LEARNED, EACH = 200, 1024
"""Training objects whose points are the clouds that look at nothing, and half as many as of each."""
RADIUS = 0.1
HIDDEN = (f"hidden recall@{RADIUS:g}", f"hidden precision@{RADIUS:g}")
SCORES = (*HIDDEN, "label accuracy", "outside Chamfer", "Chamfer")
RULES: tuple[MergeRule, ...] = ("union", "sample", "consensus", "silhouettes", "hull")
Scores = dict[str, np.ndarray]
"""By score, (K,) values of K objects."""


@dataclass(frozen=True)
class Options:
    """Compare layered clouds of held-out objects with others, alone and merged."""

    data: Positional[Path]
    """The dataset folder."""
    out: Positional[Path]
    """Where the base's clouds and the table go."""
    layers: Path
    """A checkpoint of `model: layers`."""
    base: Path
    """A checkpoint that makes labeled clouds of one view with its camera."""
    count: int = 10**6
    """Maximum number of held-out objects."""


def main(options: Options) -> None:
    """Score every way, and write the table."""
    torch.set_num_threads(1)
    base, begun = Generator(options.base, "cpu"), time.process_time()
    held = objects(options, base.config, "validation", options.count)
    drawn = base_clouds(base, held, options.out / "base.npy")
    predictor = LayerPredictor(options.layers)
    layered = [predictor.cloud(one.views) for one in held]
    single = [predictor.cloud(one.views[:1]) for one in held]
    nothing = mean_cloud(options, base.config)
    arms = {
        "training objects' points": [nothing] * len(held),
        "those of them on the silhouettes": [on_silhouettes(nothing, one.views) for one in held],
        "layers of one view": single,
        "layers of three views": layered,
        "base, one view": [clouds[0] for clouds in drawn],
    }
    scores = {name: judged([halves(one) for one in made], held) for name, made in arms.items()}
    for rule in RULES:
        with_layers = [[*some, extra] for some, extra in zip(drawn, layered, strict=True)]
        for name, given in (("base", drawn), ("base and layers", with_layers)):
            scores[f"{rule} of {name}"] = judged(list(merged(rule, given, held)), held)
    lines = [f"{len(held)} held-out objects", "", *table(scores), ""]
    lines.append(f"CPU-seconds: {time.process_time() - begun:.0f}")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def objects(
    options: Options, config: TrainConfig, split: str, count: int, points: int = POINTS
) -> list[Sample]:
    """Objects of a split, with twice `points` true points and the views of the evaluation."""
    return read_samples(Layout(options.data).clouds, config, count, UNSEEN, 2 * points, split)


def base_clouds(base: Generator, held: Sequence[Sample], path: Path) -> list[list[np.ndarray]]:
    """A cloud of each view of each object, (C, POINTS / 2), made once."""
    if not path.exists():
        items = [[view] for one in held for view in one.views]
        made = base.sample(items, POINTS // 2, Sampling(SAMPLING_STEPS, guidance=1.0, batch=16))
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, made.reshape(len(held), len(UNSEEN), *made.shape[1:]))
    return [list(clouds) for clouds in np.load(path)]


def mean_cloud(options: Options, config: TrainConfig) -> np.ndarray:
    """The points of training objects in random order, (C, 2 * LEARNED * EACH)."""
    every = [one.cloud for one in objects(options, config, "train", LEARNED, EACH)]
    return np.random.default_rng(0).permutation(np.concatenate(every, 1), axis=1)


def on_silhouettes(cloud: np.ndarray, views: Sequence[View]) -> np.ndarray:
    """The points of a cloud (C, N) that fall on the object in all views; the first ones if none does."""
    on = shown_by([cloud], views, 1).alpha >= ON_OBJECT
    return cloud[:, on] if on.any() else cloud[:, :1]


def halves(cloud: np.ndarray) -> np.ndarray:
    """POINTS points of a cloud (C, N), half of them hidden, as of the true ones: recall goes by numbers."""
    hidden = cloud[6] > 0
    parts = [cloud[:, some] for some in (hidden, ~hidden) if some.any()]
    return np.concatenate([sample([part], POINTS // len(parts)) for part in parts], 1)


def merged(
    rule: MergeRule, given: Sequence[Sequence[np.ndarray]], held: Sequence[Sample]
) -> Iterator[np.ndarray]:
    """What a rule makes of some clouds of each object, (C, POINTS) each."""
    for clouds, one in zip(given, held, strict=True):
        yield rule_of(rule, shown=shown_by(clouds, one.views, POINTS))(clouds, POINTS)


def judged(made: Sequence[np.ndarray], held: Sequence[Sample]) -> Scores:
    """The scores of a cloud (C, POINTS) of each object against the points that are known of it."""
    rows = []
    for cloud, one in zip(made, held, strict=True):
        own, true = from_channels(one.uid, cloud), distinct(from_channels(one.uid, one.cloud))
        rows.append(inside_scores(own, true, RADIUS) | {"Chamfer": chamfer(own.xyz, true.xyz)})
    return {name: np.array([row[name] for row in rows]) for name in SCORES}


def table(scores: dict[str, Scores]) -> list[str]:
    """Lines of Markdown: means with intervals, and below each merged cloud with layers what they change."""
    lines = [f"| | {' | '.join(SCORES)} |", f"|---{'|---' * len(SCORES)}|"]
    for name, score in scores.items():
        cells = [interval(mean_interval, score[each]) for each in SCORES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        without = name.removesuffix(" and layers")
        if without != name:
            gains = [interval(paired_difference, score[each], scores[without][each]) for each in SCORES]
            lines.append(f"| what layers change | {' | '.join(gains)} |")
    return lines


def interval(of: Callable, *values: np.ndarray) -> str:
    """A mean, or the mean of paired differences, with its 95 % interval over objects."""
    found, sign = of(*values), "+" if len(values) > 1 else ""
    return f"{found.mean:{sign}.3f} [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(tyro.cli(Options))
