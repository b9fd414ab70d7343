"""Polygons that name a vertex twice, which Blender drops, as polygons that it takes.

Exporters write a triangle as `a b c c`, close an outline with its first corner, and cut a hole into a polygon
by an edge there and back: `a b c d a e f g h e`. The first two lose the corner that is too many; in the last
the second naming gets a vertex of its own, at the same place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Simple:
    """How polygons change."""

    corners: np.ndarray
    """(C',) int64 vertex indices; from the number of vertices on they are new ones."""
    sizes: np.ndarray
    """(F',) int64"""
    kept_corners: np.ndarray
    """(C',) int64, in the corners before"""
    kept_faces: np.ndarray
    """(F',) int64, in the faces before"""
    copied: np.ndarray
    """(N,) int64, the vertices that the new ones are copies of"""


def simple(corners: np.ndarray, sizes: np.ndarray, vertices: int) -> Simple | None:
    """Polygons of `sizes` (F,) int with `corners` (C,) int, each of `vertices`; None if they may stay."""
    if len(corners) == 0 or int(sizes.sum()) != len(corners) or sizes.min() < 1:
        return None
    corners, sizes = np.asarray(corners, np.int64), np.asarray(sizes, np.int64)
    after = np.arange(1, len(corners) + 1)
    after[np.cumsum(sizes) - 1] = np.cumsum(sizes) - sizes
    kept = corners != corners[after]
    face = np.repeat(np.arange(len(sizes)), sizes)
    left = np.add.reduceat(kept, np.cumsum(sizes) - sizes, dtype=np.int64)
    kept &= (left > 2)[face]
    again = _named_again(corners[kept], face[kept], left)
    if kept.all() and not len(again):
        return None
    changed = corners[kept]
    copied = changed[again]
    changed[again] = vertices + np.arange(len(again))
    whole = left > 2
    return Simple(changed, left[whole], np.flatnonzero(kept), np.flatnonzero(whole), copied)


def _named_again(corners: np.ndarray, face: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Which corners (N,) name a vertex that their polygon has named before; only of more than 4 corners."""
    large = np.flatnonzero(sizes[face] > 4)
    order = large[np.lexsort((corners[large], face[large]))]
    same = (face[order][1:] == face[order][:-1]) & (corners[order][1:] == corners[order][:-1])
    return order[1:][same]
