"""Triangles of several parts, and what each part measures.

Millions of triangles are measured in blocks, which stay in the processor's cache and need little memory. Sums
run over all of them in one go, so the blocks do not show in the results.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fuse.solid.edges import kept, without_gaps

BLOCK = 1 << 14
"""Faces measured at once."""


@dataclass(frozen=True)
class Surface:
    """Triangles and the component that each belongs to."""

    faces: np.ndarray  # (F, 3) int32 into the welded vertices
    part: np.ndarray  # (F,) int64, 0 .. parts - 1

    @property
    def parts(self) -> int:
        """Number of parts."""
        return int(self.part.max()) + 1 if len(self.part) else 0

    def take(self, which: np.ndarray) -> Surface:
        """The faces of an (F,) boolean mask; parts keep their numbers."""
        return Surface(kept(self.faces, which), kept(self.part, which))

    def blocks(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Which faces; their (N, 3) corners and (N,) parts."""
        for start in range(0, len(self.faces), BLOCK):
            where = slice(start, start + BLOCK)
            yield where, self.faces[where], self.part[where]


def joined(*surfaces: Surface) -> Surface:
    """The surfaces concatenated; their parts are renumbered in this order, without gaps."""
    some = [surface for surface in surfaces if len(surface.faces)] or list(surfaces[:1])
    if len(some) == 1:
        return Surface(some[0].faces, without_gaps(some[0].part))
    offsets = np.cumsum([0] + [surface.parts for surface in some[:-1]])
    part = np.concatenate([surface.part + offset for surface, offset in zip(some, offsets, strict=True)])
    return Surface(np.concatenate([surface.faces for surface in some]), without_gaps(part))


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F, 3) float64 normals of length twice the area; vertices (V, 3) floats, faces (F, 3) integers."""
    corner, one, two = (vertices.take(number, axis=0).astype(np.float64, copy=False) for number in faces.T)
    (ax, ay, az), (bx, by, bz) = (one - corner).T, (two - corner).T
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], 1)


def face_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F,) float64 areas of triangles; vertices (V, 3) floats, faces (F, 3) integers."""
    area = np.empty(len(faces))
    for start in range(0, len(faces), BLOCK):
        normals = face_normals(vertices, faces[start : start + BLOCK])
        area[start : start + BLOCK] = np.linalg.norm(normals, axis=1) / 2
    return area


def measures(vertices: np.ndarray, surface: Surface) -> tuple[np.ndarray, np.ndarray]:
    """(parts,) float64 signed volume and (parts,) area of each part; vertices (V, 3) float64."""
    part, parts, count = surface.part, surface.parts, len(surface.faces)
    size = np.bincount(part, minlength=parts).clip(1)
    first = surface.faces[:, 0]
    middle = np.stack([np.bincount(part, axis.take(first), parts) for axis in vertices.T], 1) / size[:, None]
    height, area = np.empty(count), np.empty(count)
    for where, faces, own in surface.blocks():
        normals = face_normals(vertices, faces)
        corner = vertices.take(faces[:, 0], axis=0) - middle.take(own, axis=0)
        height[where] = np.einsum("ij,ij->i", corner, normals)
        area[where] = np.sqrt(np.einsum("ij,ij->i", normals, normals))
    height /= 6
    area /= 2
    return np.bincount(part, height, parts), np.bincount(part, area, parts)


def thickness(vertices: np.ndarray, surface: Surface, volume: np.ndarray, area: np.ndarray) -> np.ndarray:
    """(parts,) float64: the thinnest side of the box that has a part's volume, area and length.

    A plate's, however bent, is twice its volume over its area; a straight rod's or a ball's is its side or
    diameter, a cube's a sixth less, a bent wire's up to a half less. `vertices` are (V, 3) float64, `volume`
    and `area` (parts,) what `measures` finds.
    """
    longest = 2 * _reach(vertices, surface).clip(1e-30)
    section = np.abs(volume) / longest  # the product of the two other sides
    around = (area / 2 - section) / longest  # their sum
    return 2 * section / (around + np.sqrt((around**2 - 4 * section).clip(0))).clip(1e-30)


def _reach(vertices: np.ndarray, surface: Surface) -> np.ndarray:
    """(parts,) float64: how far each part's corners are from their mean."""
    part, parts = surface.part, surface.parts
    a, b, c = surface.faces.T
    total = [np.bincount(part, axis.take(a) + axis.take(b) + axis.take(c), parts) for axis in vertices.T]
    middle = np.stack(total, 1) / (3 * np.bincount(part, minlength=parts))[:, None]
    squares = np.zeros(len(part))
    for where, faces, own in surface.blocks():
        center = middle.take(own, axis=0)
        for corner in faces.T:
            away = vertices.take(corner, axis=0) - center
            np.maximum(squares[where], np.einsum("ij,ij->i", away, away), out=squares[where])
    reach = np.zeros(parts)
    np.maximum.at(reach, part, squares)
    return np.sqrt(reach)
