"""Closed shapes for the sample models, in plain numpy: every vertex is known and reproducible.

A `Shape` is polygons with one texture coordinate per corner, counter-clockwise seen from outside. The
functions below (lathe, tube, loft, box, prism) are enough to model a house or a car:

    wheel = lathe([(0, -0.1), (0.3, -0.1), (0.3, 0.1), (0, 0.1)]).rotated("x", 90).moved(1.2, 0.8, 0.3)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

Point2 = tuple[float, float]
Point3 = tuple[float, float, float]


@dataclass(frozen=True)
class Shape:
    """A polygon mesh with texture coordinates."""

    vertices: np.ndarray
    """(V, 3) float64, meters."""
    faces: tuple[tuple[int, ...], ...]
    """Vertex indices of each polygon, counter-clockwise seen from outside."""
    uv: np.ndarray
    """(C, 2) float64 texture coordinates of the polygons' corners, in order."""

    def moved(self, x: float = 0, y: float = 0, z: float = 0) -> Shape:
        """Moved by meters along the axes."""
        return replace(self, vertices=self.vertices + np.array([x, y, z]))

    def scaled(self, x: float, y: float, z: float) -> Shape:
        """Scaled along the axes by positive factors: a negative one would turn the shape inside out."""
        return replace(self, vertices=self.vertices * np.array([x, y, z]))

    def rotated(self, axis: str, degrees: float) -> Shape:
        """Rotated about the `x`, `y` or `z` axis through the origin."""
        return replace(self, vertices=self.vertices @ rotation(axis, degrees).T)

    def inverted(self) -> Shape:
        """The same surface facing inward, like the walls of a room."""
        corners = np.split(self.uv, np.cumsum([len(f) for f in self.faces])[:-1])
        uv = np.concatenate([c[::-1] for c in corners])
        return replace(self, faces=tuple(f[::-1] for f in self.faces), uv=uv)

    def without(self, drop: np.ndarray) -> Shape:
        """Without the faces for which `drop`, (F,) bool, is true."""
        kept = [f for f, gone in zip(self.faces, drop, strict=True) if not gone]
        corners = np.repeat(drop, [len(f) for f in self.faces])
        return replace(self, faces=tuple(kept), uv=self.uv[~corners])

    def centers(self) -> np.ndarray:
        """(F, 3) float64: the mean of each polygon's corners, meters."""
        return np.array([self.vertices[list(f)].mean(axis=0) for f in self.faces])

    def tiled(self, meters: float) -> Shape:
        """Textured by position, projected along each face's main axis: one tile per `meters`."""
        flat = [_flatten(self.vertices[list(f)]) for f in self.faces]
        return replace(self, uv=np.concatenate(flat) / meters)

    def __add__(self, other: Shape) -> Shape:
        moved = tuple(tuple(i + len(self.vertices) for i in f) for f in other.faces)
        vertices = np.concatenate([self.vertices, other.vertices])
        return Shape(vertices, self.faces + moved, np.concatenate([self.uv, other.uv]))


def rotation(axis: str, degrees: float) -> np.ndarray:
    """(3, 3) float64 right-handed rotation about a coordinate axis."""
    a, b = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    angle = np.radians(degrees)
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[b, a] = np.sin(angle)
    matrix[a, b] = -matrix[b, a]
    return matrix


def joined(shapes: Sequence[Shape]) -> Shape:
    """Several shapes as one, without welding them."""
    total = shapes[0]
    for shape in shapes[1:]:
        total = total + shape
    return total


def sheet(points: np.ndarray, wrap: bool = True) -> Shape:
    """Quads over a grid of points (R, C, 3) float64; with `wrap` the last column joins the first."""
    rows, columns, _ = points.shape
    last = columns if wrap else columns - 1
    faces, uv = [], []
    for i in range(rows - 1):
        for j in range(last):
            k = (j + 1) % columns
            faces.append((i * columns + j, i * columns + k, (i + 1) * columns + k, (i + 1) * columns + j))
            uv += [(j, i), (j + 1, i), (j + 1, i + 1), (j, i + 1)]
    return weld(Shape(points.reshape(-1, 3), tuple(faces), np.array(uv) / [last, rows - 1]))


def weld(shape: Shape, distance: float = 1e-6) -> Shape:
    """Merge coincident vertices and drop the edges and polygons that this collapses."""
    keys = np.round(shape.vertices / distance).astype(np.int64)
    _, first, same = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    faces, uv, corner = [], [], 0
    for face in shape.faces:
        ids = same.reshape(-1)[list(face)]
        keep = [n for n in range(len(ids)) if ids[n] != ids[n - 1]]
        if len(set(ids)) >= 3:
            faces.append(tuple(int(ids[n]) for n in keep))
            uv.append(shape.uv[corner : corner + len(face)][keep])
        corner += len(face)
    return Shape(shape.vertices[first], tuple(faces), np.concatenate(uv))


def lathe(profile: Sequence[Point2], segments: int = 32) -> Shape:
    """A profile of (radius, height) pairs, bottom to top on the outside, revolved about the z axis."""
    radius, height = np.array(profile, dtype=float).T[:, :, None]
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)[None]
    z = np.broadcast_to(height, (len(profile), segments))
    return sheet(np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=-1))


def ball(radius: float, segments: int = 32, rings: int = 16) -> Shape:
    """A latitude-longitude sphere about the origin."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, rings + 1)
    profile = [(radius * c, radius * s) for c, s in zip(np.cos(angle), np.sin(angle), strict=True)]
    profile[0], profile[-1] = (0.0, -radius), (0.0, radius)
    return lathe(profile, segments)


def cylinder(radius: float, height: float, segments: int = 32, top: float | None = None) -> Shape:
    """A cylinder on z = 0; `top` is its upper radius if that differs (0 makes a cone)."""
    end = radius if top is None else top
    profile = [(0.0, 0.0), (radius, 0.0), (end, height), (0.0, height)]
    return lathe(profile if end else profile[:3], segments)


def loft(rings: np.ndarray, bottom: bool = True, top: bool = True) -> Shape:
    """A skin over cross-sections (N, M, 3), counter-clockwise about the direction from first to last."""
    skin = sheet(rings)
    for ring, closed, order in ((rings[0], bottom, -1), (rings[-1], top, 1)):
        if closed:
            numbers = tuple(range(len(ring)))[::order]
            skin = skin + Shape(ring, (numbers,), np.full((len(ring), 2), 0.5))
    return weld(skin)


def prism(outline: Sequence[Point2], height: float) -> Shape:
    """A counter-clockwise outline in the xy plane, extruded upward from z = 0."""
    flat = np.array(outline, dtype=float)
    rings = [np.column_stack([flat, np.full(len(flat), z)]) for z in (0.0, height)]
    return loft(np.array(rings)).tiled(1.0)


def tube(path: Sequence[Point3] | np.ndarray, radius: float, sides: int = 12) -> Shape:
    """A pipe with flat ends along a path of points (N, 3), meters."""
    points = np.array(path, dtype=float)
    ahead = np.gradient(points, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    across = _parallel_transport(ahead)
    up = np.cross(ahead, across)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)[None, :, None]
    return loft(points[:, None] + radius * (np.cos(angle) * across[:, None] + np.sin(angle) * up[:, None]))


def torus(radius: float, thickness: float, segments: int = 32, sides: int = 12) -> Shape:
    """A ring about the z axis: `radius` to the center of a pipe of radius `thickness`."""
    angle = np.linspace(0, 2 * np.pi, sides + 1)[::-1]
    around = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    r = (radius - thickness * np.cos(angle))[:, None]
    z = np.broadcast_to(thickness * np.sin(angle)[:, None], (sides + 1, segments))
    return sheet(np.stack([r * np.cos(around), r * np.sin(around), z], axis=-1))


def box(x: float, y: float, z: float, rounding: float = 0.0, steps: int = 2) -> Shape:
    """A box of these side lengths about the origin, its edges rounded by the radius `rounding`."""
    if rounding <= 0:
        return prism([(-x / 2, -y / 2), (x / 2, -y / 2), (x / 2, y / 2), (-x / 2, y / 2)], z).moved(z=-z / 2)
    core = np.array([x, y, z]) / 2 - rounding
    arc = np.linspace(0, np.pi / 2, steps + 1)
    rows = []
    for latitude, side in [(a - np.pi / 2, -1) for a in arc] + [(a, 1) for a in arc]:
        ring = [
            (sx * core[0] + rounding * np.cos(latitude) * np.cos(start + a),
             sy * core[1] + rounding * np.cos(latitude) * np.sin(start + a),
             side * core[2] + rounding * np.sin(latitude))
            for start, sx, sy in zip(np.arange(4) * np.pi / 2, (1, -1, -1, 1), (1, 1, -1, -1), strict=True)
            for a in arc
        ]  # fmt: skip
        rows.append(ring)
    return loft(np.array(rows)).tiled(1.0)


def rounded_ring(x: Point2, y: Point2, z: float, rounding: float, steps: int = 3) -> np.ndarray:
    """(N, 3) float64: a horizontal rectangle with round corners, counter-clockwise, for `loft`."""
    arc = np.linspace(0, np.pi / 2, steps + 1)
    corners = [(x[1], y[1], 1, 1), (x[0], y[1], -1, 1), (x[0], y[0], -1, -1), (x[1], y[0], 1, -1)]
    return np.array([
        (cx - sx * rounding + rounding * np.cos(q * np.pi / 2 + a),
         cy - sy * rounding + rounding * np.sin(q * np.pi / 2 + a), z)
        for q, (cx, cy, sx, sy) in enumerate(corners) for a in arc
    ])  # fmt: skip


def _flatten(corners: np.ndarray) -> np.ndarray:
    """A polygon's corners (N, 3) projected along the axis it faces most, as (N, 2); upright on walls."""
    following = np.roll(corners, -1, axis=0)
    normal = np.cross(corners, following).sum(axis=0)  # Newell's area vector
    axis = int(np.abs(normal).argmax())
    across = corners[:, 1] if axis == 0 else corners[:, 0]
    up = corners[:, 1] if axis == 2 else corners[:, 2]
    return np.column_stack([across, up])


def _parallel_transport(ahead: np.ndarray) -> np.ndarray:
    """(N, 3) unit vectors across a path of directions (N, 3), transported along it with the least twist."""
    start = np.eye(3)[int(np.abs(ahead[0]).argmin())]
    across = []
    for direction in ahead:
        start = start - direction * (start @ direction)
        start = start / np.linalg.norm(start)
        across.append(start)
    return np.array(across)
