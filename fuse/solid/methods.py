"""Where a mesh is solid, by the method that each of its parts allows.

Solid is where the winding number is above one half. By that rule a closed single sheet (a ball, a room
without wall thickness) is solid throughout, with whatever stands in it; walls modeled with two sides are
solid and the room between them is not; a shell modeled inside out within another is a cavity. Each part is
judged by its own triangles alone, so open sheets beside solids do no harm. The methods, the most certain
first:

winding: closed shells (`fuse.solid.closed_shells`), and parts that almost are, such as a scan with a hole: at
    least `LEVEL` of the rays that hit them along each axis leave as often as they enter. On such a ray the
    signed crossings add up to the winding number; where a ray miscounts a closed shell, through an edge, the
    generalized winding number over all triangles decides (Jacobson et al. 2013, Barill et al. 2018; libigl).
stabbing: parts with a useless orientation that equally many rays cross an even number of times: the pieces
    after an odd number of crossings. Parity does not handle overlaps, so each part counts alone.
flood: what the remaining parts enclose together (`fuse.solid.flood`): soups, partitions, torn seams.

Level rays along one or two axes are not enough (a tube or a bowl has them too): all three axes must see the
same volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fuse.solid.closed_shells import Shells, winding_numbers, with_cavities
from fuse.solid.flood import pockets
from fuse.solid.ray_lattice import Chords, Hits, Lattice, Scene, by_part, gaps, odd_gaps, scene_of
from fuse.solid.surface import Surface, joined

METHODS = ("winding", "stabbing", "flood")
LEVEL = 0.98
"""Share of the rays along each axis that must be level: leave a part as often as they enter it."""
MET = 20
"""Level rays along each axis that a part needs to be judged by them."""
AGREEMENT = 0.7
"""The smallest of the volumes found along the three axes, as a share of the largest."""
NEGLIGIBLE = 1e-3
"""Share of the solid volume below which a method's finding is dropped as noise."""

Found = dict[str, Chords]
"""What each method found to be solid."""


@dataclass(frozen=True)
class Parts:
    """Triangles by the method that judges them."""

    winding: Scene  # oriented outward, cavities inward
    closed: int  # its first `closed` parts are shells without a hole
    stabbing: Scene
    flood: Scene

    @property
    def scenes(self) -> list[Scene]:
        """The scenes that have triangles."""
        return [scene for scene in (self.winding, self.stabbing, self.flood) if len(scene.surface.faces)]


def sort_parts(shells: Shells, lattice: Lattice) -> Parts:
    """Choose the method for each part of the sheets; closed shells go by the winding number."""
    vertices, faces, part = shells.vertices, shells.sheets.faces, shells.sheets.part
    scene = Scene(vertices, shells.sheets)
    hits = scene.crossings(lattice)
    signed, even = _judged(hits, shells.sheets.parts, lattice)
    rest = ~(signed | even)
    if rest.any():
        # torn seams leave parts that are open on their own and closed together
        part = np.where(rest[part], len(rest), part)
        together = replace(hits, part=np.where(rest[hits.part], len(rest), hits.part))
        signed, even = _judged(together, len(rest) + 1, lattice)
    winding, stabbing = signed[part], (even & ~signed)[part]
    flood = ~winding & ~stabbing
    closed = shells.closed
    if winding.any():  # else its cavities are known
        almost = Surface(faces[winding], part[winding])
        closed = with_cavities(vertices, joined(shells.closed, almost))
    left = joined(Surface(faces[flood], shells.sheets.part[flood]))
    return Parts(
        winding=scene_of(vertices, closed, scene),
        closed=shells.closed.parts,
        stabbing=scene_of(vertices, joined(Surface(faces[stabbing], part[stabbing])), scene),
        flood=scene_of(vertices, left, scene),
    )


def find_solid(parts: Parts, lattice: Lattice, methods: Sequence[str]) -> Found:
    """The chords that each method finds to be solid; methods that find next to nothing are left out."""
    ways = {
        "winding": lambda: _by_winding(parts.winding, parts.closed, lattice),
        "stabbing": lambda: odd_gaps(parts.stabbing.crossings(lattice)),
        "flood": lambda: pockets(parts.flood, lattice),
    }
    found = {method: ways[method]() for method in methods}
    sizes = {method: float(chords.length.sum()) for method, chords in found.items()}
    least = NEGLIGIBLE * sum(sizes.values())
    return {method: found[method] for method, size in sizes.items() if size > least}


def _judged(hits: Hits, parts: int, lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """(parts,) bool: whether each part's crossings give the winding number, and whether they give parity."""
    order, head, size = by_part(hits)
    group = np.repeat(np.arange(len(head)), size)
    rank = np.arange(len(order)) - head[group]
    first = order[head]
    axis = lattice.axis(hits.ray[first])
    cell, area = hits.part[first] * 3 + axis, lattice.area()[axis]
    t = hits.t[order]
    signed, even = (
        _bounds(np.bincount(group, step), np.bincount(group, step * t) * area, cell, parts)
        for step in (hits.sign[order], rank % 2 * 2.0 - 1)
    )
    return signed, even


def _bounds(total: np.ndarray, volume: np.ndarray, cell: np.ndarray, parts: int) -> np.ndarray:
    """(parts,) bool: whether nearly all rays are level and those along all axes see the same volume.

    For each pair of a ray and a part that it hits: the sum of its steps, 1 out of the part and -1 into it (0
    is level); the volume that it then stands for; and 3 * part + axis.
    """
    level = total == 0
    met = np.bincount(cell, minlength=3 * parts).reshape(-1, 3)
    agree = np.bincount(cell, level, 3 * parts).reshape(-1, 3)
    size = np.bincount(cell, volume * level, 3 * parts).reshape(-1, 3)
    size = size * np.sign(size.sum(1, keepdims=True))
    same = (size.min(1) > 0) & (size.min(1) >= AGREEMENT * size.max(1))
    return same & (agree >= np.maximum(met * LEVEL, MET)).all(1)


def _by_winding(scene: Scene, closed: int, lattice: Lattice) -> Chords:
    """The pieces whose winding number is above one half; a ray that miscounts an open part does not count for
    it."""
    hits = scene.crossings(lattice)
    order, head, size = by_part(hits)
    level = np.empty(len(order), bool)
    level[order] = np.repeat(np.add.reduceat(hits.sign[order], head) == 0, size) if len(head) else False
    pieces, first = gaps(hits)
    solid = -np.cumsum(np.where(level, hits.sign, 0))[first] > 0.5
    asked = np.flatnonzero(np.isin(pieces.ray, hits.ray[~level & (hits.part < closed)]))
    if len(asked):
        middle = lattice.at(pieces.ray[asked], (pieces.start + pieces.end)[asked] / 2)
        solid[asked] = winding_numbers(scene.vertices, scene.surface.faces, middle) > 0.5
    return pieces.take(solid)
