"""Are positions in the image features? Cells of held-out images altered at evaluation, and a probe of places.

    python examples/shuffled_cells.py out/furniture/data out/several_views --steps 1000

takes models that examples/several_views.py has trained with the same settings, and alters the grid that the
encoder makes of each held-out image (`ALTERATIONS`): its tokens in another order; each token with the place
of another cell, by the features' mean per cell over the training images; all with the same place. It prints
the loss and the Chamfer distance of each, and how well a linear map reads a cell's row and column from its
features (R² on held-out images).
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from several_views import ARMS, POINTS, SEEN, Experiment, Options
from torch import Tensor

from fuse.dataset.manifest import read_manifest
from fuse.dataset.shard import image_column, read_rows
from training import checkpoints
from training.conditioning.encoder_cache import CachedEncoder
from training.generator import Generator
from training.objectives.noise import VALIDATION, step_noise
from training.scores.bootstrap import relative_difference

MODELS = (("today", 1), ("projected", 1), ("projected", 4))
"""Arms, and their numbers of views."""
PROBED = 6
"""Views of each training object that the probe learns from."""
RIDGE = 1e4
"""The penalty of its weights: the best of 1 to 100,000 on held-out furniture."""


@dataclass(frozen=True)
class Places:
    """What a grid's cells have in common: the features' mean per cell over the training images."""

    means: Tensor  # (features, cells)

    def shuffled(self, grids: Tensor) -> Tensor:
        """(B, features, cells) with the cells of each image in another order."""
        return grids.gather(2, self._orders(grids))

    def exchanged(self, grids: Tensor) -> Tensor:
        """(B, features, cells): each cell shows what it did, but has the mean of another one."""
        means = self.means.expand_as(grids)
        return grids - means + means.gather(2, self._orders(grids))

    def removed(self, grids: Tensor) -> Tensor:
        """(B, features, cells): every cell has the same mean."""
        return grids - self.means + self.means.mean(1, keepdim=True)

    def _orders(self, grids: Tensor) -> Tensor:
        """An order of each image's cells in which none stays, a function of its grid alone: as `grids`."""
        orders = []
        for grid in grids:
            seed = list(hashlib.sha256(grid.numpy().tobytes()).digest())
            ring = np.random.default_rng(seed).permutation(grid.shape[1])
            order = np.empty_like(ring)
            order[ring] = np.roll(ring, 1)
            orders.append(torch.from_numpy(order))
        return torch.stack(orders)[:, None].expand_as(grids)


ALTERATIONS: dict[str, Callable[[Places, Tensor], Tensor]] = {
    "as they are": lambda places, grids: grids,
    "order shuffled": Places.shuffled,
    "places exchanged": Places.exchanged,
    "places removed": Places.removed,
}


class Altered:
    """An encoder whose grids are altered."""

    def __init__(self, encoder: CachedEncoder, alter: Callable[[Tensor], Tensor]):
        self._encoder, self._alter = encoder, alter

    def __call__(self, items: Sequence[Any], pixels: np.ndarray | None = None) -> Tensor:
        """B images -> (B, features, cells)."""
        return self._alter(self._encoder(items, pixels))


def training_grids(experiment: Experiment, encoder: CachedEncoder) -> Tensor:
    """(N, features, cells) of the first `PROBED` views of all training objects."""
    names, found = [image_column(view) for view in range(min(PROBED, SEEN))], []
    for part in read_manifest(experiment.clouds):
        for row in read_rows(experiment.clouds / part.file, ["split", *names]):
            if row["split"] == "train":
                found.append(encoder([row[name] for name in names]))
    return torch.cat(found)


def probe(learned: Tensor, judged: Tensor, ridge: float = RIDGE) -> float:
    """R² of a linear map from a cell's features, normalized as in the networks, to its row and column.

    Learned from grids (N, features, cells), judged by others (M, features, cells).
    """
    side = math.isqrt(learned.shape[2])
    across = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    places = torch.cartesian_prod(across, across)  # (cells, 2)

    def flat(grids: Tensor) -> tuple[Tensor, Tensor]:
        cells = F.layer_norm(grids.double().transpose(1, 2), grids.shape[1:2]).flatten(0, 1)
        return torch.cat([cells, torch.ones(len(cells), 1)], 1), places.repeat(len(grids), 1)

    x, y = flat(learned)
    weights = torch.linalg.solve(x.T @ x + ridge * torch.eye(x.shape[1]).double(), x.T @ y)
    x, y = flat(judged)
    return float(1 - ((x @ weights - y) ** 2).sum() / (y**2).sum())


def held_out_losses(experiment: Experiment, generator: Generator, views: int) -> np.ndarray:
    """The training loss of each held-out object, (K,), always with the same noise and times."""
    samples = experiment.held_out
    condition = generator.reader.read_views([sample.views[:views] for sample in samples])
    points = torch.from_numpy(np.stack([sample.cloud[:, :POINTS] for sample in samples]))
    noise = step_noise(0, VALIDATION, len(samples), 0, tuple(points.shape))  # pyright: ignore[reportArgumentType]
    with torch.inference_mode(), generator.autocast():
        losses = generator.objective.losses(
            generator.model, points, generator.objective.times(noise.quantiles), noise.noise, **condition
        )
    return losses["loss"].double().numpy()


def rows(experiment: Experiment, name: str, views: int, places: Places) -> list[str]:
    """The lines of the table for one model."""
    checkpoint, seconds = experiment.train(name, ARMS[name])
    lines, base = [], None
    for title, alter in ALTERATIONS.items():
        generator = Generator(checkpoint, "cpu")
        altered: Any = Altered(generator.encoder, lambda grids, alter=alter: alter(places, grids))
        generator.reader = checkpoints.build_reader(generator.config, altered, generator.device)
        losses = held_out_losses(experiment, generator, views)
        result = experiment.judge(name, generator, views, "together", True, seconds)
        found = losses, np.array(result.chamfer)
        base = base or found
        changes = [relative_difference(this, that) for this, that in zip(found, base, strict=True)]
        cells = [f"{value.mean():.4f}" for value in found]
        marks = [f"{change.mean:+.1%} [{change.low:+.1%}, {change.high:+.1%}]" for change in changes]
        if title != "as they are":
            cells = [f"{cell}, {mark}" for cell, mark in zip(cells, marks, strict=True)]
        lines.append(f"| {name} | {views} | {title} | {cells[0]} | {cells[1]} |")
        print(lines[-1])
    return lines


def main(options: Options) -> None:
    """Print the table and the probe's R²."""
    torch.set_num_threads(1)
    experiment = Experiment(options)
    generator = Generator(experiment.train("today", ARMS["today"])[0], "cpu")
    learned = training_grids(experiment, generator.encoder)
    places = Places(learned.mean(0))
    judged = torch.cat([generator.encoder([view.image for view in s.views]) for s in experiment.held_out])
    print(f"R² of a cell's place: {probe(learned, judged):.3f}")
    lines = ["| model | views | cells | loss | Chamfer |", "|---|---|---|---|---|"]
    for name, views in MODELS:
        lines += rows(experiment, name, views, places)
    (options.out / "shuffled.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(tyro.cli(Options))
