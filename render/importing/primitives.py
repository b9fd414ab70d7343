"""The primitive solids of X3D and VRML as polygons: box, surfaces of revolution, swept sections; Y is up."""

from __future__ import annotations

import itertools

import numpy as np

from render.importing.rawmesh import RawMesh

SEGMENTS = 64
"""Around an axis."""


def box(size: np.ndarray) -> RawMesh:
    """Centered at the origin; `size` (3,)."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    faces = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    return RawMesh("", signs * size / 2, np.array(faces).ravel(), np.full(6, 4))


def grid(rows: int, columns: int) -> np.ndarray:
    """Quads (N, 4) of a grid of vertices that are numbered row by row, seen counterclockwise from +y for x, z
    grids."""
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    return np.stack([first, first + columns, first + columns + 1, first + 1], 1)


def lathe(profile: np.ndarray) -> RawMesh:
    """Revolve `profile`, (N, 2) radius and height from below upwards, about the y axis; radius 0 is a single
    vertex."""
    angle = np.arange(SEGMENTS) * (2 * np.pi / SEGMENTS)
    points, rings, faces = [], [], []
    for radius, height in profile:
        start = sum(map(len, points))
        turn = angle if radius > 0 else angle[:1]
        points.append(np.stack([radius * np.sin(turn), np.full(len(turn), height), radius * np.cos(turn)], 1))
        rings.append(np.arange(start, start + SEGMENTS) if radius > 0 else np.full(SEGMENTS, start))
    for low, high in itertools.pairwise(rings):
        for a, b, c, d in zip(low, np.roll(low, -1), np.roll(high, -1), high, strict=True):
            faces.append(list(dict.fromkeys((int(a), int(b), int(c), int(d)))))
    faces = [face for face in faces if len(face) > 2]
    corners = np.array([index for face in faces for index in face], int)
    return RawMesh(
        "",
        np.concatenate(points) if points else np.zeros((0, 3)),
        corners,
        np.array([len(f) for f in faces], int),
    )


def extrusion(
    section: np.ndarray,
    spine: np.ndarray,
    scale: np.ndarray,
    turns: list[np.ndarray],
    caps: tuple[bool, bool],
) -> RawMesh:
    """Sweep `section` (S, 2; x and z) along `spine` (N, 3), scaled (N or 1, 2) and turned (N or 1, 3 x 3) at
    each step."""
    frames = _frames(spine)
    rings = []
    for i, (point, frame) in enumerate(zip(spine, frames, strict=True)):
        flat = section * scale[min(i, len(scale) - 1)]
        local = np.stack([flat[:, 0], np.zeros(len(flat)), flat[:, 1]], 1)
        rings.append(point + local @ (frame @ turns[min(i, len(turns) - 1)]).T)
    quads = grid(len(spine), len(section))[:, ::-1]
    faces = [list(map(int, quad)) for quad in quads]
    closed = bool(np.allclose(section[0], section[-1]))
    outline = list(range(len(section) - closed))
    if caps[0]:
        faces.append(outline)
    if caps[1]:
        faces.append([len(section) * (len(spine) - 1) + i for i in reversed(outline)])
    corners = np.array([index for face in faces for index in face], int)
    return RawMesh("", np.concatenate(rings), corners, np.array([len(face) for face in faces], int))


def _frames(spine: np.ndarray) -> list[np.ndarray]:
    """The standard's cross-section planes (3 x 3, columns x, y, z): y along the spine, z where the spine
    bends to."""
    closed = len(spine) > 2 and bool(np.allclose(spine[0], spine[-1]))
    before, after = np.roll(spine, 1, 0), np.roll(spine, -1, 0)
    if closed:
        before[0], after[-1] = spine[-2], spine[1]
    else:
        before[0], after[-1] = spine[0], spine[-1]
    along = _filled(_unit(after - before), np.array([0.0, 1, 0]))
    bend = np.cross(after - spine, before - spine)
    if not np.any(np.linalg.norm(bend, axis=1) > 1e-9):  # a straight spine: turn the y axis onto it
        return [_onto(direction) for direction in along]
    z = _filled(_unit(bend), np.array([0.0, 0, 1]))
    for i in range(1, len(z)):
        if z[i] @ z[i - 1] < 0:
            z[i] = -z[i]
    x = _unit(np.cross(along, z))
    return [np.stack([x[i], along[i], np.cross(x[i], along[i])], 1) for i in range(len(spine))]


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors; those without a length stay zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-12)


def _filled(vectors: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """Zero vectors take the value before them, or else the first one after."""
    good = np.flatnonzero(np.any(vectors != 0, axis=1))
    if len(good) == 0:
        return np.tile(fallback, (len(vectors), 1))
    return vectors[
        [int(good[max(int(np.searchsorted(good, i, "right")) - 1, 0)]) for i in range(len(vectors))]
    ]


def _onto(direction: np.ndarray) -> np.ndarray:
    """The shortest rotation of +y onto a unit vector."""
    y = np.array([0.0, 1, 0])
    axis, cosine = np.cross(y, direction), float(y @ direction)
    if cosine < -1 + 1e-9:
        return np.diag([1.0, -1, -1])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)
