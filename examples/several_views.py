"""Do more views help, and which way of showing them? One small model per arm, judged on unseen objects.

    python examples/several_views.py out/furniture/data out/several_views

takes a dataset of 20 views (examples/it_learns.sh makes it; fuse with `--validation 0.15`), trains every arm
of `ARMS` with the same seeds, batches, points, noise and steps on views 0 to 11 of the training objects, and
generates two clouds of every held-out object from its views 12 to 19. Today's model is also trained for more
steps, to compare arms that cost more per step at equal CPU-seconds. Held-out objects that nearly repeat a
training object are left out. OUT/results.jsonl, table.md and picture.png are the outcome; what is in
results.jsonl is not computed again.

    python examples/several_views.py DATA OUT --arms today projected --steps 3000
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image
from tyro.conf import Positional
from view_datasets import alike, apart, subset
from view_results import Result, judged, table, turned_back

from fuse.dataset.layout import Layout
from fuse.dataset.manifest import read_manifest
from fuse.dataset.shard import image_column, read_rows
from fuse.preview.picture import draw_cloud
from training.conditioning.encoder import load_pixels
from training.conditioning.shown import View
from training.config import TrainConfig
from training.data.channels import from_network
from training.evaluate import Sample, read_samples
from training.generator import Generator
from training.scores.bootstrap import mean_interval
from training.settings import Rule, Sampling
from training.train import train

SEEN, UNSEEN = 12, range(12, 20)
"""Views that steps may show, and those of the evaluation."""
SAMPLES, POINTS, SAMPLING_STEPS = 2, 256, 8

SMALL = TrainConfig(
    batch=16, points=1024, step_points=64, width=64, layers=3, heads=2, prediction="flow", lr=2e-3, warmup=30,
    ema=0.99, views=SEEN, image_size=128, cond_drop=0, device="cpu", threads=1, val_every=0, sample_every=0,
    checkpoint_every=10**6, log_every=100, keep=1, tensorboard=False,
)  # fmt: skip
"""The model and its training; an image of 128 pixels is 4 x 4 tokens."""


@dataclass(frozen=True)
class Arm:
    """A way of showing views, and how its model is asked."""

    changes: dict[str, Any]
    """What differs from `SMALL`."""
    views: tuple[int, ...] = (1,)
    """Numbers of views that its clouds are generated from, all at once."""
    rules: tuple[tuple[int, Rule], ...] = ()
    """Further numbers of views, and rules that need no training."""
    unposed: tuple[int, ...] = ()
    """Numbers of views whose cameras it is not told."""
    models: int = 0
    """Training models: the first ones of the dataset; 0: all."""
    longer: float = 1
    """How many times the others' steps it is trained."""


SEVERAL = (1, 2, 4, 8)
PROJECTED = {"view_rays": True, "view_projected": True}
OUTLINE = PROJECTED | {"view_outline": True}
FIRST = PROJECTED | {"views_most": 4, "frame": "first_view"}
ARMS = {
    "today": Arm({}, rules=((2, "cycle"), (4, "cycle"), (8, "cycle"), (2, "mean"), (4, "mean"), (8, "mean"))),
    "today, 1.3 times the steps": Arm({}, longer=1.3),
    "today, 1.7 times the steps": Arm({}, longer=1.7),
    "today, 2.5 times the steps": Arm({}, longer=2.5),
    "rays, 1 view": Arm({"view_rays": True}),
    "projected, 1 view": Arm(PROJECTED),
    "projected": Arm(PROJECTED | {"views_most": 4}, SEVERAL),
    "projected, outline": Arm(OUTLINE | {"views_most": 4}, SEVERAL),
    "projected, outline, causal": Arm(OUTLINE | {"views_most": 4, "view_fusion": "causal"}, SEVERAL),
    "first view, outline": Arm(FIRST | {"view_outline": True}, SEVERAL, unposed=(1, 4)),
    "rays": Arm({"view_rays": True, "views_most": 4}, SEVERAL),
    "tags": Arm({"view_tags": True, "views_most": 4}, SEVERAL),
    "projected, causal": Arm(PROJECTED | {"views_most": 4, "view_fusion": "causal"}, SEVERAL),
    "projected, state": Arm(PROJECTED | {"views_most": 4, "view_fusion": "state"}, SEVERAL),
    "projected, some unposed": Arm(
        PROJECTED | {"views_most": 4, "camera_drop": 0.4}, SEVERAL, unposed=(1, 4)
    ),
    "first view": Arm(FIRST, SEVERAL, unposed=(1, 4)),
    "first view, some unposed": Arm(FIRST | {"camera_drop": 0.4}, SEVERAL, unposed=(1, 4)),
    "photographs": Arm(
        FIRST | {"camera_drop": 0.4, "crop": True, "crop_jitter": 0.1}, (1, 4), unposed=(1, 4)
    ),
    "one vector": Arm({"view_cells": 1}),
    "projected, 320 models": Arm(PROJECTED | {"views_most": 4}, SEVERAL, models=320),
    "projected, 80 models": Arm(PROJECTED | {"views_most": 4}, SEVERAL, models=80),
    "projected, 20 models": Arm(PROJECTED | {"views_most": 4}, SEVERAL, models=20),
}
DRAWN = "projected, outline"
"""The arm that the picture shows beside today's model."""


@dataclass(frozen=True)
class Options:
    """Compare ways of showing views on held-out objects."""

    data: Positional[Path]
    """The dataset folder."""
    out: Positional[Path]
    """Where results, table and picture go."""
    arms: tuple[str, ...] = tuple(ARMS)
    """The arms to run."""
    steps: int = 1500
    """Optimizer steps per arm."""
    seed: int = 0
    """Seed of the training."""
    held_out: Path | None = None
    """Another dataset folder, whose held-out objects are held out of this one, in place of its own."""


class Experiment:
    """The held-out objects, and the arms' models and results."""

    def __init__(self, options: Options):
        self.options = options
        options.out.mkdir(parents=True, exist_ok=True)
        self.data = apart(options.data, options.held_out, options.out) if options.held_out else options.data
        self.clouds = Layout(self.data).clouds
        self._file = options.out / "results.jsonl"

    @cached_property
    def held_out(self) -> list[Sample]:
        """Held-out objects that are in no family with a training object, with their unseen views."""
        config = SMALL.model_copy(update={"view_rays": True})  # so that cameras are read
        samples = read_samples(self.clouds, config, 10**6, UNSEEN, 4 * POINTS, "validation")
        leaked = alike(self.clouds)
        print(f"{len(samples)} held-out objects, less {len(leaked)} that nearly repeat a training object")
        return [sample for sample in samples if sample.uid not in leaked]

    def results(self) -> list[Result]:
        """What is known so far."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        return [Result(**json.loads(line)) for line in lines]

    def run(self, name: str) -> None:
        """Train an arm and judge it for every number of views, unless that is known."""
        arm, options = ARMS[name], self.options
        known = {(r.arm, r.views, r.rule, r.posed, r.steps, r.seed) for r in self.results()}
        asked: list[tuple[int, Rule, bool]] = [(views, "together", True) for views in arm.views]
        asked += [(*one, True) for one in arm.rules] + [(views, "together", False) for views in arm.unposed]
        missing = [one for one in asked if (name, *one, options.steps, options.seed) not in known]
        if not missing:
            return
        checkpoint, seconds = self.train(name, arm)
        generator = Generator(checkpoint, "cpu")
        for views, rule, posed in missing:
            result = self.judge(name, generator, views, rule, posed, seconds)
            with self._file.open("a") as file:
                file.write(json.dumps(vars(result)) + "\n")
            print(f"{name}, {views} views, {result.way}: Chamfer {mean_interval(np.array(result.chamfer))}")

    def train(self, name: str, arm: Arm, data: Path | None = None) -> tuple[Path, float]:
        """The arm's checkpoint, and the CPU-seconds that it took; `data`: a dataset of its own."""
        options = self.options
        run = f"{name.replace(', ', '-').replace(' ', '-')}-{options.steps}-{options.seed}"
        folder, record = options.out / "runs", options.out / "runs" / run / "seconds.json"
        steps = round(options.steps * arm.longer)
        changes = {"steps": steps, "seed": options.seed, "encoder_cache": str(options.out / "cache")}
        config = TrainConfig.model_validate(SMALL.model_dump() | arm.changes | changes)
        if not record.exists():
            data = data or subset(self.data, options.out, arm.models)
            self._encode(config)
            begun = time.process_time()
            train(config, data, run, runs=folder)
            record.write_text(json.dumps(time.process_time() - begun))
        return folder / run, json.loads(record.read_text())

    def _encode(self, config: TrainConfig) -> None:
        """Encode all images once, so that no arm's CPU-seconds hold the encoder's."""
        from training.checkpoints import build_encoder

        encoder, marker = build_encoder(config, "cpu"), self.options.out / f"encoded-{config.view_cells}"
        if not marker.exists():
            for part in read_manifest(self.clouds):
                for row in read_rows(self.clouds / part.file, ["split", *map(image_column, range(20))]):
                    views = range(SEEN) if row["split"] == "train" else UNSEEN
                    encoder([row[image_column(view)] for view in views])
            marker.touch()

    def sample(
        self,
        generator: Generator,
        given: Sequence[Sequence[View]],
        rule: Rule,
        points: int,
    ) -> np.ndarray:
        """`SAMPLES` clouds of each object: (SAMPLES, K, C, N); their noise is the same for every arm."""
        sampling = Sampling(SAMPLING_STEPS, guidance=1.0, batch=len(given), rule=rule)
        clouds = generator.sample([*given] * SAMPLES, points, sampling)
        return clouds.reshape(SAMPLES, len(given), *clouds.shape[1:])

    def judge(
        self, name: str, generator: Generator, views: int, rule: Rule, posed: bool, seconds: float
    ) -> Result:
        """The scores of an arm's clouds against the true clouds' first `POINTS` points."""
        begun = time.process_time()
        given = [sample.views[:views] for sample in self.held_out]
        told = given if posed else [[View(view.image) for view in some] for some in given]
        clouds = self.sample(generator, told, rule, POINTS)
        spent = (time.process_time() - begun) / clouds.shape[0] / clouds.shape[1]
        if generator.config.frame == "first_view" and not posed:
            clouds = np.stack([turned_back(some, given, generator.config.crop) for some in clouds])
        scores = np.array([judged(some, self.held_out) for some in clouds])
        options = self.options
        return Result(
            name,
            views,
            rule,
            options.steps,
            options.seed,
            seconds,
            spent,
            *scores.mean(0).round(5).T.tolist(),
            posed=posed,
        )


def picture(experiment: Experiment, count: int = 8, size: int = 144) -> Image.Image:
    """Columns of held-out objects: image, today's model, `DRAWN` with four views, truth."""
    every = experiment.held_out
    samples = [every[i] for i in np.linspace(0, len(every) - 1, count).astype(int)]
    rows = []
    for name, views in (("today", 1), (DRAWN, 4)):
        checkpoint, _ = experiment.train(name, ARMS[name])
        given = [sample.views[:views] for sample in samples]
        rows.append(experiment.sample(Generator(checkpoint, "cpu"), given, "together", 4 * POINTS)[0])
    rows.append(np.stack([sample.cloud for sample in samples]))
    sheet = Image.new("RGB", (count * size, 4 * size), "white")
    for x, sample in enumerate(samples):
        tiles = [Image.fromarray(load_pixels(sample.views[0].image, size))]
        tiles += [draw_cloud(*from_network(row[x]), size).convert("RGB") for row in rows]
        for y, tile in enumerate(tiles):
            sheet.paste(tile, (x * size, y * size))
    return sheet


def main(options: Options) -> None:
    """Run the arms, then write the table and the picture of all that is known."""
    torch.set_num_threads(1)
    experiment = Experiment(options)
    for name in options.arms:
        experiment.run(name)
    results = [r for r in experiment.results() if (r.steps, r.seed) == (options.steps, options.seed)]
    results.sort(key=lambda r: (list(ARMS).index(r.arm), r.way, r.views))
    (options.out / "table.md").write_text(table(results) + "\n")
    print(table(results))
    if {"today", DRAWN} <= {result.arm for result in results}:
        picture(experiment).save(options.out / "picture.png")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(tyro.cli(Options))
