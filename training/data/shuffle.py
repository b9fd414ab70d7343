"""The training order of rows: a pure function of the manifest, the seed and the stream.

An epoch permutes the row groups, gives each of `streams` an equal slice of the rows, and shuffles the rows of
`window` row groups together. A step takes a fixed number of rows from every stream, regardless of the number
of processes, which share the streams: the batches are the same for one process and for eight. Where weights
differ, an epoch is as long as without them, and each row comes in proportion to its weight (`Order._copies`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Group:
    """The rows of a row group that belong to the split."""

    path: Path
    index: int
    rows: np.ndarray  # (R,) int64
    views: int
    weights: np.ndarray | None = None  # (R,) float64, positive; None: equal


@dataclass(frozen=True)
class Share:
    """One process's rows of a stream: of its `per_batch` rows per batch, those from `low` to `high`."""

    stream: int
    per_batch: int
    low: int
    high: int


class Order:
    """The rows of a stream, epoch after epoch."""

    def __init__(self, groups: list[Group], seed: int, window: int, streams: int = 1):
        self.groups = groups
        self.seed = seed
        self._window, self._streams = window, streams
        self._total = sum(len(group.rows) for group in groups)
        self._ends = _ends_of_weight(groups)

    def windows(self, stream: int, start: int) -> Iterator[tuple[int, np.ndarray]]:
        """Windows from the stream's `start`-th row on: epoch and (R, 2) int64, group and row."""
        for epoch in itertools.count():
            first, last = self._bounds(stream, epoch)
            if start >= last - first:
                start -= last - first
                continue
            for rows in self._epoch(epoch, first, last):
                if start < len(rows):
                    yield epoch, rows[start:]
                start = max(0, start - len(rows))

    def views(self, epoch: int, group: int, count: int = 1) -> list[int]:
        """The views, without repetition, whose images a row group uses in an epoch."""
        rng, pool = self.rng(epoch, group), max(1, self.groups[group].views)
        first = int(rng.integers(pool))
        others = [view for view in range(pool) if view != first]
        return [first, *rng.permutation(others).astype(int).tolist()[: count - 1]]

    def shown(self, step: int, least: int, most: int) -> int:
        """The number of views of every object in a step: the same for all processes."""
        return least if least == most else int(self.rng(step, 0, 0, 5).integers(least, most + 1))

    def rng(self, *key: int) -> np.random.Generator:
        """A random generator of its own for each `key`."""
        return np.random.default_rng([self.seed, *key])

    def _bounds(self, stream: int, epoch: int) -> tuple[int, int]:
        """The stream's slice of the epoch. Streams rotate through the slices, which may differ by one row."""
        place = (stream + epoch) % self._streams
        return place * self._total // self._streams, (place + 1) * self._total // self._streams

    def _epoch(self, epoch: int, first: int, last: int) -> Iterator[np.ndarray]:
        """The slice's windows, each (R, 2) int64, shuffled; nothing outside the slice is built."""
        order = self.rng(epoch).permutation(len(self.groups))
        ends = np.cumsum([self._size(epoch, int(g)) for g in order])
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
        """Rows first..last of a shuffled group, counted from its end: (R, 2), group and row."""
        rows = self.rng(epoch, group, 2).permutation(self._copies(epoch, group))
        rows = rows[max(0, len(rows) + first) : max(0, min(len(rows), len(rows) + last))]
        return np.stack([np.full_like(rows, group), rows], axis=1)

    def _size(self, epoch: int, group: int) -> int:
        """The number of rows that an epoch takes from a group."""
        if self._ends is None:
            return len(self.groups[group].rows)
        low, high = np.floor(self._ends[group : group + 2] + self._offset(epoch))
        return int(high - low)

    def _copies(self, epoch: int, group: int) -> np.ndarray:
        """The rows that an epoch takes from a group: a heavy one several times, a light one not always.

        Systematic sampling: the rows are intervals as long as their weights on one line; a comb of unit
        spacing, offset at random in each epoch, lies on it, and each tooth takes the row that it meets.
        """
        rows, weights = self.groups[group].rows, self.groups[group].weights
        if self._ends is None or weights is None:
            return rows
        first, last = self._ends[group : group + 2]
        share = np.cumsum(weights) / weights.sum()
        ends = np.concatenate([[first], np.minimum(first + (last - first) * share[:-1], last), [last]])
        return np.repeat(rows, np.diff(np.floor(ends + self._offset(epoch))).astype(np.int64))

    def _offset(self, epoch: int) -> float:
        """The comb's offset, a multiple of 2**-20: sums with it are exact, so an epoch's length is too."""
        return int(self.rng(epoch, 0, 4).integers(2**20)) / 2**20


def _ends_of_weight(groups: list[Group]) -> np.ndarray | None:
    """Where on the line each group begins, and the last one ends, (G + 1,) float64; None for equal weights.

    The line is as long as there are rows.
    """
    weights = [group.weights for group in groups if group.weights is not None]
    if len({weight for some in weights for weight in (some.min(), some.max())}) < 2:
        return None
    ends = np.concatenate([[0.0], np.cumsum([some.sum() for some in weights])])
    return ends / ends[-1] * sum(map(len, weights))


def shares(batch: int, streams: int, rank: int, world: int) -> list[Share]:
    """The rows of each stream that rank `rank` of `world` takes for its part of every batch.

    Row j of a batch comes from stream j * streams // batch and belongs to rank j * world // batch.
    """
    first, last = rank * batch // world, (rank + 1) * batch // world
    result = []
    for stream in range(streams):
        begin, end = -(-stream * batch // streams), -(-(stream + 1) * batch // streams)
        low, high = max(first, begin), min(last, end)
        if low < high:
            result.append(Share(stream, end - begin, low - begin, high - begin))
    return result
