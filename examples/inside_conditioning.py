"""What masks of the inside are worth: one model, shown nothing, predicted or true masks of a held-out view.

    python examples/inside_conditioning.py out/furniture/data out/inside --segmenter SEGMENTER

takes a dataset of 20 views fused at schema 3 (examples/it_learns.sh makes it; fuse with `--validation 0.1`)
and a checkpoint of `--config segment_cpu`. A small model learns clouds of outside and hidden points from one
view, half of the time with the view's true masks (`see_inside: mixed`). Then it generates the held-out
objects from views that no step has shown, with and without masks from the same noise; an object's scores are
means over its views. OUT/table.md is the outcome; a run that is there is not trained again.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from tyro.conf import Positional

from training.config import TrainConfig
from training.segmentation.comparison import compare_insides
from training.settings import EvaluateSettings, SeeInside
from training.train import train

SEEN = 12
"""Views that steps may show; the next ones are for the evaluation."""
SMALL = TrainConfig(
    batch=16, points=512, step_points=128, width=64, layers=3, heads=2, prediction="flow", lr=2e-3,
    points_from="outside+hidden", hidden_share=0.5, target="albedo", view_rays=True, view_projected=True,
    view_outline=True, see_inside="mixed", warmup=30, ema=0.99, views=SEEN, image_size=128, cond_drop=0,
    device="cpu", threads=1, precision="float32", val_every=0, score_every=0, sample_every=0,
    checkpoint_every=250, log_every=50, keep=1, tensorboard=False,
)  # fmt: skip
"""The model and its training; an image of 128 pixels is 4 x 4 tokens."""


@dataclass(frozen=True)
class Options:
    """Compare clouds generated without masks, with predicted and with true ones."""

    data: Positional[Path]
    """The dataset folder."""
    out: Positional[Path]
    """Where the run and the table go."""
    segmenter: Path | None = None
    """The checkpoint that predicts masks; None: predicted masks are left out."""
    steps: int = 1500
    """Optimizer steps."""
    seed: int = 0
    """Seed of the training."""
    count: int = 10**6
    """Maximum number of held-out objects."""
    views: int = 4
    """Unseen views that each held-out object is generated from, one at a time."""
    samples: int = 1
    """Clouds per view and kind of masks."""
    points: int = 512
    """Points per cloud."""
    radius: tuple[float, ...] = (0.05, 0.1)
    """Distances at which a hidden point counts as found."""


def main(options: Options) -> None:
    """Train, evaluate, and write the table."""
    torch.set_num_threads(1)
    run, begun = trained(options), time.process_time()
    kinds: tuple[SeeInside, ...] = ("none", "predicted", "true") if options.segmenter else ("none", "true")
    settings = EvaluateSettings(
        options.data, run, see_inside=kinds, segmenter=options.segmenter, count=options.count, view=SEEN,
        points=options.points, steps=8, guidance=1, device="cpu", precision="float32", radius=options.radius,
        thresholds=(0.05, 0.1), score_points=options.points,
    )  # fmt: skip
    lines = compare_insides(settings, options.samples, options.views).lines()
    seconds = json.loads((run / "seconds.json").read_text())
    cost = f"CPU-seconds: {seconds:.0f} to train, {time.process_time() - begun:.0f} to evaluate"
    (options.out / "table.md").write_text("\n".join([*lines, "", cost]) + "\n")
    print((options.out / "table.md").read_text())


def trained(options: Options) -> Path:
    """The run's folder, which keeps the CPU-seconds that it took."""
    name, runs, begun = f"mixed-{options.steps}-{options.seed}", options.out / "runs", time.process_time()
    changes = {"steps": options.steps, "seed": options.seed, "encoder_cache": str(options.out / "cache")}
    record = runs / name / "seconds.json"
    if not record.exists():
        train(SMALL.model_copy(update=changes), options.data, name, runs=runs)
        record.write_text(json.dumps(time.process_time() - begun))
    return runs / name


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(tyro.cli(Options))
