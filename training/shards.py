"""Batches for training from `OUT/clouds`: endless, shuffled by a seed, in an order that can be resumed.

    loader = CloudLoader(Path("OUT/clouds"), batch=16, seed=0)
    for batch in loader: ...
    state = loader.state_dict()         # later, elsewhere: loader.load_state_dict(state)

The order is a pure function of the manifest, the seed, the rank and the number of ranks; where a run stands
is one number, the batches it has used. An epoch permutes the row groups, gives each rank an equal slice of
the rows, and shuffles those of `window` row groups together. Only the columns in use are read: positions, one
colour, and one image column, for all rows of a row group in an epoch share the view they are shown from.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from fuse.manifest import Part, read_manifest
from fuse.shard import Shard, ShardError, image_column
from training.diffusion import to_network


@dataclass(frozen=True)
class Batch:
    """What one step learns from."""

    points: Tensor  # (B, 6, N) float32, the network's frame
    images: list[bytes]  # B PNGs, RGBA
    uids: list[str]


@dataclass(frozen=True)
class Group:
    """The rows of a row group that belong to the split."""

    path: Path
    index: int
    rows: np.ndarray  # (R,) int64
    views: int


class CloudLoader:
    """Endless batches, and where in them the consumer is.

    `points` is the prefix of a row that makes its cloud, `step_points` how many of them a batch holds
    (0: all); `views` the number of views to show (0: all). `workers` processes read ahead and leave the order
    as it is. Raises ShardError when there is nothing to read or the data is damaged.
    """

    def __init__(
        self,
        clouds: Path,
        batch: int,
        *,
        points: int = 1024,
        step_points: int = 0,
        target: Literal["rgb", "albedo"] = "rgb",
        split: str = "train",
        views: int = 0,
        seed: int = 0,
        window: int = 4,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
    ):
        parts = _parts(clouds)
        groups = list(_groups(clouds, parts, split, views))
        rows = sum(len(group.rows) for group in groups)
        if rows < world:
            raise ShardError(f"{clouds}: {rows} rows of split {split!r} for {world} ranks. Fuse more models.")
        self.rows = rows
        self.used = 0
        """Batches handed out so far, by this and earlier runs."""
        self._workers = workers
        self._order = Order(groups, seed, window, rank, world)
        self._shape = (batch, points, step_points or points, f"outside_{target}")
        identity = (
            tuple(part.sha256 for part in parts),
            split,
            views,
            seed,
            window,
            rank,
            world,
            self._shape,
        )
        self._identity = hashlib.sha256(repr(identity).encode()).hexdigest()

    def __iter__(self) -> Iterator[Batch]:
        dataset = _Batches(self._order, self.used, *self._shape)
        for batch in DataLoader(dataset, batch_size=None, num_workers=self._workers):
            self.used += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Where the consumer stands; plain values."""
        return {"used": self.used, "identity": self._identity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken. ShardError when data, seed, batch or ranks are others."""
        if state["identity"] != self._identity:
            raise ShardError(
                "the checkpoint was made with other shards, or another seed, split, batch, number of points "
                "or of ranks: its place in the data means nothing here. Train under a new run name."
            )
        self.used = state["used"]


class Order:
    """The rows that a rank sees, epoch after epoch, as (epoch, group, row)."""

    def __init__(self, groups: list[Group], seed: int, window: int, rank: int, world: int):
        self.groups = groups
        self.seed = seed
        self._window, self._rank, self._world = window, rank, world
        self._total = sum(len(group.rows) for group in groups)

    def windows(self, start: int) -> Iterator[tuple[int, np.ndarray]]:
        """From the rank's `start`-th row on: (epoch, (R, 2) int64 of group and row), a window at a time."""
        for epoch in itertools.count():
            first, last = self._bounds(epoch)
            if start >= last - first:
                start -= last - first
                continue
            for rows in self._epoch(epoch, first, last):
                if start < len(rows):
                    yield epoch, rows[start:]
                start = max(0, start - len(rows))

    def view(self, epoch: int, group: int) -> int:
        """The view that a row group's images are taken from in an epoch."""
        return int(self.rng(epoch, group).integers(self.groups[group].views))

    def rng(self, *key: int) -> np.random.Generator:
        """Random numbers that belong to `key` alone."""
        return np.random.default_rng([self.seed, *key])

    def _bounds(self, epoch: int) -> tuple[int, int]:
        """This rank's slice of the epoch. Slices take turns, since they may differ by one row."""
        place = (self._rank + epoch) % self._world
        return place * self._total // self._world, (place + 1) * self._total // self._world

    def _epoch(self, epoch: int, first: int, last: int) -> Iterator[np.ndarray]:
        """The slice's windows, each (R, 2) int64, shuffled; only what the slice needs is ever built."""
        rng = self.rng(epoch)
        order = rng.permutation(len(self.groups))
        ends = np.cumsum([len(self.groups[g].rows) for g in order])
        for at in range(0, len(order), self._window):
            chosen = slice(at, at + self._window)
            pieces = [
                self._cut(epoch, int(g), int(first - end), int(last - end))
                for g, end in zip(order[chosen], ends[chosen], strict=True)
            ]
            rows = np.concatenate(pieces)
            if len(rows):
                yield self.rng(epoch, at, 1).permutation(rows)

    def _cut(self, epoch: int, group: int, first: int, last: int) -> np.ndarray:
        """Rows first..last of a shuffled group, counted back from its end: (R, 2) of group and row."""
        rows = self.rng(epoch, group, 2).permutation(self.groups[group].rows)
        rows = rows[max(0, len(rows) + first) : max(0, min(len(rows), len(rows) + last))]
        return np.stack([np.full_like(rows, group), rows], axis=1)


class _Batches(IterableDataset[Batch]):
    """Batches `start`, `start` + 1, ...; each of n worker processes makes every n-th."""

    def __init__(self, order: Order, start: int, batch: int, points: int, step_points: int, colour: str):
        self._order, self._start, self._batch = order, start, batch
        self._points, self._step_points, self._colour = points, step_points, colour

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        samples: list[tuple[np.ndarray, bytes, str]] = []
        place = 0
        for epoch, rows in self._order.windows(self._start * self._batch):
            tables: dict[int, pa.Table] = {}
            for group, row in rows:
                if place // self._batch % workers == worker:
                    samples.append(self._sample(tables, epoch, int(group), int(row)))
                place += 1
                if len(samples) == self._batch:
                    yield _collate(samples)
                    samples = []

    def _sample(
        self, tables: dict[int, pa.Table], epoch: int, group: int, row: int
    ) -> tuple[np.ndarray, bytes, str]:
        """(6, step_points) float32, the image, the uid. `tables` holds the row groups read so far."""
        if group not in tables:
            tables[group] = self._read(group, self._order.view(epoch, group))
        xyz, colour, image, uid = (column[row].as_py() for column in tables[group].columns)
        points = np.frombuffer(xyz, "<f4").reshape(-1, 3)[: self._points]
        colours = np.frombuffer(colour, np.uint8).reshape(-1, 3)[: self._points]
        if not len(points):
            raise ShardError(f"{self._order.groups[group].path}: {uid} has no outside points. Fuse it again.")
        rng = self._order.rng(epoch, group, row, 3)
        few = len(points) < self._step_points  # then some points stand twice
        chosen = rng.choice(len(points), self._step_points, replace=few)
        return to_network(points[chosen], colours[chosen]), image, uid

    def _read(self, index: int, view: int) -> pa.Table:
        group = self._order.groups[index]
        columns = ["outside_xyz", self._colour, image_column(view), "uid"]
        with Shard(group.path) as shard:
            return shard.table(group.index, columns).select(columns)


def _parts(clouds: Path) -> list[Part]:
    parts = read_manifest(clouds)
    if not parts:
        raise ShardError(f"{clouds}: no shards in the manifest. Run `insideout fuse` first.")
    return parts


def _groups(clouds: Path, parts: list[Part], split: str, views: int) -> Iterator[Group]:
    """The row groups that hold rows of the split."""
    for part in parts:
        with Shard(clouds / part.file) as shard:
            if len(shard) != part.rows:
                raise ShardError(
                    f"{shard.path}: {len(shard)} rows, the manifest says {part.rows}. Fuse again."
                )
            usable = min(views or shard.views, shard.views)
            if not usable:
                raise ShardError(
                    f"{shard.path}: no image columns to condition on. Render and fuse with views."
                )
            for index in range(shard.row_groups):
                splits = shard.table(index, ["split"])["split"].to_pylist()
                rows = np.flatnonzero([value == split for value in splits])
                if len(rows):
                    yield Group(shard.path, index, rows, usable)


def _collate(samples: list[tuple[np.ndarray, bytes, str]]) -> Batch:
    points, images, uids = zip(*samples, strict=True)
    return Batch(torch.from_numpy(np.stack(points)), list(images), list(uids))
