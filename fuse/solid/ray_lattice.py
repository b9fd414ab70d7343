"""A lattice of rays along the three axes through a mesh, and the pieces of those rays that lie in its solid.

Each ray is jittered within its cell on its own, so that a wall along an axis holds its share of the rays,
however thin; the lines of a lattice that `meets` are jittered together, so that those of different axes meet
in the lattice's points. Rays see every wall that they cross; sampling the volume would miss some. `Chords`
are a set of pieces of rays; `union` merges several sets, `spread` puts points on them evenly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fuse.solid.surface import Surface, face_normals
from render.shading.raycaster import Raycaster

MARGIN = 0.01
"""How far outside the box rays start, in normalized units."""
PIECES = 256  # numbers of one byte
"""Maximum number of pieces of a scene; more parts share them."""
APART = 1e-6
"""Crossings closer than this are one place: a chord between them is not solid."""


@dataclass(frozen=True)
class Lattice:
    """Rays along the three axes, those along x first."""

    ticks: tuple[np.ndarray, np.ndarray, np.ndarray]  # jittered coordinates, one rising array per axis
    places: np.ndarray  # (R, 2) float64: each ray's coordinates on the next axis and the one after
    start: np.ndarray  # (3,) float64, where rays along each axis begin
    pitch: np.ndarray  # (3,) float64, mean distance of the lines along each axis

    @property
    def rays(self) -> tuple[int, int, int]:
        """Number of rays along each axis."""
        x, y, z = (len(ticks) for ticks in self.ticks)
        return y * z, z * x, x * y

    def axis(self, ray: np.ndarray) -> np.ndarray:
        """(N,) int64 axis of each of (N,) rays."""
        return np.searchsorted(np.cumsum(self.rays), ray, side="right")

    def at(self, ray: np.ndarray, t: np.ndarray | float) -> np.ndarray:
        """(N, 3) float64 places on (N,) rays, at distances `t` from their starts."""
        axis = self.axis(ray)
        places, rows = np.empty((len(ray), 3)), np.arange(len(ray))
        places[rows, axis] = self.start[axis] + t
        places[rows, (axis + 1) % 3] = self.places[ray, 0]
        places[rows, (axis + 2) % 3] = self.places[ray, 1]
        return places

    def area(self) -> np.ndarray:
        """(3,) float64 cross-section that one ray along each axis stands for, square normalized units."""
        return self.pitch[[1, 2, 0]] * self.pitch[[2, 0, 1]]


@dataclass(frozen=True)
class Hits:
    """Crossings of rays and triangles, in order along each ray."""

    ray: np.ndarray  # (H,) int64
    t: np.ndarray  # (H,) float64, from the ray's start
    part: np.ndarray  # (H,) int64, of the surface
    sign: np.ndarray  # (H,) 1 where the ray leaves through the front of the triangle, -1 where it enters


@dataclass(frozen=True)
class Chords:
    """Pieces of rays."""

    ray: np.ndarray  # (C,) int64
    start: np.ndarray  # (C,) float64
    end: np.ndarray  # (C,) float64

    @property
    def length(self) -> np.ndarray:
        """(C,) float64, normalized units."""
        return self.end - self.start

    def take(self, which: np.ndarray) -> Chords:
        """Those at `which`, (M,) integers or a (C,) boolean mask."""
        return Chords(self.ray[which], self.start[which], self.end[which])


def lattice_of(low: np.ndarray, high: np.ndarray, pitch: float, seed: int, meets: bool = False) -> Lattice:
    """Lines about `pitch` apart through the box from `low` to `high`, both (3,), and at least 8 across each
    side; `seed` determines the jitter. They meet if asked to."""
    rng = np.random.default_rng(seed)
    low, size = low.astype(np.float64), (high - low).astype(np.float64)
    counts = np.maximum(8, np.ceil(size / pitch)).astype(np.int64)
    cell = size / counts
    corners = [a + np.arange(count) * step for a, count, step in zip(low, counts, cell, strict=True)]
    # float32, as rays are cast in it: a place is then on its line exactly
    jitter = [rng.uniform(0.1, 0.9, count) * step for count, step in zip(counts, cell, strict=True)]
    ticks = [_float32(corner + move) for corner, move in zip(corners, jitter, strict=True)]
    places = []
    for one, two in ((1, 2), (2, 0), (0, 1)):
        lines = (ticks[one], ticks[two]) if meets else (corners[one], corners[two])
        place = np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 2)
        places.append(place if meets else _float32(place + rng.uniform(0, cell[[one, two]], place.shape)))
    return Lattice((ticks[0], ticks[1], ticks[2]), np.concatenate(places), low - MARGIN, cell)


def _float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32).astype(np.float64)


class Scene:
    """Triangles of several parts, for rays to cross."""

    def __init__(self, vertices: np.ndarray, surface: Surface):
        self.vertices, self.surface = vertices, surface
        piece = (surface.part % PIECES).astype(np.uint8)  # parts that touch must not lose crossings
        sizes = np.bincount(piece, minlength=1)
        self._offsets = np.cumsum(sizes) - sizes
        self._order = None if len(sizes) == 1 else np.argsort(piece, kind="stable").astype(np.int32)
        places, faces = vertices.astype(np.float32), surface.faces
        if self._order is not None:
            places, faces = _by_piece(places, faces, piece)
            faces = faces.take(self._order, axis=0)
        self.caster = Raycaster(_compact(places, some) for some in np.split(faces, self._offsets[1:]))

    def crossings(self, lattice: Lattice) -> Hits:
        """Every crossing of every ray of the lattice."""
        if len(self.surface.faces) == 0:
            none = np.zeros(0)
            return Hits(none.astype(np.int64), none, none.astype(np.int64), none)
        ray = np.arange(sum(lattice.rays))
        axis = lattice.axis(ray)
        cast = np.concatenate([lattice.at(ray, 0), np.eye(3)[axis]], 1).astype(np.float32)
        ray, t, piece, triangle, _ = self.caster.crossings(cast)
        face = self._offsets[piece] + triangle
        face = face if self._order is None else self._order[face].astype(np.int64)
        normals = face_normals(self.vertices, self.surface.faces[face])
        sign = np.sign(normals[np.arange(len(face)), axis[ray]])
        order = np.lexsort((face, t, ray))
        return Hits(ray[order], t[order], self.surface.part[face[order]], sign[order])

    def reach(self, points: np.ndarray, ways: np.ndarray) -> np.ndarray:
        """(N, W) float32 distance from each (N, 3) point in each (W, 3) direction to a triangle, inf for
        none."""
        rays = np.concatenate([points.repeat(len(ways), 0), np.tile(ways, (len(points), 1))], 1)
        return self.caster.distances(rays).reshape(len(points), len(ways))

    def between(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """(N,) bool: whether a triangle is between, or just behind, the ends; both (N, 3) float32."""
        rays = np.concatenate([start, (end - start) * np.float32(1.01)], 1)
        return self.caster.blocked(rays, far=1.0)


def _by_piece(vertices: np.ndarray, faces: np.ndarray, piece: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same triangles, (F, 3) faces of (V, 3) vertices, with the vertices of each piece, an (F,) uint8, in
    a row: of the last one where pieces share a vertex."""
    owner = np.zeros(len(vertices), np.uint8)
    owner[faces] = piece[:, None]
    order = np.argsort(owner, kind="stable")
    number = np.empty(len(vertices), np.int32)
    number[order] = np.arange(len(vertices), dtype=np.int32)
    return vertices.take(order, axis=0), number[faces]


def _compact(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same triangles, (F, 3) faces of (V, 3) vertices, with no more vertices than they have corners."""
    low, high = (int(faces.min()), int(faces.max()) + 1) if len(faces) else (0, 0)
    if high - low <= faces.size:
        return vertices[low:high], faces - low if low else faces
    return vertices[faces].reshape(-1, 3), np.arange(faces.size).reshape(-1, 3)


def scene_of(vertices: np.ndarray, surface: Surface, known: Scene) -> Scene:
    """The scene of a surface of (V, 3) vertices: the known one if it has the same triangles."""
    of = known.surface
    same = np.array_equal(surface.faces, of.faces) and np.array_equal(surface.part, of.part)
    return known if same else Scene(vertices, surface)


def gaps(hits: Hits) -> tuple[Chords, np.ndarray]:
    """The pieces between consecutive crossings of each ray, and the (C,) int64 crossing at which each
    begins."""
    first = np.flatnonzero(hits.ray[1:] == hits.ray[:-1])
    first = first[hits.t[first + 1] - hits.t[first] > APART]
    return Chords(hits.ray[first], hits.t[first], hits.t[first + 1]), first


def odd_gaps(hits: Hits) -> Chords:
    """The pieces after an odd number of crossings with one part, for each part.

    A ray that crosses a part an odd number of times does not count for it.
    """
    order, head, size = by_part(hits)
    rank = np.arange(len(order)) - np.repeat(head, size)
    even = np.repeat(size % 2 == 0, size)
    entry, leaving = order[even & (rank % 2 == 0)], order[even & (rank % 2 == 1)]
    found = Chords(hits.ray[entry], hits.t[entry], hits.t[leaving])
    return found.take(found.length > APART)


def by_part(hits: Hits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The (H,) int64 order of crossings by part, then ray, then distance; where each ray's begin in it; and
    their number."""
    order = np.lexsort((hits.ray, hits.part))
    part, ray = hits.part[order], hits.ray[order]
    new = np.concatenate([[True], (part[1:] != part[:-1]) | (ray[1:] != ray[:-1])])[: len(order)]
    head = np.flatnonzero(new)
    return order, head, np.diff(np.append(head, len(order)))


def union(found: Iterable[Chords]) -> Chords:
    """Chords that cover once what any of the found ones cover; touching ones are joined."""
    none = np.zeros(0)
    sets = [Chords(none.astype(np.int64), none, none), *found]
    ray = np.concatenate([np.concatenate([one.ray, one.ray]) for one in sets])
    t = np.concatenate([np.concatenate([one.start, one.end]) for one in sets])
    step = np.concatenate([np.repeat([1, -1], len(one.ray)) for one in sets])
    order = np.lexsort((-step, t, ray))
    depth = np.cumsum(step[order])
    end = order[depth == 0]
    start = order[np.concatenate([[True], depth[:-1] == 0])[: len(order)]]
    return Chords(ray[start], t[start], t[end])


def volume(chords: Chords, lattice: Lattice) -> float:
    """Volume that the chords stand for, cubic normalized units: the mean over the three axes."""
    share = chords.length * lattice.area()[lattice.axis(chords.ray)]
    return float(share.sum() / 3)


def spread(chords: Chords, lattice: Lattice, count: int, seed: int) -> np.ndarray:
    """(count, 3) float32 points at jittered even steps along all chords, one after another; (0, 3) for no
    chords."""
    weight = chords.length * lattice.area()[lattice.axis(chords.ray)]
    ends = np.cumsum(weight)
    if len(ends) == 0:
        return np.zeros((0, 3), np.float32)
    # 0.1 to 0.9 of a step: neighbors on a chord are never the same point
    step = (np.arange(count) + np.random.default_rng(seed).uniform(0.1, 0.9, count)) / count * ends[-1]
    chord = np.searchsorted(ends, step).clip(0, len(ends) - 1)
    part = 1 - (ends[chord] - step) / weight[chord]
    t = chords.start[chord] + part.clip(0.01, 0.99) * chords.length[chord]
    return lattice.at(chords.ray[chord], t).astype(np.float32)
