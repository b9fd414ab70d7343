"""Points evenly spread in the solid volume that a mesh encloses, and measures of that volume.

`fuse.solid.methods` defines what is solid and finds it, as chords of a lattice of rays
(`fuse.solid.ray_lattice`). Candidates lie on the chords at even steps, are moved at random within the
lattice's cell where no triangle is in the way, and are kept in farthest-point order. Open, one-sided and
paper-thin objects get no points rather than wrong ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fuse.sampling import farthest_points
from fuse.solid.closed_shells import PAPER, Shells, find_shells
from fuse.solid.methods import METHODS, Found, Parts, find_solid, sort_parts
from fuse.solid.ray_lattice import Lattice, Scene, lattice_of, spread, union, volume
from render.bundle import Mesh
from render.shading.raycaster import Raycaster

PITCH = 2 / 72
"""Distance of the rays; halved up to `FINER` times while fewer rays hit a solid than points are wanted."""
FINER = 2
OVERSAMPLING = 8
"""Candidates per point kept."""
GAUGED = 1024
"""Points at which the thickness is measured: a prefix, so evenly spread."""


@dataclass(frozen=True)
class Solid:
    """Points in the solid in farthest-point order, every prefix spread evenly; and measures of the mesh."""

    xyz: np.ndarray  # (N, 3) float32, normalized frame; N is 0 if method is none, else the count asked for
    method: str  # winding, stabbing, flood, several of them joined by +, or none
    watertight: bool  # all but a thousandth of the surface belongs to closed shells
    closed_share: float  # share of the surface's area that belongs to closed shells
    shells: int  # closed shells, cavities included
    volume: float  # cubic normalized units, from the rays
    volume_fraction: float  # of the bounding box
    thickness: tuple[float, float, float]  # shortest chord through a point: 5th, 50th, 95th percentile


def solid_points(mesh: Mesh, count: int = 4096, seed: int = 0) -> Solid:
    """`count` points strictly inside the solid of any mesh. The same arguments give the same bytes."""
    return solid_of(find_shells(mesh), count, seed)[0]


def solid_of(shells: Shells, count: int, seed: int) -> tuple[Solid, Raycaster | None]:
    """The same of a mesh taken apart; and what has all its triangles for other rays to meet, if one scene
    had: to make millions ready for rays again takes as long as anything else here."""
    corners = _corners(shells)
    if len(corners) == 0:
        return _nothing(shells), None
    low, high = corners.min(0), corners.max(0)
    parts, found, lattice = _search(shells, low, high, count, seed)
    chords = union(found.values())
    candidates = spread(chords, lattice, OVERSAMPLING * count, seed)
    candidates = _loosened(candidates, lattice.pitch, parts.scenes, seed)
    xyz = candidates[farthest_points(candidates, count)]
    thickness = _thickness(xyz[:GAUGED], parts.scenes)
    caster = None if len(parts.scenes) > 1 or len(shells.idle) else parts.scenes[0].caster
    if thickness[1] < PAPER:
        return _nothing(shells), caster
    size = volume(chords, lattice)
    fraction = size / float(np.prod((high - low).clip(PAPER)))
    return Solid(xyz, "+".join(found), *_closedness(shells), size, fraction, thickness), caster


def _search(
    shells: Shells, low: np.ndarray, high: np.ndarray, count: int, seed: int
) -> tuple[Parts, Found, Lattice]:
    """What is solid by each method, and the lattice that shows it: fine enough for thin walls."""
    parts = sort_parts(shells, lattice_of(low, high, PITCH, seed))
    if len(parts.flood.surface.faces):
        lattice = lattice_of(low, high, PITCH, seed, meets=True)
        found = find_solid(parts, lattice, METHODS)
        if "flood" in found:  # over a finer lattice it is expensive, and many rays hit any pocket that counts
            return parts, found, lattice
    for finer in range(FINER + 1):
        lattice = lattice_of(low, high, PITCH / 2**finer, seed)
        found = find_solid(parts, lattice, METHODS[:2])
        if not found or len(union(found.values()).ray) >= count:
            break
    return parts, found, lattice


def _corners(shells: Shells) -> np.ndarray:
    """(N, 3) float64: the vertices that have a face."""
    used = np.zeros(len(shells.vertices), bool)
    used[shells.closed.faces], used[shells.sheets.faces] = True, True
    return shells.vertices[used]


def _nothing(shells: Shells) -> Solid:
    return Solid(np.zeros((0, 3), np.float32), "none", *_closedness(shells), 0.0, 0.0, (0.0, 0.0, 0.0))


def _closedness(shells: Shells) -> tuple[bool, float, int]:
    return shells.closed_share > 0.999, shells.closed_share, shells.closed.parts


def _loosened(points: np.ndarray, pitch: np.ndarray, scenes: list[Scene], seed: int) -> np.ndarray:
    """(N, 3) float32: points moved at random within the lattice's cell, where no triangle is in the way."""
    move = np.random.default_rng(seed).uniform(-0.5, 0.5, points.shape) * pitch
    moved = (points + move).astype(np.float32)
    blocked = np.any([scene.between(points, moved) for scene in scenes], axis=0)
    return np.where(blocked[:, None], points, moved)


def _thickness(points: np.ndarray, scenes: list[Scene]) -> tuple[float, float, float]:
    """Percentiles over the points of the shortest of 13 chords through each, up to the next triangle."""
    if len(points) == 0:
        return 0.0, 0.0, 0.0
    steps = np.indices((3, 3, 3)).reshape(3, -1).T - 1.0
    ways = (steps / np.linalg.norm(steps, axis=1, keepdims=True).clip(1))[np.arange(27) != 13]
    reach = np.min([scene.reach(points, ways) for scene in scenes], axis=0)
    # directions i and 25 - i are opposite
    chord = (reach[:, :13] + reach[:, :12:-1]).min(1)
    low, middle, high = np.percentile(chord, (5, 50, 95))
    return float(low), float(middle), float(high)
