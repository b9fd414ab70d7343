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
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from fuse.sampling import lexicographic
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
class Surface:
    """Triangles and the component that each belongs to."""

    faces: np.ndarray  # (F, 3) int32 into the welded vertices
    part: np.ndarray  # (F,) int64, 0 .. parts - 1

    @property
    def parts(self) -> int:
        return int(self.part.max()) + 1 if len(self.part) else 0


@dataclass(frozen=True)
class Edges:
    """For each corner of faces, the edge that follows it."""

    number: np.ndarray  # (F, 3) int32: of the undirected edge
    way: np.ndarray  # (F, 3) int8: 1 or -1, by its direction

    def take(self, which: np.ndarray) -> Edges:
        """Those of the faces at `which`, (M,) integers or an (F,) boolean mask; numbers stay."""
        return Edges(self.number[which], self.way[which])

    def faces(self) -> np.ndarray:
        """(F, 3) int64: how many faces share each edge."""
        return np.bincount(self.number.ravel())[self.number] if len(self.number) else self.number


@dataclass(frozen=True)
class Shells:
    """A mesh taken apart; its distinct triangles are in `closed`, in `sheets`, or bound nothing."""

    vertices: np.ndarray  # (V, 3) float64, welded
    closed: Surface  # cycles; solid where their winding number is above one half
    sheets: Surface  # the rest, each face once, in its original orientation
    closed_share: float  # of the area, in [0, 1]


def find_shells(mesh: Mesh) -> Shells:
    """Take a mesh apart; it may be any set of triangles, even empty."""
    vertices, faces = weld(mesh)
    single, pairs = _distinct(faces)
    drawn, cycle = _connected(single)
    volume, area = measures(vertices, drawn)
    whole = cycle & (thickness(vertices, drawn, volume, area) > PAPER)
    sound = whole[drawn.part]
    repaired, sheets = _repair(vertices, np.concatenate([single[~sound], pairs]))
    repaired = joined(repaired)
    volumes, areas = measures(vertices, repaired)
    shells = joined(Surface(single[sound], drawn.part[sound]), repaired)
    closed = with_cavities(vertices, shells, np.concatenate([volume[whole], volumes]))
    apart = measures(vertices, Surface(pairs, np.zeros(len(pairs), np.int64)))[1]
    closed_area = np.concatenate([area[whole], areas]).sum()
    share = float(closed_area / max(area.sum() + apart.sum(), 1e-30))
    return Shells(vertices, closed, sheets, share)


def _connected(faces: np.ndarray) -> tuple[Surface, np.ndarray]:
    """The components of (F, 3) faces, and which (parts,) of them are cycles."""
    sides = edges(faces)
    part = components(sides)
    total = np.bincount(sides.number.ravel(), sides.way.ravel())  # an edge is in one component only
    return Surface(faces, part), ~_touched(part, part, (total != 0)[sides.number].any(1))


def weld(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Distinct vertices (V, 3) float64, and the (F, 3) int32 faces whose corners are three different ones."""
    bits = (mesh.vertices[:, ::-1] + np.float32(0)).view(np.uint32)  # + 0: there is one zero, not two
    order, first = lexicographic(bits)
    index = np.empty(len(order), np.int32)
    index[order] = np.cumsum(first) - 1
    faces = index[mesh.faces] if len(mesh.faces) else np.zeros((0, 3), np.int32)
    a, b, c = faces.T
    return mesh.vertices[order[first]].astype(np.float64), faces[(a != b) & (b != c) & (c != a)]


def components(sides: Edges) -> np.ndarray:
    """(F,) int64 component of each face: faces that share an edge belong together."""
    return _linked(len(sides.number), np.repeat(np.arange(len(sides.number)), 3), sides.number.ravel())


def edges(faces: np.ndarray) -> Edges:
    """The edges of (F, 3) integer faces."""
    start, end = faces, np.roll(faces, -1, axis=1)
    key = (np.minimum(start, end).astype(np.int64) << 32 | np.maximum(start, end)).ravel()
    order = np.argsort(key)
    key = key[order]
    number = np.zeros(len(key), np.int32)
    number[order[1:]] = np.cumsum(key[1:] != key[:-1], dtype=np.int32)
    return Edges(number.reshape(faces.shape), np.where(start < end, np.int8(1), np.int8(-1)))


def joined(*surfaces: Surface) -> Surface:
    """The surfaces concatenated; their parts are renumbered in this order, without gaps."""
    offsets = np.cumsum([0] + [surface.parts for surface in surfaces[:-1]])
    part = np.concatenate([surface.part + offset for surface, offset in zip(surfaces, offsets, strict=True)])
    return Surface(np.concatenate([surface.faces for surface in surfaces]), _without_gaps(part))


def is_cycle(sides: Edges, part: np.ndarray) -> np.ndarray:
    """(parts,) bool: whether the directed edges of each part cancel out; `part` (F,) int64."""
    return ~_touched(part, *_by_part(sides, part))


def measures(vertices: np.ndarray, surface: Surface) -> tuple[np.ndarray, np.ndarray]:
    """(parts,) float64 signed volume and (parts,) area of each part; vertices (V, 3) float64."""
    part, parts = surface.part, surface.parts
    normals = face_normals(vertices, surface.faces)
    corner = vertices.take(surface.faces[:, 0], axis=0)
    count = np.bincount(part, minlength=parts).clip(1)
    middle = np.stack([np.bincount(part, axis, parts) for axis in corner.T], 1) / count[:, None]
    height = np.einsum("ij,ij->i", corner - middle.take(part, axis=0), normals)
    area = np.sqrt(np.einsum("ij,ij->i", normals, normals))
    return np.bincount(part, height / 6, parts), np.bincount(part, area / 2, parts)


def winding_numbers(vertices: np.ndarray, faces: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(N,) float64 generalized winding number of triangles, (V, 3) float64 and (F, 3) int32, at (N, 3)
    places.

    Within 0.01 of the exact sum over solid angles. Barill et al., "Fast winding numbers" (2018); libigl.
    """
    number = np.zeros(len(places))
    for start in range(0, len(faces), BLOCK):
        number += np.asarray(igl.fast_winding_number(vertices, faces[start : start + BLOCK], places))
    return number


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F, 3) float64 normals of length twice the area; vertices (V, 3) float64, faces (F, 3) integers."""
    corner = vertices.take(faces[:, 0], axis=0)
    (ax, ay, az), (bx, by, bz) = ((vertices.take(faces[:, i], axis=0) - corner).T for i in (1, 2))
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], 1)


def thickness(vertices: np.ndarray, surface: Surface, volume: np.ndarray, area: np.ndarray) -> np.ndarray:
    """(parts,) float64: the thinnest side of the box that has a part's volume, area and length.

    A plate's, however bent, is twice its volume over its area; a straight rod's or a ball's is its side or
    diameter, a cube's a sixth less, a bent wire's up to a half less. `vertices` are (V, 3) float64, `volume`
    and `area` (parts,) what `measures` finds.
    """
    part, corners = surface.part, [vertices.take(corner, axis=0) for corner in surface.faces.T]
    total = np.stack([np.bincount(part, axis) for axis in (corners[0] + corners[1] + corners[2]).T], 1)
    middle = total / (3 * np.bincount(part))[:, None]
    own, squares, reach = middle.take(part, axis=0), np.zeros(len(part)), np.zeros(surface.parts)
    for corner in corners:
        corner -= own
        np.maximum(squares, np.einsum("ij,ij->i", corner, corner), out=squares)
    np.maximum.at(reach, part, squares)
    longest = 2 * np.sqrt(reach).clip(1e-30)
    section = np.abs(volume) / longest  # the product of the two other sides
    around = (area / 2 - section) / longest  # their sum
    return 2 * section / (around + np.sqrt((around**2 - 4 * section).clip(0))).clip(1e-30)


def _repair(vertices: np.ndarray, faces: np.ndarray) -> tuple[Surface, Surface]:
    """The shells that broken components can be turned into, and the sheets that are left."""
    every = edges(faces)
    core = _peeled(every)
    sides = every.take(core)
    patch = _patches(sides)
    flip, orientable = _orientation(vertices, faces[core], sides, patch)
    turned = np.where(flip[:, None], faces[core][:, ::-1], faces[core])
    surface = Surface(turned, patch)
    thick = thickness(vertices, surface, *measures(vertices, surface)) > PAPER
    cycle = is_cycle(Edges(sides.number, np.where(flip[:, None], -sides.way, sides.way)), patch)
    closed = (cycle & orientable & thick)[patch]
    nothing = (~orientable | (cycle & ~thick))[patch]
    left = np.ones(len(faces), bool)
    left[np.flatnonzero(core)[closed | nothing]] = False
    rest = faces[left]
    return Surface(turned[closed], patch[closed]), Surface(rest, components(every.take(left)))


def _distinct(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each face once, oriented like most of its copies; and separately those with equally many either way."""
    a, b, c = faces.T
    low, high = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
    key = np.stack([low, a ^ b ^ c ^ low ^ high, high], 1)
    turned = (a > b) ^ (b > c) ^ (a > c)  # an odd number of swaps sorts the corners
    order, first = lexicographic(key.view(np.uint32))
    head = np.flatnonzero(first)
    if len(head) == 0:
        return faces, faces
    net = np.add.reduceat(np.where(turned, -1, 1)[order], head)
    once = key[order[head]]
    return np.where(net[:, None] < 0, once[:, [0, 2, 1]], once)[net != 0], once[net == 0]


def _peeled(sides: Edges) -> np.ndarray:
    """(F,) bool: the faces left after removing manifold patches with a free edge until none has one."""
    keep = np.ones(len(sides.number), bool)
    while keep.any():
        left = sides.take(keep)
        free = (left.faces() == 1).any(1)
        if not free.any():
            break
        patch = _patches(left)
        keep[np.flatnonzero(keep)[_touched(patch, patch, free)[patch]]] = False
    return keep


def _patches(sides: Edges) -> np.ndarray:
    """(F,) the manifold patch of each face: two faces belong together across an edge that only they share."""
    pair = (sides.faces() == 2).ravel()
    count = len(sides.number)
    return _linked(count, np.repeat(np.arange(count), 3)[pair], sides.number.ravel()[pair])


def _orientation(
    vertices: np.ndarray, faces: np.ndarray, sides: Edges, patch: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which faces (F,) to flip so that patches are consistent, and which patches (P,) can be.

    Of the two orientations the one that keeps the greater area as it was is taken if `MAJORITY` agrees, else
    the one with a positive volume.
    """
    parts = int(patch.max()) + 1 if len(patch) else 0
    first, second, same = _neighbors(sides)
    count = len(faces)
    # two nodes per face, kept and flipped; an edge that two faces traverse in opposite directions joins like
    # nodes
    other = np.where(same, second + count, second)
    mirrored = np.where(same, second, second + count)
    links = (np.concatenate([first, first + count]), np.concatenate([other, mirrored]))
    graph = coo_matrix((np.ones(len(links[0]), bool), links), (2 * count, 2 * count))
    cover = connected_components(graph, directed=False)[1]
    kept, flipped = cover[:count], cover[count:]
    orientable = ~_touched(patch, patch, kept == flipped, parts)
    flip = kept > flipped
    area = np.linalg.norm(face_normals(vertices, faces), axis=1)
    share = np.bincount(patch, area * flip, parts) / np.bincount(patch, area, parts).clip(1e-30)
    turned = Surface(np.where(flip[:, None], faces[:, ::-1], faces), patch)
    unsure = np.abs(share - 0.5) < MAJORITY - 0.5
    return flip ^ np.where(unsure, measures(vertices, turned)[0] < 0, share > 0.5)[patch], orientable


def _neighbors(sides: Edges) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of faces across edges that only they share, and whether both traverse it in the same
    direction."""
    corner = np.flatnonzero((sides.faces() == 2).ravel())
    corner = corner[np.argsort(sides.number.ravel()[corner], kind="stable")]
    one, two = corner[0::2], corner[1::2]
    way = sides.way.ravel()
    return one // 3, two // 3, way[one] == way[two]


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


def _linked(count: int, face: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """(count,) the component of each face in the graph of `face`, which rises, and `edge`."""
    if count == 0:
        return np.zeros(0, np.int64)
    size = count + (int(edge.max()) + 1 if len(edge) else 0)
    rows = np.zeros(size + 1, np.int32)  # of a sparse matrix; those of edges are empty
    rows[1:] = np.cumsum(np.bincount(face, minlength=size))
    graph = csr_matrix((np.ones(len(face)), edge + count, rows), (size, size))
    return _without_gaps(connected_components(graph, directed=False)[1][:count])


def _without_gaps(label: np.ndarray) -> np.ndarray:
    """(N,) int64 of (N,) integers: renumbered in their order, so that each number occurs."""
    return (np.cumsum(np.bincount(label) > 0) - 1)[label]


def _by_part(sides: Edges, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every edge within a part: the part, and whether its directions fail to cancel out."""
    edge, direction = sides.number.ravel(), sides.way.ravel()
    key = np.repeat(part, 3) * (int(edge.max()) + 1 if len(edge) else 1) + edge
    order = np.argsort(key)
    head = np.flatnonzero(np.concatenate([[True], np.diff(key[order]) != 0])[: len(key)])
    total = np.add.reduceat(direction[order], head, dtype=np.int64) if len(head) else np.zeros(0)
    return np.repeat(part, 3)[order[head]], total != 0


def _touched(part: np.ndarray, of: np.ndarray, flag: np.ndarray, parts: int | None = None) -> np.ndarray:
    """(parts,) bool: whether any flag is set among those `of` the part."""
    parts = (int(part.max()) + 1 if len(part) else 0) if parts is None else parts
    return np.bincount(of, flag, parts) > 0
