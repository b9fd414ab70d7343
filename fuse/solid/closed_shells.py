"""Which triangles bound a volume: closed shells with a consistent orientation, and the sheets left over.

1. Vertices in the same place are welded (glTF splits them at seams). Repeated triangles count once; those
   that occur equally often in both orientations stay out of the next step.
2. Triangles that share edges make a component. A component whose directed edges cancel out is a cycle: its
   winding number is an integer everywhere.
3. The other components are repaired: pieces with a free edge (fins, leaves) are removed, and each manifold
   piece is reoriented by walking over its edges, for all faces at once as connected components of the
   orientation double cover. It does not matter then if half the faces were flipped.
4. A shell surrounded by a solid of the opposite orientation is a cavity, as its author modeled it; every
   other shell counts as solid, even if it was modeled inside out (as mirrored parts are).

A shell thinner than `PAPER` is paper, and a one-sided surface is not orientable: neither bounds a volume.
"""

from __future__ import annotations

from dataclasses import dataclass

import igl
import numpy as np

from fuse.sampling import lexicographic
from fuse.solid.edges import Edges, components, double_cover, edges, grouped, kept, patches
from fuse.solid.surface import Surface, face_areas, face_normals, joined, measures, thickness
from render.bundle import Mesh

PAPER = 2e-3
"""A solid thinner than this (`thickness`; the longest side of a model is 2) is paper."""
OUTWARD = 1e-4
"""How far from a shell its surroundings are probed."""
PROBES = 8
"""Places at which each shell's surroundings are probed."""
BLOCK = 1 << 18
"""Faces whose winding number is asked for at once: libigl takes 200 bytes for each."""
MAJORITY = 0.6
"""Share of a repaired shell's area that must agree before its original orientation counts."""


@dataclass(frozen=True)
class Shells:
    """The distinct triangles of a mesh, without those that are lines."""

    vertices: np.ndarray  # (V, 3) float64, welded
    closed: Surface  # cycles; solid where their winding number is above one half
    sheets: Surface  # open ones, in their original orientation
    idle: np.ndarray  # (F, 3) int32 faces that bound nothing: of paper, and of one-sided surfaces
    closed_share: float  # of the area, in [0, 1]

    def mesh(self) -> Mesh:
        """All triangles."""
        faces = np.concatenate([self.closed.faces, self.sheets.faces, self.idle])
        return Mesh(self.vertices.astype(np.float32), faces)


@dataclass(frozen=True)
class _Repaired:
    """What broken components can be turned into."""

    shells: Surface
    volume: np.ndarray  # (parts,) float64 of the shells, signed
    area: np.ndarray  # (parts,) float64 of the shells
    sheets: Surface  # what is left
    idle: np.ndarray  # (F, 3) int32 faces that bound nothing


def find_shells(mesh: Mesh) -> Shells:
    """Take a mesh apart; it may be any set of triangles, even empty."""
    vertices, faces = weld(mesh)
    single, pairs = _distinct(faces)
    faces = np.concatenate([single, pairs]) if len(pairs) else single
    sides = edges(faces)
    drawn, cycle = _connected(single, sides.take(np.arange(len(faces)) < len(single)))
    volume, area = measures(vertices, drawn)
    whole = cycle & (thickness(vertices, drawn, volume, area) > PAPER)
    sound = whole[drawn.part]
    broken = np.append(~sound, np.ones(len(pairs), bool))
    repaired = _repair(vertices, kept(faces, broken), sides.take(broken))
    shells = joined(drawn.take(sound), repaired.shells)
    closed = with_cavities(vertices, shells, np.concatenate([volume[whole], repaired.volume]))
    closed_area = np.concatenate([area[whole], repaired.area]).sum()
    apart = measures(vertices, Surface(pairs, np.zeros(len(pairs), np.int64)))[1]
    share = float(closed_area / max(area.sum() + apart.sum(), 1e-30))
    return Shells(vertices, closed, repaired.sheets, repaired.idle, share)


def _connected(faces: np.ndarray, sides: Edges) -> tuple[Surface, np.ndarray]:
    """The components of (F, 3) faces with these edges, and which (parts,) of them are cycles."""
    part = components(sides)
    total = np.bincount(sides.number.ravel(), sides.way.ravel())  # an edge is in one component only
    one, two, three = (total != 0)[sides.number].T  # faster than any(1)
    return Surface(faces, part), ~_touched(part, part, one | two | three)


def weld(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Distinct vertices (V, 3) float64, and the (F, 3) int32 faces whose corners are three different ones."""
    bits = (mesh.vertices[:, ::-1] + np.float32(0)).view(np.uint32)  # + 0: there is one zero, not two
    order, first = lexicographic(bits)
    index = np.empty(len(order), np.int32)
    index[order] = np.cumsum(first, dtype=np.int32) - 1
    faces = index[mesh.faces] if len(mesh.faces) else np.zeros((0, 3), np.int32)
    a, b, c = faces.T
    return mesh.vertices[order[first]].astype(np.float64), kept(faces, (a != b) & (b != c) & (c != a))


def is_cycle(sides: Edges, part: np.ndarray) -> np.ndarray:
    """(parts,) bool: whether the directed edges of each part cancel out; `part` (F,) int64."""
    return ~_touched(part, *_by_part(sides, part))


def winding_numbers(vertices: np.ndarray, faces: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(N,) float64 generalized winding number of triangles, (V, 3) float64 and (F, 3) int32, at (N, 3)
    places.

    Within 0.01 of the exact sum over solid angles. Barill et al., "Fast winding numbers" (2018); libigl.
    """
    number = np.zeros(len(places))
    for start in range(0, len(faces), BLOCK):
        number += np.asarray(igl.fast_winding_number(vertices, faces[start : start + BLOCK], places))
    return number


def _repair(vertices: np.ndarray, faces: np.ndarray, every: Edges) -> _Repaired:
    """Turn (F, 3) faces of broken components, with these edges, into shells where possible."""
    core = _peeled(every)
    inner, sides = kept(faces, core), every.take(core)
    patch = patches(sides)
    flip, orientable = _orientation(vertices, inner, sides, patch)
    turned = Surface(np.where(flip[:, None], inner[:, ::-1], inner), patch)
    cycle = is_cycle(Edges(sides.number, np.where(flip[:, None], -sides.way, sides.way)), patch)
    volume, area = measures(vertices, turned)
    thick = thickness(vertices, turned, volume, area) > PAPER
    closed, nothing = cycle & orientable & thick, ~orientable | (cycle & ~thick)
    left = np.ones(len(faces), bool)
    left[np.flatnonzero(core)[(closed | nothing)[patch]]] = False
    sheets = Surface(kept(faces, left), components(every.take(left)))
    shells = turned.take(closed[patch])
    return _Repaired(shells, volume[closed], area[closed], sheets, inner[nothing[patch]])


def _distinct(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each face once, oriented like most of its copies, in the order of their corners; and separately those
    with equally many either way."""
    if len(faces) == 0:
        return faces, faces
    a, b, c = faces.T
    low, high = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
    middle = a ^ b ^ c ^ low ^ high
    order, first = grouped(low, middle.astype(np.int64) * (int(high.max()) + 1) + high)
    head = np.flatnonzero(first)
    turned = (a > b) ^ (b > c) ^ (a > c)  # an odd number of swaps sorts the corners
    net = np.add.reduceat(np.where(turned, np.int8(-1), np.int8(1))[order], head, dtype=np.int64)
    once = np.stack([corner[order[head]] for corner in (low, middle, high)], 1)
    back = net < 0
    once[back] = once[back][:, [0, 2, 1]]
    return (once, once[:0]) if net.all() else (once[net != 0], once[net == 0])


def _peeled(sides: Edges) -> np.ndarray:
    """(F,) bool: the faces left after removing manifold patches with a free edge until none has one."""
    keep = np.ones(len(sides.number), bool)
    while len(sides.number):
        free = sides.shared(1).any(1)
        if not free.any():
            break
        patch = patches(sides)
        gone = _touched(patch, patch, free)[patch]
        keep[np.flatnonzero(keep)[gone]] = False
        sides = sides.take(~gone)
    return keep


def _orientation(
    vertices: np.ndarray, faces: np.ndarray, sides: Edges, patch: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which faces (F,) to flip so that patches are consistent, and which patches (P,) can be.

    Of the two orientations the one that keeps the greater area as it was is taken if `MAJORITY` agrees, else
    the one with a positive volume.
    """
    parts = int(patch.max()) + 1 if len(patch) else 0
    as_drawn, flipped = double_cover(sides)
    orientable = ~_touched(patch, patch, as_drawn == flipped, parts)
    flip = as_drawn > flipped
    area = face_areas(vertices, faces)
    share = np.bincount(patch, area * flip, parts) / np.bincount(patch, area, parts).clip(1e-30)
    other, unsure = share > 0.5, np.abs(share - 0.5) < MAJORITY - 0.5
    if unsure.any():
        turned = Surface(np.where(flip[:, None], faces[:, ::-1], faces), patch)
        other = np.where(unsure, measures(vertices, turned)[0] < 0, other)
    return flip ^ other[patch], orientable


def with_cavities(vertices: np.ndarray, shells: Surface, volume: np.ndarray | None = None) -> Surface:
    """Orient solids outward and cavities inward: shells that are closed or almost so. `vertices` are (V, 3)
    float64, `volume` (parts,) is what `measures` finds, where that is known."""
    if shells.parts == 0:
        return shells
    drawn = np.sign(measures(vertices, shells)[0] if volume is None else volume)
    if (drawn == drawn[0]).all():
        return _turned(shells, drawn < 0)
    around = drawn[:, None] * _surroundings(vertices, shells, drawn)
    cavity = (around < -0.5).all(1)
    return _turned(shells, (drawn < 0) ^ cavity)


def _turned(shells: Surface, flip: np.ndarray) -> Surface:
    if not flip.any():
        return shells
    faces = np.where(flip[shells.part][:, None], shells.faces[:, ::-1], shells.faces)
    return Surface(np.ascontiguousarray(faces), shells.part)


def _surroundings(vertices: np.ndarray, shells: Surface, drawn: np.ndarray) -> np.ndarray:
    """(parts, PROBES) winding number of all shells together, just outside each one."""
    order = np.argsort(shells.part, kind="stable")
    count = np.bincount(shells.part)
    step = (np.arange(PROBES) + 0.5) / PROBES
    probe = order[(np.cumsum(count) - count)[:, None] + (step * count[:, None]).astype(np.int64)].ravel()
    faces = shells.faces[probe]
    normals = face_normals(vertices, faces)
    normals *= drawn[shells.part[probe], None] / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-30)
    places = vertices[faces].mean(1) + OUTWARD * normals
    return winding_numbers(vertices, shells.faces, places).reshape(-1, PROBES)


def _by_part(sides: Edges, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every edge within a part: the part, and whether its directions fail to cancel out."""
    of = np.repeat(part, 3)
    order, first = grouped(sides.number.ravel(), of)
    head = np.flatnonzero(first)
    direction = sides.way.ravel()[order]
    total = np.add.reduceat(direction, head, dtype=np.int64) if len(head) else np.zeros(0)
    return of[order[head]], total != 0


def _touched(part: np.ndarray, of: np.ndarray, flag: np.ndarray, parts: int | None = None) -> np.ndarray:
    """(parts,) bool: whether any flag is set among those `of` the part."""
    parts = (int(part.max()) + 1 if len(part) else 0) if parts is None else parts
    return np.bincount(of, flag, parts) > 0
