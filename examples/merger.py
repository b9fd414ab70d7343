"""Three clouds of one object, from three pictures, made one: rules, mergers, and all views at once.

    python examples/merger.py out/furniture/data out/merger

takes a dataset of 20 views (examples/it_learns.sh makes it; fuse with `--validation 0.15`). Two bases, each
trained on half of the training objects, draw three clouds of every object, one per picture, each object by
the base that has not learned from it. A merger and its variant without noise, which may be shown the pictures
too, learn from those. Held-out objects are drawn from views that no step has shown, and every way of making
one cloud of their three is scored against the true cloud. OUT/table.md and picture.png are the outcome. What
is there is not computed again: training runs and draws continue where they stopped.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image
from tyro.conf import Positional
from view_datasets import alike

from fuse.dataset.layout import Layout
from fuse.preview.picture import draw_cloud
from training.conditioning.encoder import load_pixels
from training.conditioning.shown import View
from training.config import TrainConfig
from training.data.channels import from_network
from training.data.drawn import Draws, as_condition
from training.evaluate import read_samples
from training.generator import Generator, refine
from training.merging.draw import draw
from training.merging.pictures import shown_by
from training.merging.rules import consensus, rule_of, sample, union
from training.merging.settings import DrawSettings, MergeRule
from training.scores.bootstrap import mean_interval, relative_difference
from training.scores.distances import chamfer, f_score
from training.settings import Sampling
from training.train import train

SEEN, UNSEEN = 12, (12, 20)
"""Views that steps may show, and those of the evaluation."""
CLOUDS = 3
POINTS, SAMPLING_STEPS = 1024, 5
SMALL = TrainConfig(
    batch=16, points=POINTS, step_points=64, width=64, layers=3, heads=2, prediction="flow", lr=2e-3,
    warmup=30, ema=0.99, views=SEEN, image_size=128, cond_drop=0, device="cpu", threads=1, val_every=0,
    score_every=0, sample_every=0, checkpoint_every=10**6, log_every=100, keep=1, tensorboard=False,
)  # fmt: skip
"""The models and their training; an image of 128 pixels is 4 x 4 tokens."""
BASE: dict[str, Any] = {"view_rays": True, "view_projected": True}
MERGE: dict[str, Any] = {
    "model": "merge",
    "merge_clouds": CLOUDS,
    "merge_points": 0,
    "merge_tokens": 64,
    "camera_drop": 0.2,
}
OFFSET: dict[str, Any] = {"prediction": "offset", "step_points": 256, "batch": 8}
"""A Chamfer distance between few points says little of the surface."""
TOGETHER: dict[str, Any] = BASE | {"view_outline": True, "views_most": CLOUDS}
IMAGES: dict[str, Any] = TOGETHER | {"merge_images": True}
SELECT: dict[str, Any] = {"prediction": "select", "step_points": 256, "width": 96, "layers": 1, "steps": 300}
MERGERS: dict[str, dict[str, Any]] = {
    "merger": {},
    "offset": OFFSET,
    "select": SELECT,
    "merger with images": IMAGES,
    "offset with images": OFFSET | IMAGES,
    "select with images": SELECT | IMAGES | {"views_least": CLOUDS, "camera_drop": 0},
}
"""Networks that merge, by their arms."""
FINER = ("union", "consensus", "hull", "select with images", "joint views")
"""The arms that get a picture, and 4,096 points."""
UPSAMPLE: dict[str, Any] = {"model": "upsample", "points": 3072, "condition_points": POINTS, "batch": 8}


@dataclass(frozen=True)
class Options:
    """Compare ways of merging clouds on held-out objects."""

    data: Positional[Path]
    """The dataset folder."""
    out: Positional[Path]
    """Where runs, draws, results, table and picture go."""
    steps: int = 1000
    """Optimizer steps of each model."""
    seed: int = 0
    """Seed of the training."""
    upsample: bool = False
    """Also train an upsampler on merged clouds, and score 4,096 points."""


@dataclass(frozen=True)
class Held:
    """A held-out object."""

    uid: str
    views: list[View]  # CLOUDS of them
    true: np.ndarray  # (C, 4 * POINTS)
    clouds: list[np.ndarray]  # CLOUDS times (C, POINTS), of one view each


class Experiment:
    """The models, the drawn clouds and the held-out objects."""

    def __init__(self, options: Options):
        self.options = options
        self.clouds = Layout(options.data).clouds

    def train(self, name: str, changes: dict[str, Any]) -> Path:
        """A run's folder; the CPU-seconds that it took are kept in it."""
        options, run = self.options, f"{name}-{self.options.steps}-{self.options.seed}"
        folder = options.out / "runs"
        common = {"steps": options.steps, "seed": options.seed, "encoder_cache": str(options.out / "cache")}
        config = TrainConfig.model_validate(SMALL.model_dump() | common | changes)
        record = folder / run / "seconds.json"
        if not record.exists():
            begun = time.process_time()
            train(config, options.data, run, runs=folder)
            record.write_text(json.dumps(time.process_time() - begun))
        return folder / run

    @cached_property
    def bases(self) -> tuple[Path, ...]:
        """Two models of one view, each of half of the objects."""
        return tuple(self.train(f"base-{fold}", BASE | {"fold": f"{fold}/2"}) for fold in range(2))

    @cached_property
    def joint(self) -> Path:
        """A model that is shown all views at once, of all objects."""
        return self.train("joint", TOGETHER)

    def drawn(self, split: str, views: tuple[int, int]) -> Draws:
        """The bases' clouds of a split's objects."""
        options = self.options
        folder = options.out / f"draws-{split}-{POINTS}-{options.steps}-{options.seed}"
        return draw(
            DrawSettings(
                options.data, self.bases, folder, CLOUDS, view_range=views, split=(split,), points=POINTS,
                steps=SAMPLING_STEPS, device="cpu",
            )
        )  # fmt: skip

    def merger(self, name: str) -> Path:
        """A merger that has learned from the training objects' clouds."""
        changes = MERGE | MERGERS[name] | {"draws": str(self.drawn("train", (0, SEEN)).folder)}
        return self.train(name.replace(" ", "-"), changes)

    @cached_property
    def held_out(self) -> list[Held]:
        """Held-out objects that are in no family with a training object."""
        config = SMALL.model_copy(update={"view_rays": True})  # so that cameras are read
        draws, leaked = self.drawn("validation", UNSEEN), alike(self.clouds)
        samples = read_samples(self.clouds, config, 10**6, range(*UNSEEN), 4 * POINTS, "validation")
        print(f"{len(samples)} held-out objects, less {len(leaked)} that nearly repeat a training object")
        return [
            Held(
                sample.uid,
                [sample.views[view - UNSEEN[0]] for some in draws[sample.uid].views for view in some],
                sample.cloud,
                list(draws[sample.uid].clouds),
            )
            for sample in samples
            if sample.uid not in leaked
        ]

    def by_rule(self, rule: Callable[[Sequence[np.ndarray], int], np.ndarray]) -> np.ndarray:
        """A rule's clouds of all held-out objects, (K, C, POINTS)."""
        return np.stack([rule(held.clouds, POINTS) for held in self.held_out])

    def by_pictures(self, rule: MergeRule, clouds: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
        """What a rule makes of some clouds of each object and its pictures, (K, C, POINTS)."""
        pairs = zip(clouds, self.held_out, strict=True)
        return np.stack(
            [rule_of(rule, shown=shown_by(some, one.views, POINTS))(some, POINTS) for some, one in pairs]
        )

    def by_merger(self, name: str) -> np.ndarray:
        """A merger's clouds, (K, C, POINTS)."""
        draws, generator = self.drawn("validation", UNSEEN), Generator(self.merger(name), "cpu")
        drawn = as_condition([draws[held.uid] for held in self.held_out])
        items = [held.views if generator.takes else None for held in self.held_out]
        return generator.sample(items, POINTS, self.sampling(), drawn=drawn)

    def together(self, seed: int = 0) -> np.ndarray:
        """The clouds of the model that is shown all views at once, (K, C, POINTS)."""
        sampling = replace(self.sampling(), seed=seed)
        return Generator(self.joint, "cpu").sample([held.views for held in self.held_out], POINTS, sampling)

    def denoisers(self) -> np.ndarray:
        """The clouds of the mean of the estimates of one view each, (K, C, POINTS); the first base's."""
        return Generator(self.bases[0], "cpu").sample(
            [held.views for held in self.held_out], POINTS, self.sampling("mean")
        )

    def sampling(self, rule: Any = "together") -> Sampling:
        """How all clouds are sampled."""
        return Sampling(SAMPLING_STEPS, guidance=1.0, batch=16, rule=rule)

    def kept(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """An arm's clouds, made and written if they are not there."""
        options, begun = self.options, time.process_time()
        path = options.out / "clouds" / f"{name}-{options.steps}-{options.seed}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, make())
            print(f"{name}: {time.process_time() - begun:.0f} CPU-s", flush=True)
        return np.load(path)

    def publish(self, lines: Sequence[str]) -> None:
        """Write the table."""
        (self.options.out / "table.md").write_text("\n".join(lines) + "\n")

    @cached_property
    def upsampler(self) -> Path:
        """An upsampler that has learned from the merged clouds of the training objects."""
        options, drawn = self.options, self.drawn("train", (0, SEEN))
        folder = options.out / f"merged-{options.steps}-{options.seed}"
        merged = draw(
            DrawSettings(
                options.data, (self.merger("select with images"),), folder, 1, draws=drawn.folder,
                split=("train",), points=POINTS, steps=SAMPLING_STEPS, device="cpu",
            )
        )  # fmt: skip
        return self.train("upsampler", UPSAMPLE | {"draws": str(merged.folder)})


def main(options: Options) -> None:
    """Make every arm's clouds and score them; write the table after each, and a picture."""
    torch.set_num_threads(1)
    experiment = Experiment(options)
    held = experiment.held_out
    arms: dict[str, Callable[[], np.ndarray]] = {
        "one view": lambda: np.stack([one.clouds[0] for one in held]),
        "union": lambda: experiment.by_rule(union),
        "sample": lambda: experiment.by_rule(sample),
        "consensus": lambda: experiment.by_rule(consensus),
        "silhouettes": lambda: experiment.by_pictures("silhouettes", [one.clouds for one in held]),
        "hull": lambda: experiment.by_pictures("hull", [one.clouds for one in held]),
        "hull without clouds": lambda: experiment.by_pictures(
            "hull", [[np.zeros((6, 1), np.float32)]] * len(held)
        ),
        "joint views": experiment.together,
        "joint views, hull": lambda: experiment.by_pictures("hull", [[one] for one in experiment.together()]),
        "mean of denoisers": experiment.denoisers,
    }
    arms |= {name: partial(experiment.by_merger, name) for name in MERGERS}
    clouds, scores = {}, oracles(held)
    for name, make in arms.items():
        clouds[name] = experiment.kept(name, make)
        scores[name] = judged(clouds[name], held)
        if "union" in scores:
            experiment.publish(table(scores))
    picture(held, [clouds[name] for name in FINER]).save(options.out / "picture.png")
    if options.upsample:
        upsampler = Generator(experiment.upsampler, "cpu")
        items = [one.views[:1] for one in held]
        finer = {
            name: experiment.kept(
                f"{name}, finer",
                lambda name=name: refine(upsampler, items, clouds[name], experiment.sampling()),
            )
            for name in FINER
        }
        fine = {name: judged(some, held) for name, some in finer.items()}
        experiment.publish([*table(scores), "", *table(fine)])
    print((options.out / "table.md").read_text())


def judged(clouds: np.ndarray, held: Sequence[Held]) -> np.ndarray:
    """Chamfer distance and F-score at 0.1 of clouds (K, C, N), against as many true points: (K, 2)."""
    number = clouds.shape[2]
    pairs = [(made[:3].T, one.true[:3, :number].T) for made, one in zip(clouds, held, strict=True)]
    return np.array([(chamfer(*pair), f_score(*pair, 0.1)) for pair in pairs])


def oracles(held: Sequence[Held]) -> dict[str, np.ndarray]:
    """What nobody can choose without the truth: the mean over an object's clouds, and their best, (K, 2)."""
    each = np.stack([judged(np.stack([one.clouds[k] for one in held]), held) for k in range(CLOUDS)])
    best = each[:, :, 0].argmin(0)
    return {
        "mean over the clouds of one view": each.mean(0),
        f"best of {CLOUDS} (oracle)": each[best, np.arange(len(held))],
    }


def table(scores: dict[str, np.ndarray]) -> list[str]:
    """Lines of Markdown, with paired differences to the union."""
    lines = [
        "| | Chamfer | F@0.1 | against the union | lower for |",
        "|---|---|---|---|---|",
    ]
    for name, score in scores.items():
        change = relative_difference(score[:, 0], scores["union"][:, 0])
        against = f"{change.mean:+.1%} [{change.low:+.1%}, {change.high:+.1%}]"
        cells = [name, str(mean_interval(score[:, 0])), f"{score[:, 1].mean():.3f}"]
        cells += ["", ""] if name == "union" else [against, f"{change.lower} of {change.count}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def picture(held: Sequence[Held], rows: Sequence[np.ndarray], count: int = 8, size: int = 144) -> Image.Image:
    """Columns of objects: an image, the clouds of one view, the rows' clouds, the truth."""
    sheet = Image.new("RGB", (count * size, (CLOUDS + len(rows) + 2) * size), "white")
    for x, at in enumerate(np.linspace(0, len(held) - 1, count).astype(int)):
        one = held[at]
        clouds = [*one.clouds, *(row[at] for row in rows), one.true[:, :POINTS]]
        tiles = [Image.fromarray(load_pixels(one.views[0].image, size))]
        tiles += [draw_cloud(*from_network(cloud), size).convert("RGB") for cloud in clouds]
        for y, tile in enumerate(tiles):
            sheet.paste(tile, (x * size, y * size))
    return sheet


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(tyro.cli(Options))
