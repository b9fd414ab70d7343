"""Camera placement: directions over the sphere, framing, camera-to-world matrices. Pure numpy."""

from __future__ import annotations

import numpy as np

from render.bundle import Camera
from render.config import RenderConfig
from render.seeds import seed_for

GOLDEN_ANGLE = np.pi * (3 - 5**0.5)
ORBIT_ELEVATION = np.radians(20)
CELLS = 16  # per unit, of the grid whose corners replace the vertices


def place_cameras(config: RenderConfig, uid: str, radius: float) -> list[Camera]:
    """Cameras that look at the origin and see the whole sphere of `radius` (normalized units)."""
    rng = np.random.default_rng(seed_for(config.seed, uid, "cameras"))
    toward = directions(config.cameras, config.views, rng)
    fovs = fields_of_view(config, rng)
    half_widths = np.tan(fovs / 2) * max(1 - 2 * config.border / config.resolution, 0.1)
    distances = radius / np.sin(np.arctan(half_widths))
    placed = zip(toward, distances, fovs.tolist(), strict=True)
    return [Camera(look_at_origin(direction, distance), fov) for direction, distance, fov in placed]


def fields_of_view(config: RenderConfig, rng: np.random.Generator) -> np.ndarray:
    """(V,) float64 radians of V views: all the same, or even over the logarithm of the focal length."""
    if not config.fov_most:
        return np.full(config.views, np.radians(config.fov))
    low, high = np.log(np.tan(np.radians([config.fov, config.fov_most]) / 2)).tolist()
    return 2 * np.arctan(np.exp(rng.uniform(low, high, config.views)))


def directions(kind: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """(N, 3) float64 unit vectors from the origin to `count` cameras."""
    if kind == "orbit":
        azimuth = 2 * np.pi * np.arange(count) / count
        flat = np.stack([np.cos(azimuth), np.sin(azimuth)], 1) * np.cos(ORBIT_ELEVATION)
        return np.column_stack([flat, np.full(count, np.sin(ORBIT_ELEVATION))])
    if kind == "random":
        vectors = rng.normal(size=(count, 3))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return fibonacci_sphere(count) @ random_rotation(rng).T


def fibonacci_sphere(count: int) -> np.ndarray:
    """(N, 3) float64 evenly spread unit vectors (spherical Fibonacci lattice, Swinbank and Purser 2006)."""
    index = np.arange(count) + 0.5
    z = 1 - 2 * index / count
    angle = GOLDEN_ANGLE * index
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], 1)


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """(3, 3) float64 rotation, uniform over SO(3): the matrix of a random unit quaternion (Shoemake 1992)."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def look_at_origin(direction: np.ndarray, distance: float) -> np.ndarray:
    """(4, 4) float64 camera-to-world, OpenGL axes: -z toward the origin, +y as close to up as possible."""
    back = direction / np.linalg.norm(direction)
    up = np.array([0.0, 0.0, 1.0]) if abs(back[2]) < 0.9999 else np.array([0.0, 1.0, 0.0])
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3] = np.column_stack([right, np.cross(back, right), back, back * distance])
    return matrix


def enclosing_points(vertices: np.ndarray) -> np.ndarray:
    """(V, 3) vertices in -1..1 -> (N, 3) float64 grid points, usually fewer, whose hull contains them."""
    side = 2 * CELLS + 2  # cells in -1..1, and one beyond at each end, for what rounding moves there
    cells = np.zeros((side + 1,) * 3, bool)
    cells[tuple((np.floor(vertices.T * CELLS).astype(np.int64) + CELLS + 1).clip(0, side - 1))] = True
    for axis in range(3):
        cells |= np.roll(cells, 1, axis)  # a cell's corners
    return (np.argwhere(cells) - CELLS - 1) / CELLS


def image_box(camera: Camera, points: np.ndarray, size: int) -> tuple[slice, slice]:
    """The rows, from the top, and columns, of an image of `size` pixels, that points (N, 3) cover.

    With two more on every side, for the pixel filter.
    """
    local = (points - camera.camera_to_world[:3, 3]) @ camera.camera_to_world[:3, :3]
    right, up = (local[:, :2] / -local[:, 2:] / np.tan(camera.fov / 2) * size / 2).T
    rows, columns = (
        (int(np.floor(place.min() + size / 2)) - 2, int(np.ceil(place.max() + size / 2)) + 2)
        for place in (-up, right)
    )
    return _within(rows, size), _within(columns, size)


def box_around(there: np.ndarray, margin: int = 0) -> tuple[slice, slice]:
    """The rows and columns of an image that hold what is true in (H, W) bool, with `margin` more on every
    side."""
    box = []
    for axis, size in enumerate(there.shape):
        places = np.flatnonzero(there.any(1 - axis))
        low, high = (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)
        box.append(_within((low - margin, high + margin), size))
    return box[0], box[1]


def _within(ends: tuple[int, int], size: int) -> slice:
    return slice(max(ends[0], 0), min(ends[1], size))
