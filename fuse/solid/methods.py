"""Where a mesh encloses matter, by the method that each of its parts allows.

Matter is where the winding number is above one half. By that rule a closed single sheet (a ball, a room
without wall thickness) is solid through and through, and what stands in it is matter within matter; walls
modeled with two sides are solid and the room between them is not; a shell drawn inside out within another is
a cavity. The methods, the most certain first. Open sheets beside solids do not spoil them, for a part is
judged by its own triangles alone:

winding: closed shells (`fuse.solid.closed_shells`), and parts that almost are, for example a scan with a hole: at least
    `LEVEL` of the rays that meet them along each axis leave as often as they enter. On such a ray the signed
    crossings count the winding number; where a ray miscounts a closed shell, through an edge, the generalized
    winding number over all triangles is asked (Jacobson et al. 2013, Barill et al. 2018; libigl).
stabbing: parts whose orientation says nothing, but which as many rays cross an even number of times: the
    pieces after an odd number of crossings. Parity knows no overlaps, so each part counts alone.
flood: what the parts left over enclose together (`fuse.solid.flood`): soups, partitions, torn seams.

Level rays along one or two axes are not enough, a tube or a bowl has them too: all three must see the same
volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fuse.solid.closed_shells import Shells, Surface, joined, measures, winding_numbers
from fuse.solid.flood import pockets
from fuse.solid.ray_lattice import Chords, Hits, Lattice, Scene, by_part, gaps, odd_gaps

METHODS = ("winding", "stabbing", "flood")
LEVEL = 0.98
"""Share of the rays along each axis that must leave a part as often as they enter it."""
MET = 20
"""Rays along each axis that must be level before a part is judged by them."""
AGREEMENT = 0.7
"""The smallest of the volumes found along the three axes, as a share of the largest."""
NEGLIGIBLE = 1e-3
"""Share of the matter below which a method's finding is dropped as noise."""

Found = dict[str, Chords]
"""The matter that each method found."""


@dataclass(frozen=True)
class Matter:
    """Triangles by the method that judges them."""

    winding: Scene  # oriented outward, cavities inward
    closed: int  # the first so many parts of it are shells without a hole
    stabbing: Scene
    flood: Scene

    @property
    def scenes(self) -> list[Scene]:
        """Those that have triangles."""
        return [scene for scene in (self.winding, self.stabbing, self.flood) if len(scene.surface.faces)]


def sort_matter(shells: Shells, lattice: Lattice) -> Matter:
    """Choose the method for each part of the sheets; closed shells are for the winding number."""
    vertices, faces, part = shells.vertices, shells.sheets.faces, shells.sheets.part
    scene = Scene(vertices, shells.sheets)
    hits = scene.crossings(lattice)
    signed, even = _judged(hits, shells.sheets.parts, lattice)
    rest = ~(signed | even)
    if rest.any():
        # torn seams leave parts that are open by themselves and closed together
        part = np.where(rest[part], len(rest), part)
        together = replace(hits, part=np.where(rest[hits.part], len(rest), hits.part))
        signed, even = _judged(together, len(rest) + 1, lattice)
    outward = measures(vertices, Surface(faces, part))[0][part] >= 0
    turned = np.where(outward[:, None], faces, faces[:, ::-1])
    winding, stabbing = signed[part], (even & ~signed)[part]
    flood = ~winding & ~stabbing
    left = joined(Surface(faces[flood], shells.sheets.part[flood]))
    return Matter(
        winding=Scene(vertices, joined(shells.closed, Surface(turned[winding], part[winding]))),
        closed=shells.closed.parts,
        stabbing=Scene(vertices, joined(Surface(faces[stabbing], part[stabbing]))),
        flood=scene if flood.all() else Scene(vertices, left),
    )


def find_matter(matter: Matter, lattice: Lattice, methods: Sequence[str]) -> Found:
    """The chords that the methods find to lie in matter; those that find next to none are left out."""
    ways = {
        "winding": lambda: _by_winding(matter.winding, matter.closed, lattice),
        "stabbing": lambda: odd_gaps(matter.stabbing.crossings(lattice)),
        "flood": lambda: pockets(matter.flood, lattice),
    }
    found = {method: ways[method]() for method in methods}
    sizes = {method: float(chords.length.sum()) for method, chords in found.items()}
    least = NEGLIGIBLE * sum(sizes.values())
    return {method: found[method] for method, size in sizes.items() if size > least}


def _judged(hits: Hits, parts: int, lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """(parts,) whether the winding number can be had from each part, and whether parity can."""
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
    """(parts,) whether nearly all rays are level and those along all axes see the same volume.

    Of each ray and part that meet: the sum of its steps, 1 out of the part and -1 into it (level: 0); the
    volume that it then stands for; and 3 * part + axis.
    """
    level = total == 0
    met = np.bincount(cell, minlength=3 * parts).reshape(-1, 3)
    agree = np.bincount(cell, level, 3 * parts).reshape(-1, 3)
    size = np.bincount(cell, volume * level, 3 * parts).reshape(-1, 3)
    size = size * np.sign(size.sum(1, keepdims=True))
    same = (size.min(1) > 0) & (size.min(1) >= AGREEMENT * size.max(1))
    return same & (agree >= np.maximum(met * LEVEL, MET)).all(1)


def _by_winding(scene: Scene, closed: int, lattice: Lattice) -> Chords:
    """The pieces whose winding number is above one half; a ray has no say about an open part it miscounts."""
    hits = scene.crossings(lattice)
    order, head, size = by_part(hits)
    level = np.empty(len(order), bool)
    level[order] = np.repeat(np.add.reduceat(hits.sign[order], head) == 0, size) if len(head) else False
    pieces, first = gaps(hits)
    matter = -np.cumsum(np.where(level, hits.sign, 0))[first] > 0.5
    asked = np.flatnonzero(np.isin(pieces.ray, hits.ray[~level & (hits.part < closed)]))
    if len(asked):
        middle = lattice.at(pieces.ray[asked], (pieces.start + pieces.end)[asked] / 2)
        matter[asked] = winding_numbers(scene.vertices, scene.surface.faces, middle) > 0.5
    return pieces.take(matter)
