"""Meshes whose inside is known exactly: the truth that solids and hidden labels are tested against.

Each builder returns a `Shape`. All fit the normalized box; round ones are fine enough (`ROUND` segments) that
their facets differ from the formula by less than 4e-4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from render.bundle import Mesh

ROUND = 128

Inside = Callable[[np.ndarray], np.ndarray]
"""(N, 3) -> (N,) bool"""


@dataclass(frozen=True)
class Shape:
    """A mesh, where its matter is, and which of its pieces another encloses.

    Faces that are hidden for other reasons (below a bottle's shoulder, where cubes overlap) are not marked.
    """

    mesh: Mesh
    inside: Inside
    hidden: np.ndarray  # (F,) bool: the face belongs to a piece within another that has no opening


@dataclass(frozen=True)
class _Piece:
    vertices: np.ndarray  # (V, 3) float64
    faces: np.ndarray  # (F, 3) int64, outward
    hidden: bool = False

    def flipped(self) -> _Piece:
        return _Piece(self.vertices, self.faces[:, ::-1], self.hidden)

    def unseen(self) -> _Piece:
        return _Piece(self.vertices, self.faces, True)


def nested_spheres() -> Shape:
    """Three balls one within another, all drawn outward: matter within matter."""
    pieces = [ball(1.0), ball(0.66).unseen(), ball(0.33).unseen()]
    return _shape(pieces, in_ball(1.0))


def hollow_sphere(flipped: bool = False) -> Shape:
    """A shell with a wall: the inner ball is drawn inside out; `flipped` draws both the other way."""
    pieces = [ball(1.0), ball(0.8).flipped().unseen()]
    return _shape([piece.flipped() if flipped else piece for piece in pieces], in_shell)


def russian_dolls() -> Shape:
    """A hollow ball with a solid one in its cavity."""
    pieces = [ball(1.0), ball(0.8).flipped().unseen(), ball(0.5).unseen()]
    return _shape(pieces, lambda p: in_shell(p) | in_ball(0.5)(p))


def cube_in_sphere() -> Shape:
    """A cube within a ball, both drawn outward."""
    return _shape([ball(1.0), box((0.4, 0.4, 0.4)).unseen()], in_ball(1.0))


def furnished_room() -> Shape:
    """Walls with two sides; a table's top, a ball and a cupboard, drawn inside out, stand in the room."""
    pieces = [
        box((1.0, 0.8, 0.6)),
        box((0.95, 0.75, 0.55)).flipped().unseen(),
        box((0.3, 0.2, 0.03), (-0.4, 0.2, -0.2)).unseen(),
        ball(0.2, (0.4, 0.3, -0.2)).unseen(),
        box((0.15, 0.3, 0.4), (0.6, -0.4, -0.1)).flipped().unseen(),
    ]
    furniture = _any(
        in_box((0.3, 0.2, 0.03), (-0.4, 0.2, -0.2)),
        in_ball(0.2, (0.4, 0.3, -0.2)),
        in_box((0.15, 0.3, 0.4), (0.6, -0.4, -0.1)),
    )
    walls = _without(in_box((1.0, 0.8, 0.6)), in_box((0.95, 0.75, 0.55)))
    return _shape(pieces, _any(walls, furniture))


def sheet_room() -> Shape:
    """A closed room of one sheet, a table's top and a ball in it: by the rule, all of it is matter."""
    pieces = [
        box((1.0, 0.8, 0.6)),
        box((0.3, 0.2, 0.03), (-0.4, 0.2, -0.2)).unseen(),
        ball(0.2, (0.4, 0.3, -0.2)).unseen(),
    ]
    return _shape(pieces, in_box((1.0, 0.8, 0.6)))


OUTSIDE_UP = [(0, -1), (0.4, -1), (0.4, 0.3), (0.15, 0.5), (0.15, 1)]
INSIDE_DOWN = [(0.1, 1), (0.1, 0.48), (0.35, 0.28), (0.35, -0.95), (0, -0.95)]
BOTTLE = np.array([*OUTSIDE_UP, *INSIDE_DOWN])  # radius and height


def bottle() -> Shape:
    """Open at the neck, its wall 0.05 thick: the wall is matter, what it holds is not."""
    return _shape([lathe(BOTTLE)], in_lathe(BOTTLE))


GLASS = np.array([(0, -1), (0.5, -1), (0.6, 0.6), (0.55, 0.6), (0.46, -0.9), (0, -0.9)])


def glass_with_straw() -> Shape:
    """A glass with a wall, and a straw of one thin sheet that leans in it, open at both ends."""
    straw = tube(0.06, 1.7)
    tilt = np.array([[0.9553, 0, 0.2955], [0, 1, 0], [-0.2955, 0, 0.9553]])
    return _shape([lathe(GLASS), _Piece(straw.vertices @ tilt.T, straw.faces)], in_lathe(GLASS))


def intersecting_cubes(flipped: bool = False) -> Shape:
    """Two cubes that share a corner region; `flipped` draws the second inside out, as mirrored parts come."""
    second = box((0.5, 0.5, 0.5), (0.5, 0.45, 0.4))
    inside = _any(in_box((0.6, 0.6, 0.6), (-0.4, -0.4, -0.4)), in_box((0.5, 0.5, 0.5), (0.5, 0.45, 0.4)))
    first = box((0.6, 0.6, 0.6), (-0.4, -0.4, -0.4))
    return _shape([first, second.flipped() if flipped else second], inside)


def leaf_before_box() -> Shape:
    """A cut-out card in front of a closed box."""
    card = _Piece(np.array([(-1, -0.9, -1), (1, -0.9, -1), (1, -0.9, 1), (-1, -0.9, 1)], np.float64), QUAD)
    return _shape([box((0.6, 0.5, 0.7)), card], in_box((0.6, 0.5, 0.7)))


def leaf_on_box() -> Shape:
    """A card that grows out of a box's edge and shares its vertices: a fin."""
    fin = np.array([(0.6, 0.5, -0.7), (0.6, 0.5, 0.7), (1, 0.9, 0.7), (1, 0.9, -0.7)], np.float64)
    return _shape([box((0.6, 0.5, 0.7)), _Piece(fin, QUAD)], in_box((0.6, 0.5, 0.7)))


def half_flipped() -> Shape:
    """A ball drawn by a careless hand: every other triangle is inside out."""
    sphere = ball(0.9)
    flip = np.random.default_rng(5).random(len(sphere.faces)) < 0.5
    return _shape([_Piece(sphere.vertices, _turned(sphere.faces, flip))], in_ball(0.9))


def torn_ball(flipped: bool = False) -> Shape:
    """A ball whose triangles share no vertices and leave cracks; `flipped`: every other one inside out."""
    sphere = ball(0.9)
    corners = sphere.vertices[sphere.faces]
    torn = corners + (corners.mean(1, keepdims=True) - corners) * 1e-4
    faces = np.arange(len(torn) * 3).reshape(-1, 3)
    flip = np.random.default_rng(6).random(len(faces)) < (0.5 if flipped else 0)
    return _shape([_Piece(torn.reshape(-1, 3), _turned(faces, flip))], in_ball(0.9))


def two_rooms() -> Shape:
    """A box with a partition: three triangles meet at its rim, and their orientation says nothing."""
    corners = np.array([(x, y, z) for x in (-0.9, 0.2, 0.8) for y in (-0.6, 0.6) for z in (-0.5, 0.5)])
    quads = [(0, 1, 3, 2), (8, 10, 11, 9), (4, 5, 7, 6)]
    for a in (0, 4):
        quads += [(a, a + 4, a + 5, a + 1), (a + 2, a + 3, a + 7, a + 6)]
        quads += [(a, a + 2, a + 6, a + 4), (a + 1, a + 5, a + 7, a + 3)]
    faces = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    flip = np.random.default_rng(7).random(len(faces)) < 0.5
    inside = in_box((0.85, 0.6, 0.5), (-0.05, 0, 0))
    return _shape([_Piece(corners, _turned(faces, flip))], inside)


def seamed_ball() -> Shape:
    """A ball as glTF has it: each triangle its own vertices."""
    sphere = ball(0.9)
    corners = sphere.vertices[sphere.faces].reshape(-1, 3)
    return _shape([_Piece(corners, np.arange(len(corners)).reshape(-1, 3))], in_ball(0.9))


def doubled_box(sides: str) -> Shape:
    """A box some of whose triangles are there twice: `all`, `some`, or `both`, once for each side."""
    once = box((0.7, 0.6, 0.5))
    extra = {"all": once.faces, "some": once.faces[:5], "both": once.faces[:, ::-1]}[sides]
    piece = _Piece(once.vertices, np.concatenate([once.faces, extra]))
    return _shape([piece], in_box((0.7, 0.6, 0.5)))


def touching_boxes(split: bool) -> Shape:
    """Two boxes side by side whose faces coincide: the same triangles or, `split`, of another size."""
    other = (0.4, 0.3, 0.3) if split else (0.4, 0.6, 0.5)
    pieces = [box((0.5, 0.6, 0.5), (-0.5, 0, 0)), box(other, (0.4, 0, 0))]
    return _shape(pieces, _any(in_box((0.5, 0.6, 0.5), (-0.5, 0, 0)), in_box(other, (0.4, 0, 0))))


def holed_ball() -> Shape:
    """A scan with a small hole at its foot."""
    sphere = ball(0.9)
    middle = sphere.vertices[sphere.faces].mean(1)
    return _shape([_Piece(sphere.vertices, sphere.faces[middle[:, 2] > -0.897])], in_ball(0.9))


def open_bowl() -> Shape:
    """Half a ball of one sheet: no matter, nothing hidden."""
    sphere = ball(0.9)
    lower = sphere.vertices[sphere.faces].mean(1)[:, 2] < 0
    return _shape([_Piece(sphere.vertices, sphere.faces[lower])], nowhere)


def open_tube() -> Shape:
    """A pipe of one sheet along z: rays across it enter and leave."""
    return _shape([tube(0.5, 2.0)], nowhere)


def open_box() -> Shape:
    """A box without its lid, of one sheet."""
    full = box((0.8, 0.7, 0.6))
    lid = (full.vertices[full.faces][:, :, 2] > 0).all(1)
    return _shape([_Piece(full.vertices, full.faces[~lid])], nowhere)


def plane() -> Shape:
    """One square."""
    corners = np.array([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)], np.float64)
    return _shape([_Piece(corners, QUAD)], nowhere)


def paper() -> Shape:
    """A closed sheet of paper, 1e-3 thick."""
    return _shape([box((0.9, 0.7, 5e-4))], nowhere)


def moebius_strip() -> Shape:
    """One side, one edge."""
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, 97), np.linspace(-0.25, 0.25, 9), indexing="ij")
    radius = 0.7 + v * np.cos(u / 2)
    points = np.stack([radius * np.cos(u), radius * np.sin(u), v * np.sin(u / 2)], -1)
    points[-1] = points[0, ::-1]
    return _shape([_patch(points)], nowhere)


def klein_bottle() -> Shape:
    """Closed and one-sided (the figure-eight immersion)."""
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, 97), np.linspace(0, 2 * np.pi, 65), indexing="ij")
    swing = np.cos(u / 2) * np.sin(v) - np.sin(u / 2) * np.sin(2 * v)
    radius = 0.6 + 0.3 * swing
    height = 0.3 * (np.sin(u / 2) * np.sin(v) + np.cos(u / 2) * np.sin(2 * v))
    points = np.stack([radius * np.cos(u), radius * np.sin(u), height], -1)
    points[:, -1] = points[:, 0]
    points[-1] = points[0, ::-1]
    return _shape([_patch(points)], nowhere)


SOLIDS: dict[str, Callable[[], Shape]] = {
    "nested spheres": nested_spheres,
    "hollow sphere": hollow_sphere,
    "hollow sphere, inside out": lambda: hollow_sphere(flipped=True),
    "russian dolls": russian_dolls,
    "cube in a sphere": cube_in_sphere,
    "furnished room": furnished_room,
    "room of one sheet": sheet_room,
    "bottle": bottle,
    "glass with a straw": glass_with_straw,
    "intersecting cubes": intersecting_cubes,
    "intersecting cubes, one inside out": lambda: intersecting_cubes(flipped=True),
    "leaf before a box": leaf_before_box,
    "leaf on a box": leaf_on_box,
    "half the faces flipped": half_flipped,
    "torn ball": torn_ball,
    "torn ball, half the faces flipped": lambda: torn_ball(flipped=True),
    "two rooms": two_rooms,
    "ball with seams": seamed_ball,
    "box drawn twice": lambda: doubled_box("all"),
    "box partly drawn twice": lambda: doubled_box("some"),
    "double-sided box": lambda: doubled_box("both"),
    "touching boxes": lambda: touching_boxes(split=False),
    "touching boxes of two sizes": lambda: touching_boxes(split=True),
    "ball with a hole": holed_ball,
}
SHEETS: dict[str, Callable[[], Shape]] = {
    "open bowl": open_bowl,
    "open tube": open_tube,
    "open box": open_box,
    "plane": plane,
    "paper": paper,
    "moebius strip": moebius_strip,
    "klein bottle": klein_bottle,
}

QUAD = np.array([(0, 1, 2), (0, 2, 3)])


def ball(radius: float, middle: tuple[float, float, float] = (0, 0, 0)) -> _Piece:
    """A sphere's triangles, its poles on the z axis."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, ROUND // 2 + 1)
    profile = np.stack([np.cos(angle), np.sin(angle)], 1) * radius
    profile[[0, -1], 0] = 0
    made = lathe(profile)
    return _Piece(made.vertices + middle, made.faces)


def box(half: tuple[float, float, float], middle: tuple[float, float, float] = (0, 0, 0)) -> _Piece:
    """An axis-aligned box of the given half sizes."""
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    return _Piece(corners * half + middle, faces)


def lathe(profile: np.ndarray) -> _Piece:
    """Revolve (N, 2) radius and height about z; it runs upward on the outside, and radius 0 ends it."""
    turn = np.arange(ROUND) * 2 * np.pi / ROUND
    ring = np.stack([np.cos(turn), np.sin(turn)], -1)
    vertices = np.concatenate([profile[:, None, :1] * ring, _heights(profile)], -1).reshape(-1, 3)
    grid = np.arange(len(profile) * ROUND).reshape(-1, ROUND)
    a, b = grid[:-1], np.roll(grid, -1, 1)[:-1]
    c, d = np.roll(grid, -1, 1)[1:], grid[1:]
    faces = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    length = np.linalg.norm(np.cross(*np.moveaxis(np.diff(vertices[faces], axis=1), 1, 0)), axis=1)
    return _Piece(vertices, faces[length > 1e-12])


def tube(radius: float, length: float) -> _Piece:
    """A cylinder's side about z, open at both ends."""
    return lathe(np.array([(radius, -length / 2), (radius, length / 2)]))


def in_ball(radius: float, middle: tuple[float, float, float] = (0, 0, 0)) -> Inside:
    return lambda p: np.linalg.norm(p - np.array(middle), axis=1) < radius


def in_shell(p: np.ndarray) -> np.ndarray:
    return in_ball(1.0)(p) & ~in_ball(0.8)(p)


def in_box(half: tuple[float, float, float], middle: tuple[float, float, float] = (0, 0, 0)) -> Inside:
    return lambda p: (np.abs(p - np.array(middle)) < np.array(half)).all(1)


def in_lathe(profile: np.ndarray) -> Inside:
    """Within the polygon of the profile, which the axis closes."""
    return lambda p: _in_polygon(np.stack([np.hypot(p[:, 0], p[:, 1]), p[:, 2]], 1), profile)


def nowhere(p: np.ndarray) -> np.ndarray:
    return np.zeros(len(p), bool)


def _any(*insides: Inside) -> Inside:
    return lambda p: np.any([inside(p) for inside in insides], axis=0)


def _without(one: Inside, other: Inside) -> Inside:
    return lambda p: one(p) & ~other(p)


def _shape(pieces: list[_Piece], inside: Inside) -> Shape:
    counts = np.cumsum([0] + [len(piece.vertices) for piece in pieces[:-1]])
    vertices = np.concatenate([piece.vertices for piece in pieces]).astype(np.float32)
    faces = np.concatenate([piece.faces + count for piece, count in zip(pieces, counts, strict=True)])
    hidden = np.concatenate([np.full(len(piece.faces), piece.hidden) for piece in pieces])
    return Shape(Mesh(vertices, faces.astype(np.int32)), inside, hidden)


def _turned(faces: np.ndarray, flip: np.ndarray) -> np.ndarray:
    return np.where(flip[:, None], faces[:, ::-1], faces)


def _heights(profile: np.ndarray) -> np.ndarray:
    return np.broadcast_to(profile[:, None, 1:], (len(profile), ROUND, 1))


def _patch(points: np.ndarray) -> _Piece:
    """The triangles of a grid (A, B, 3) of places."""
    rows, columns = points.shape[:2]
    grid = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
    faces = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    return _Piece(points.reshape(-1, 3), faces)


def _in_polygon(places: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """(N,) bool: an even-odd test in the plane."""
    inside = np.zeros(len(places), bool)
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        spans = (ay > places[:, 1]) != (by > places[:, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            at = ax + (places[:, 1] - ay) / (by - ay) * (bx - ax)
        inside ^= spans & (places[:, 0] < at)
    return inside
