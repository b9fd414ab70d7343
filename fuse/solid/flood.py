"""What surfaces enclose, whatever their orientation: a flood from outside over the points of a ray lattice.

Neighboring points are linked when no triangle lies between them, which the rays through them show exactly; so
walls hold however thin they are. A second flood uses no link that has a cut one beside it: cracks and holes
smaller than the lattice's pitch do not drain the volume they lead into. A pocket is what either flood does
not reach. Some pockets are rejected: those of few points (in narrow clefts the lattice is too coarse), those
with straight ways out, and those between surfaces that merely cross each other and mostly lie elsewhere (a
heap of leaves, random triangles).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from fuse.solid.ray_lattice import Chords, Hits, Lattice, Scene, union

SMALLEST = 64
"""Lattice points in the smallest pocket that counts."""
PROBES = 32
"""Points of a pocket from which ways out are tried."""
WAYS = 32
"""Straight ways out tried from each of them."""
LEAK = 0.005
"""Share of straight ways that may lead out of a pocket: rays slip through cracks between triangles."""
SUPPORT = (0, 4)
"""How many of the four links beside a link must hold: in the first flood, and in the one that stops at
cracks."""
OWN = 0.5
"""Share of a part's crossings that must bound pockets, and of a pocket's bounds that must be such parts'."""


@dataclass(frozen=True)
class _Pieces:
    """All pieces of all rays in order, including those before the first and behind the last crossing."""

    chords: Chords
    opening: np.ndarray  # (C,) int64: the crossing at which each begins, -1 for none
    closing: np.ndarray  # (C,) int64: the crossing at which it ends

    @property
    def free(self) -> np.ndarray:
        """(C,) bool: whether it leads out."""
        return (self.opening < 0) | (self.closing < 0)


def pockets(scene: Scene, lattice: Lattice) -> Chords:
    """The pieces of rays that lie in pockets of the scene."""
    hits = scene.crossings(lattice)
    pieces = _all_pieces(hits, lattice)
    members = _members(pieces.chords, lattice)
    sizes = [len(ticks) for ticks in lattice.ticks]
    found = [_enclosed(pieces, members, _flooded(members, sizes, least), scene, lattice) for least in SUPPORT]
    return union(_own(pieces, held, pocket, hits.part) for held, pocket in found)


def _enclosed(
    pieces: _Pieces, members: np.ndarray, label: np.ndarray, scene: Scene, lattice: Lattice
) -> tuple[np.ndarray, np.ndarray]:
    """The pieces that lie in pockets, and each one's pocket; linked points have the same `label`
    (points,)."""
    size = np.bincount(label)
    free = np.bincount(label, pieces.free[members].sum(0))
    inside = (free <= LEAK * 3 * size) & (size >= SMALLEST)
    for pocket in np.flatnonzero(inside):
        points = np.flatnonzero(label == pocket)
        chosen = points[np.linspace(0, len(points) - 1, PROBES).astype(np.int64)]
        inside[pocket] = not _escapes(_points(lattice, chosen), scene)
    # a few points cut off by a cleft count as their neighbors do
    sure = ((size >= SMALLEST) | (free > 0))[label]
    return _held(members[:, sure], np.where(inside[label], label, -1)[sure])


def _own(pieces: _Pieces, held: np.ndarray, pocket: np.ndarray, part: np.ndarray) -> Chords:
    """The pieces whose pockets are mostly bounded by parts that mostly bound pockets."""
    bounds = np.concatenate([pieces.opening[held], pieces.closing[held]])
    parts = int(part.max()) + 1 if len(part) else 0
    share = np.bincount(part[np.unique(bounds)], minlength=parts) / np.bincount(part, minlength=parts).clip(1)
    own = (share >= OWN)[part[bounds]]
    both = np.tile(pocket, 2)
    good = np.bincount(both, own) > OWN * np.bincount(both)
    return pieces.chords.take(held[good[pocket]])


def _held(members: np.ndarray, pocket: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The chords whose points, of (3, points) `members`, are all in one pocket, not -1; and that pocket."""
    order = np.argsort(members.ravel(), kind="stable")
    chord, place = members.ravel()[order], np.tile(pocket, 3)[order]
    head = np.flatnonzero(np.concatenate([[True], chord[1:] != chord[:-1]])[: len(chord)])
    if len(head) == 0:
        return head, head
    low, high = np.minimum.reduceat(place, head), np.maximum.reduceat(place, head)
    one = (low == high) & (high >= 0)
    return chord[head[one]], high[one]


def _all_pieces(hits: Hits, lattice: Lattice) -> _Pieces:
    rays = np.arange(sum(lattice.rays))
    ray, start = np.concatenate([rays, hits.ray]), np.concatenate([np.full(len(rays), -1.0), hits.t])
    opening = np.concatenate([np.full(len(rays), -1), np.arange(len(hits.t))])
    order = np.lexsort((start, ray))
    ray, start, opening = ray[order], start[order], opening[order]
    chords = Chords(ray, start, np.append(start[1:], -1.0))
    return _Pieces(chords, opening, np.append(opening[1:], -1))


def _members(chords: Chords, lattice: Lattice) -> np.ndarray:
    """(3, points) int64: the chord along each axis that holds each point of the lattice."""
    sizes = [len(ticks) for ticks in lattice.ticks]
    index = np.indices(sizes).reshape(3, -1)
    far = 16.0  # longer than any ray: ray * far + t sorts by ray, then by t
    key = chords.ray * far + chords.start
    found = []
    for axis in range(3):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        ray = sum(lattice.rays[:axis]) + index[one] * sizes[two] + index[two]
        t = lattice.ticks[axis][index[axis]] - lattice.start[axis]
        found.append(np.searchsorted(key, ray * far + t, side="right") - 1)
    return np.stack(found)


def _flooded(members: np.ndarray, sizes: Sequence[int], support: int) -> np.ndarray:
    """(points,) component of each point, linked by links that have `support` others beside them."""
    number = np.arange(members.shape[1]).reshape(sizes)
    links = []
    for axis, along in enumerate(members):
        chord = along.reshape(sizes)
        ahead, behind = (np.moveaxis(chord, axis, 0)[cut] for cut in (slice(1, None), slice(None, -1)))
        whole = _supported(ahead == behind, support)
        ends = (np.moveaxis(number, axis, 0)[cut][whole] for cut in (slice(1, None), slice(None, -1)))
        links.append(np.stack(list(ends)))
    start, end = np.concatenate(links, 1)
    graph = coo_matrix((np.ones(len(start), bool), (start, end)), (number.size, number.size))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _supported(link: np.ndarray, least: int) -> np.ndarray:
    """(A, B, C) bool: the links along the first axis that hold and have enough others beside them."""
    beside = np.zeros(link.shape, np.uint8)
    beside[:, 1:] += link[:, :-1]
    beside[:, :-1] += link[:, 1:]
    beside[:, :, 1:] += link[:, :, :-1]
    beside[:, :, :-1] += link[:, :, 1:]
    return link & (beside >= least)


def _points(lattice: Lattice, which: np.ndarray) -> np.ndarray:
    """(N, 3) float32: points of the lattice by number."""
    index = np.unravel_index(which, [len(ticks) for ticks in lattice.ticks])
    return np.stack([ticks[i] for ticks, i in zip(lattice.ticks, index, strict=True)], 1).astype(np.float32)


def _escapes(points: np.ndarray, scene: Scene) -> bool:
    """Whether too many straight lines from (N, 3) points leave the scene."""
    turn = np.arange(WAYS) * np.pi * (3 - 5**0.5)
    z = 1 - (2 * np.arange(WAYS) + 1) / WAYS
    flat = np.sqrt(1 - z * z)
    ways = np.stack([flat * np.cos(turn), flat * np.sin(turn), z], 1)
    return bool(np.isinf(scene.reach(points, ways)).mean() > LEAK)
