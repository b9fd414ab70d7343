"""Clouds drawn from checkpoints for all objects of a dataset: what a merger and an upsampler learn from.

    draw(DrawSettings(Path("out"), (Path("runs/first"), Path("runs/second")), Path("draws")))

A model has learned its own objects by heart, so its clouds of them are better than any that it will make of a
stranger's, and who learns from those learns to trust. Therefore two bases, each trained on a fold of the
objects (`--fold 0/2`, `--fold 1/2`), draw for each other: an object's clouds come from a checkpoint that has
not learned from it. Files are written one by one, so that a killed run continues; the same seed and
checkpoints give the same bytes, wherever it was killed.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fuse.dataset.layout import open_dataset
from fuse.dataset.manifest import Part, read_manifest, sha256_of, write_manifest
from fuse.dataset.shard import Shard, image_column
from fuse.dataset.splits import folds, read_members
from fuse.dataset.storage import publish_bytes
from render.failures import UserError
from training import checkpoints
from training.conditioning.shown import View
from training.data.drawn import RECIPE, Drawn, Draws, as_condition, recipe_hash, toward_of, write_drawn
from training.data.groups import parts_of
from training.data.rows import Cameras
from training.generator import Generator
from training.merging.settings import DrawSettings


@dataclass(frozen=True)
class Drawer:
    """A checkpoint that draws."""

    generator: Generator
    sha256: str

    @classmethod
    def open(cls, path: Path, settings: DrawSettings) -> Drawer:
        """A checkpoint file, or the newest one of a run's folder. UserError for a model that cannot draw."""
        generator = Generator(path, **settings.opening)
        merges = generator.config.model == "merge"
        if generator.config.model == "upsample" or (generator.takes != "image" and not merges):
            raise UserError(f"{path}: draws are of models that take images, or of mergers.")
        if merges != (settings.draws is not None):
            raise UserError(f"{path}: give --draws for mergers, and for no other model.")
        file = checkpoints.found(path)[-1] if path.is_dir() else path
        return cls(generator, sha256_of(file))

    def learned(self, split: str, fold: dict[int, int]) -> bool:
        """Whether it has learned from an object of a split; `fold` is the object's by the number of folds."""
        config = self.generator.config
        return split == config.split and (config.part is None or fold[config.part[1]] == config.part[0])


@dataclass(frozen=True)
class Order:
    """An object to draw: what it shows, and who draws it."""

    uid: str
    split: str
    drawer: Drawer
    learned: bool
    views: list[list[int]]
    shown: list[list[View]]

    def toward(self) -> np.ndarray:
        """The directions of the clouds' cameras, (K, 3) float32, see `toward_of`."""
        cameras = [[view.camera for view in some if view.camera is not None] for some in self.shown]
        return np.stack([toward_of(some) for some in cameras])


def draw(settings: DrawSettings, report: Callable[[str], None] = print) -> Draws:
    """Draw what is still missing, and return all. UserError where the folder has draws of another recipe."""
    drawing = Drawing(settings)
    settings.to.mkdir(parents=True, exist_ok=True)
    done = {part.file: part for part in read_manifest(settings.to)}
    if not done:
        publish_bytes(json.dumps(drawing.recipe, indent=1).encode(), settings.to / RECIPE)
    for part, group in drawing.groups():
        name = f"{Path(part.file).stem}-{group:04d}.parquet"
        expected = recipe_hash(drawing.recipe | {"part": part.sha256, "group": group})
        if name in done and done[name].config_hash != expected:
            raise UserError(
                f"{settings.to}: {name} was drawn of other clouds or in another way. Give another folder."
            )
        rows = [] if name in done else drawing.rows(drawing.clouds / part.file, group)
        if rows:
            done[name] = write_drawn(settings.to / name, rows, expected)
            write_manifest(settings.to, done.values())
            report(_line(name, rows))
    if not done:
        splits = f" of split {', '.join(settings.split)}" if settings.split else ""
        raise UserError(f"{settings.dataset}: no rows{splits}. Fuse first, or choose another --split.")
    return Draws(settings.to)


def _line(name: str, rows: Sequence[Drawn]) -> str:
    """What was written."""
    learned = sum(row.learned for row in rows)
    warning = f"; {learned} of the objects were drawn by a checkpoint that had learned from them"
    return f"{name}: {len(rows)} objects, {len(rows[0].clouds)} clouds each" + warning * (learned > 0)


class Drawing:
    """What is drawn of a dataset, by whom."""

    def __init__(self, settings: DrawSettings):
        layout = open_dataset(settings.dataset)
        self.settings, self.clouds = settings, layout.clouds
        self._parts = parts_of(layout.clouds)
        self._drawers = [Drawer.open(path, settings) for path in settings.checkpoint]
        if len({drawer.generator.model.channels for drawer in self._drawers}) != 1:
            raise UserError(
                "the checkpoints draw clouds of different channels. Give checkpoints of one kind."
            )
        self._inputs = Draws(settings.draws) if settings.draws else None
        self._images = any(drawer.generator.takes == "image" for drawer in self._drawers)
        counts = {part[1] for drawer in self._drawers if (part := drawer.generator.config.part)}
        members = read_members(layout, self._parts, ()) if counts else []
        self._folds = {count: folds(members, count) for count in counts}

    @property
    def recipe(self) -> dict[str, object]:
        """What the clouds depend on beside the dataset, in plain values."""
        recipe = self.settings.recipe() | {"checkpoints": [drawer.sha256 for drawer in self._drawers]}
        return recipe | ({"draws": self._inputs.identity} if self._inputs else {})

    def groups(self) -> Iterator[tuple[Part, int]]:
        """The row groups of the dataset."""
        for part in self._parts:
            yield from ((part, group) for group in range(part.row_groups))

    def rows(self, path: Path, group: int) -> list[Drawn]:
        """The clouds of a row group's objects, in order; each checkpoint samples its own in batches."""
        orders, found = list(self._orders(path, group)), {}
        for drawer in {order.drawer.sha256: order.drawer for order in orders}.values():
            found |= self._sampled(drawer.generator, [order for order in orders if order.drawer is drawer])
        return [
            Drawn(
                uid=order.uid,
                split=order.split,
                clouds=found[order.uid],
                toward=order.toward(),
                views=order.views,
                seed=self.settings.seed,
                checkpoint=order.drawer.sha256,
                learned=order.learned,
            )
            for order in orders
        ]

    def _orders(self, path: Path, group: int) -> Iterator[Order]:
        """The objects of a row group that are to be drawn."""
        settings = self.settings
        with Shard(path) as shard:
            pool = self._pool(shard)
            columns = [image_column(view) for view in pool]
            table = shard.table(group, ["uid", "split", "cameras", *columns])
        cameras, splits = Cameras(table["cameras"]), table["split"].to_pylist()
        for row, uid in enumerate(table["uid"].to_pylist()):
            if settings.split and splits[row] not in settings.split:
                continue
            if self._inputs is not None and uid not in self._inputs:
                continue
            drawer, learned = self._drawer(uid, splits[row])
            views = _views(settings, uid, pool)
            shown = [
                [View(table[image_column(view)][row].as_py(), cameras[row][view]) for view in some]
                for some in views
            ]
            yield Order(uid, splits[row], drawer, learned, views, shown)

    def _pool(self, shard: Shard) -> range:
        """The views that clouds are drawn from."""
        if not self._images:
            return range(0)
        pool = range(*self.settings.view_range) if self.settings.view_range else range(shard.views)
        if len(pool) < self.settings.views or max(pool) >= shard.views:
            raise UserError(
                f"{shard.path}: it has {shard.views} views per model; cannot show {self.settings.views} of "
                f"{pool.start} to {pool.stop - 1}."
            )
        return pool

    def _drawer(self, uid: str, split: str) -> tuple[Drawer, bool]:
        """Who draws an object, and whether it has learned from it: only if all have."""
        fold = {count: members[uid] for count, members in self._folds.items()}
        fresh = [drawer for drawer in self._drawers if not drawer.learned(split, fold)]
        able = fresh or self._drawers
        return able[zlib.crc32(uid.encode()) % len(able)], not fresh

    def _sampled(self, generator: Generator, orders: Sequence[Order]) -> dict[str, np.ndarray]:
        """Each object's clouds, (K, C, N), by uid."""
        settings, count = self.settings, self.settings.clouds
        shape = (generator.model.channels, settings.points)
        places = [(order.uid, place) for order in orders for place in range(count)]
        noise = torch.stack([_noise(settings.seed, *place, shape) for place in places])
        items = [views or None for order in orders for views in order.shown]
        drawn = None if self._inputs is None else as_condition([self._inputs[uid] for uid, _ in places])
        clouds = generator.sample(items, settings.points, settings.sampling, drawn=drawn, noise=noise)
        clouds = clouds.reshape(len(orders), count, *shape)
        return {order.uid: some for order, some in zip(orders, clouds, strict=True)}


def _views(settings: DrawSettings, uid: str, pool: range) -> list[list[int]]:
    """The views of each cloud, all different while there are enough of them."""
    if not pool:
        return [[]] * settings.clouds
    rng = np.random.default_rng([settings.seed, zlib.crc32(uid.encode())])
    wanted = settings.clouds * settings.views
    order = np.concatenate([rng.permutation(pool) for _ in range(-(-wanted // len(pool)))])
    return order[:wanted].reshape(settings.clouds, settings.views).tolist()


def _noise(seed: int, uid: str, place: int, shape: tuple[int, int]) -> Tensor:
    """Unit noise (C, N) of one cloud, whatever else is drawn."""
    digest = hashlib.sha256(f"{seed}\0{uid}\0{place}".encode()).digest()
    return torch.randn(shape, generator=torch.Generator().manual_seed(int.from_bytes(digest[:7], "big")))
