"""Which points of a shard's row make up a cloud: visible from outside, hidden, or inside the solid.

A `Mix` selects the points of a row that a model is trained on:

- `outside`: the first rows of `outside_*`. Every prefix of a shard's row is a farthest-point sample.
- `outside+hidden`, by quota: the first (1 - share) * N outside points and the first share * N hidden ones.
  Where a model has too few hidden points, further outside points replace them.
- `outside+hidden`, by one farthest-point sampling over both: the share follows from the geometry. It samples
  the first N points of each kind, in 2 ms for 1,024, and is cached.
- `solid`: the first rows of `solid_xyz`, which have no color.

The upsampler's target continues its condition: `skip` is the number of points of the same mix before it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

import numpy as np

PointsFrom = Literal["outside", "outside+hidden", "solid"]


@dataclass(frozen=True)
class Mix:
    """The recipe of a cloud. `share` is the share of hidden points by quota; None samples the union."""

    kind: PointsFrom = "outside"
    share: float | None = None

    @property
    def channels(self) -> int:
        """Channels per point: xyz, then color, then the label."""
        return {"solid": 3, "outside": 6, "outside+hidden": 7}[self.kind]

    def quota(self, count: int, outside: int, hidden: int) -> tuple[int, int]:
        """The numbers of outside and hidden points among the first `count`, of a row that has these."""
        wanted = round(count * (self.share or 0)) if self.kind == "outside+hidden" else 0
        taken = min(wanted, hidden)
        return (count - taken, taken) if outside else (0, count)

    def ranges(self, outside: int, hidden: int, count: int, skip: int = 0) -> list[tuple[int, int]]:
        """The ranges (first, last) of outside and of hidden points that make points `skip`.. of the mix.

        A range may exceed the row's points: they are then repeated from the first on.
        """
        before, after = self.quota(skip, outside, hidden), self.quota(skip + count, outside, hidden)
        return list(zip(before, after, strict=True))


class UnionOrder:
    """Farthest-point orders over outside and hidden points together; the latest are cached, up to `mib`."""

    def __init__(self, mib: float = 256):
        self._room = mib * 2**20
        self._held: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._size = 0

    def members(self, key: Hashable, outside: np.ndarray, hidden: np.ndarray, count: int) -> np.ndarray:
        """Farthest-point order, (K,) int32: indices into `outside` (N, 3) followed by `hidden` (M, 3)."""
        if key not in self._held:
            from fuse.sampling import farthest_points

            first, second = outside[:count], hidden[:count]
            order = farthest_points(np.concatenate([first, second]), min(count, len(first) + len(second)))
            order = np.where(order < len(first), order, order - len(first) + len(outside))
            self._keep(key, np.resize(order, count).astype(np.int32))
        self._held.move_to_end(key)
        return self._held[key]

    def _keep(self, key: Hashable, order: np.ndarray) -> None:
        self._held[key] = order
        self._size += order.nbytes
        while self._size > self._room and len(self._held) > 1:
            self._size -= self._held.popitem(last=False)[1].nbytes
