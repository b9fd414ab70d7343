"""Three clouds of one object, from three pictures, made one: rules, mergers, and all views at once.

    python examples/merger.py out/furniture/data out/merger --upsample
    python examples/merger.py out/furniture/data out/merger --fresh OTHER

takes a dataset of 20 views (examples/it_learns.sh makes it; fuse with `--validation 0.15`). Two bases, each
trained on half of the training objects, draw three clouds of every object, one per picture, each object by
the base that has not learned from it. Mergers, which may be shown the pictures too, learn from those.
Held-out objects are drawn from views that no step has shown, and every way of making one cloud of their
three is scored against the true cloud. OUT/table.md and picture.png are the outcome. With `--upsample` one
upsampler adds points to the clouds of all rows. With `--fresh` the same networks merge objects of another
dataset, which nothing was chosen on; OUT/fresh has that table. What is there is not computed again: training
runs and draws continue where they stopped.
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
from view_datasets import alike, fresh

from fuse.dataset.layout import Layout
from fuse.dataset.manifest import read_manifest, write_manifest
from fuse.preview.picture import draw_cloud
from training.conditioning.encoder import load_pixels
from training.conditioning.shown import View
from training.config import TrainConfig
from training.data.channels import from_network
from training.data.drawn import Draws, as_condition, write_drawn
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

SEEN = 12
VIEWS = {"train": (0, SEEN), "validation": (SEEN, 20)}
"""Views that steps may show, and those of the evaluation, from the first up to, but without, the second."""
CLOUDS = 3
POINTS, SAMPLING_STEPS = 1024, 5
SMALL = TrainConfig(
    batch=16, points=POINTS, step_points=64, width=64, layers=3, heads=2, prediction="flow", lr=2e-3,
    warmup=30, ema=0.99, views=SEEN, image_size=128, cond_drop=0, device="cpu", threads=1, val_every=0,
    score_every=0, sample_every=0, checkpoint_every=10**6, log_every=100, keep=1, tensorboard=False,
)  # fmt: skip
"""The models and their training; an image of 128 pixels is 4 x 4 tokens."""
BASE: dict[str, Any] = {"view_rays": True, "view_projected": True, "view_outline": True}
MERGE: dict[str, Any] = {
    "model": "merge",
    "merge_clouds": CLOUDS,
    "merge_points": 0,
    "merge_tokens": 64,
    "camera_drop": 0.2,
}
OFFSET: dict[str, Any] = {"prediction": "offset", "step_points": 256, "batch": 8}
"""A Chamfer distance between few points says little of the surface."""
TOGETHER: dict[str, Any] = BASE | {"views_most": CLOUDS}
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


@dataclass(frozen=True)
class Piece:
    """An object."""

    uid: str
    views: list[View]  # CLOUDS of them
    true: np.ndarray  # (C, 4 * POINTS)
    clouds: list[np.ndarray]  # CLOUDS times (C, POINTS), of one view each


def by_pictures(rule: MergeRule, one: Piece, points: int) -> np.ndarray:
    """What a rule makes of an object's clouds and its pictures, (C, points)."""
    return rule_of(rule, shown=shown_by(one.clouds, one.views, points))(one.clouds, points)


RULES: dict[str, Callable[[Piece, int], np.ndarray]] = {
    "one view": lambda one, points: one.clouds[0],
    "union": lambda one, points: union(one.clouds, points),
    "sample": lambda one, points: sample(one.clouds, points),
    "consensus": lambda one, points: consensus(one.clouds, points),
    "silhouettes": partial(by_pictures, "silhouettes"),
    "hull": partial(by_pictures, "hull"),
    "hull without clouds": lambda one, points: by_pictures("hull", replace(one, clouds=[ONE_POINT]), points),
}
"""What needs no network beside the bases: a cloud (C, points) of an object."""
ONE_POINT = np.zeros((6, 1), np.float32)
ROWS = (*RULES, "joint views", "joint views, hull", "mean of denoisers", *MERGERS)
"""The rows of the table, beside the oracles."""
AGAINST = ("union", "hull")
"""Those that every row is compared with: the plainest rule and the best one."""
PICTURED = ("union", "consensus", "hull", "select with images", "joint views")
COARSE = ("one view", "union", "consensus", "hull")
"""What the upsampler learns from: no network has learned from the objects in these clouds."""
FINER = (*COARSE, "mean of denoisers", "joint views", "offset", "merger", "select with images")
"""The rows that get 4,096 points."""
UPSAMPLE: dict[str, Any] = TOGETHER | {
    "model": "upsample", "points": 3 * POINTS, "condition_points": POINTS, "condition_nearest": True,
    "condition_tokens": 128, "step_points": 256, "batch": 8, "steps": 400,
}  # fmt: skip
FINER_STEPS = 4
"""Sampling steps of the upsampler."""


@dataclass(frozen=True)
class Options:
    """Compare ways of merging clouds on objects that no network has learned from."""

    data: Positional[Path]
    """The dataset folder."""
    out: Positional[Path]
    """Where runs, draws, results, table and picture go."""
    steps: int = 1000
    """Optimizer steps of each model that does not have its own number."""
    seed: int = 0
    """Seed of the training."""
    rows: tuple[str, ...] = ROWS
    """The rows of the table; `union` and `hull` are always among them."""
    upsample: bool = False
    """Also train an upsampler on merged clouds, and score 4,096 points."""
    fresh: Path | None = None
    """Another dataset: score objects of it that the first lacks, in OUT/fresh."""


class Experiment:
    """The models, the drawn clouds and the held-out objects."""

    def __init__(self, options: Options):
        self.options = options
        self.tested, self.results = options.data, options.out
        if options.fresh:
            self.results = options.out / "fresh"
            self.tested = fresh(options.data, options.fresh, self.results)

    def train(self, name: str, changes: dict[str, Any]) -> Path:
        """A run's folder; the CPU-seconds that it took are kept in it."""
        options, run = self.options, self.named(name)
        folder = options.out / "runs"
        common = {"steps": options.steps, "seed": options.seed, "encoder_cache": str(options.out / "cache")}
        config = TrainConfig.model_validate(SMALL.model_dump() | common | changes)
        record = folder / run / "seconds.json"
        if not record.exists():
            begun = time.process_time()
            train(config, options.data, run, runs=folder)
            record.write_text(json.dumps(time.process_time() - begun))
        return folder / run

    def named(self, name: str) -> str:
        """The name of something that depends on the training's options."""
        return f"{name.replace(' ', '-')}-{self.options.steps}-{self.options.seed}"

    @cached_property
    def bases(self) -> tuple[Path, ...]:
        """Two models of one view, each of half of the objects."""
        return tuple(self.train(f"base-{fold}", BASE | {"fold": f"{fold}/2"}) for fold in range(2))

    @cached_property
    def joint(self) -> Path:
        """A model that is shown all views at once, of all objects."""
        return self.train("joint", TOGETHER)

    def merger(self, name: str) -> Path:
        """A merger that has learned from the training objects' clouds."""
        return self.train(name, MERGE | MERGERS[name] | {"draws": str(self.drawn("train").folder)})

    def drawn(self, split: str) -> Draws:
        """The bases' clouds of a split's objects."""
        data, place = self.place(split)
        return draw(
            DrawSettings(
                data, self.bases, place / self.named(f"draws-{split}-{POINTS}"), CLOUDS,
                view_range=VIEWS[split], split=(split,), points=POINTS, steps=SAMPLING_STEPS, method="ddim",
                device="cpu",
            )
        )  # fmt: skip

    def place(self, split: str) -> tuple[Path, Path]:
        """The dataset that a split is of, and the folder of what is made of it."""
        options = self.options
        return (options.data, options.out) if split == "train" else (self.tested, self.results)

    def pieces(self, split: str) -> list[Piece]:
        """The objects of a split, with their drawn clouds."""
        clouds, draws = Layout(self.place(split)[0]).clouds, self.drawn(split)
        config = SMALL.model_copy(update={"view_rays": True})  # so that cameras are read
        first, end = VIEWS[split]
        return [
            Piece(
                sample.uid,
                [sample.views[view - first] for some in draws[sample.uid].views for view in some],
                sample.cloud,
                list(draws[sample.uid].clouds),
            )
            for sample in read_samples(clouds, config, 10**6, range(first, end), 4 * POINTS, split)
        ]

    @cached_property
    def held_out(self) -> list[Piece]:
        """Held-out objects that are in no family with a training object."""
        pieces, leaked = self.pieces("validation"), alike(Layout(self.tested).clouds)
        print(f"{len(pieces)} held-out objects, less {len(leaked)} that nearly repeat a training object")
        return [one for one in pieces if one.uid not in leaked]

    def row(self, name: str, points: int = POINTS) -> np.ndarray:
        """A row's clouds of all held-out objects, (K, C, points)."""
        if name in RULES:
            return np.stack([RULES[name](one, points) for one in self.held_out])
        if name in MERGERS:
            return self.by_merger(name, points)
        if name == "mean of denoisers":
            return self.sample(self.bases[0], self.sampling("mean"))
        together = self.kept("joint views", lambda: self.sample(self.joint, self.sampling()))
        if name == "joint views":
            return together
        pairs = zip(self.held_out, together, strict=True)
        return np.stack([by_pictures("hull", replace(one, clouds=[cloud]), points) for one, cloud in pairs])

    def by_merger(self, name: str, points: int) -> np.ndarray:
        """A merger's clouds, (K, C, points)."""
        draws, generator = self.drawn("validation"), Generator(self.merger(name), "cpu")
        drawn = as_condition([draws[one.uid] for one in self.held_out])
        items = [one.views if generator.takes else None for one in self.held_out]
        return generator.sample(items, points, self.sampling(), drawn=drawn)

    def sample(self, run: Path, sampling: Sampling) -> np.ndarray:
        """A model's clouds of the views of each object, (K, C, POINTS)."""
        return Generator(run, "cpu").sample([one.views for one in self.held_out], POINTS, sampling)

    def sampling(self, rule: Any = "together") -> Sampling:
        """How all clouds are sampled."""
        return Sampling(SAMPLING_STEPS, guidance=1.0, batch=16, rule=rule, method="ddim")

    def kept(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Clouds, made and written if they are not there."""
        begun, path = time.process_time(), self.results / "clouds" / f"{self.named(name)}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, make())
            print(f"{name}: {time.process_time() - begun:.0f} CPU-s", flush=True)
        return np.load(path)

    @cached_property
    def upsampler(self) -> Generator:
        """An upsampler that has learned from what rules make of the training objects' clouds."""
        folder, draws = self.options.out / self.named("coarse"), self.drawn("train")
        if not read_manifest(folder):
            folder.mkdir(exist_ok=True)
            none = {"toward": np.zeros((len(COARSE), 3), np.float32), "views": [[]] * len(COARSE)}
            rows = [
                replace(
                    draws[one.uid], clouds=np.stack([RULES[name](one, POINTS) for name in COARSE]), **none
                )
                for one in self.pieces("train")
            ]
            write_manifest(folder, [write_drawn(folder / "coarse.parquet", rows, draws.identity)])
        return Generator(
            self.train("upsampler", UPSAMPLE | {"draws": str(folder), "init_from": str(self.joint)}), "cpu"
        )

    def finer(self, clouds: np.ndarray) -> np.ndarray:
        """Clouds (K, C, POINTS) with the upsampler's points, (K, C, 4 * POINTS)."""
        items = [one.views for one in self.held_out]
        return refine(self.upsampler, items, clouds, replace(self.sampling(), steps=FINER_STEPS, batch=4))


def main(options: Options) -> None:
    """Make every row's clouds and score them; write the table after each, and a picture."""
    torch.set_num_threads(1)
    experiment = Experiment(options)
    held, results = experiment.held_out, experiment.results
    clouds, scores = {}, oracles(held)
    for name in [name for name in ROWS if name in (*AGAINST, *options.rows)]:
        clouds[name] = experiment.kept(name, partial(experiment.row, name))
        scores[name] = judged(clouds[name], held)
        (results / "table.md").write_text(table(scores))
    rows = [clouds[name] for name in PICTURED if name in clouds]
    picture(held, rows).save(results / "picture.png")
    if options.upsample:
        (results / "table.md").write_text(table(scores) + "\n" + table(fine_scores(experiment, clouds)))
    print((results / "table.md").read_text())


def fine_scores(experiment: Experiment, clouds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The scores of rows' clouds with the upsampler's points, and of as many of the hull at once."""
    made = {"hull, at once": experiment.row("hull", 4 * POINTS)}
    for name in [name for name in FINER if name in clouds]:
        made[name] = experiment.kept(f"{name}, finer", partial(experiment.finer, clouds[name]))
    return {name: judged(fine, experiment.held_out) for name, fine in made.items()}


def judged(clouds: np.ndarray, held: Sequence[Piece]) -> np.ndarray:
    """Chamfer distance and F-score at 0.1 of clouds (K, C, N), against as many true points: (K, 2)."""
    number = clouds.shape[2]
    pairs = [(made[:3].T, one.true[:3, :number].T) for made, one in zip(clouds, held, strict=True)]
    return np.array([(chamfer(*pair), f_score(*pair, 0.1)) for pair in pairs])


def oracles(held: Sequence[Piece]) -> dict[str, np.ndarray]:
    """What nobody can choose without the truth: the mean over an object's clouds, and their best, (K, 2)."""
    each = np.stack([judged(np.stack([one.clouds[k] for one in held]), held) for k in range(CLOUDS)])
    best = each[:, :, 0].argmin(0)
    return {
        "mean over the clouds of one view": each.mean(0),
        f"best of {CLOUDS} (oracle)": each[best, np.arange(len(held))],
    }


def table(scores: dict[str, np.ndarray]) -> str:
    """Markdown, with paired differences to the rows `AGAINST`."""
    others = [name for name in AGAINST if name in scores]
    titles = ["", "Chamfer", "F@0.1", *(f"against {name}" for name in others)]
    lines = [titles, ["---"] * len(titles)]
    for name, score in scores.items():
        cells = [name, str(mean_interval(score[:, 0])), f"{score[:, 1].mean():.3f}"]
        lines.append(cells + [compared(score[:, 0], scores[other][:, 0]) for other in others])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def compared(these: np.ndarray, those: np.ndarray) -> str:
    """The change from those (K,) distances to these, with its interval; nothing where they are the same."""
    change = relative_difference(these, those)
    found = f"{change.mean:+.1%} [{change.low:+.1%}, {change.high:+.1%}], {change.lower} of {change.count}"
    return "" if (these == those).all() else found


def picture(
    held: Sequence[Piece], rows: Sequence[np.ndarray], count: int = 8, size: int = 144
) -> Image.Image:
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
