"""Pictures of clouds without a GPU: every point is a small shaded ball in a numpy depth buffer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fuse.sampling import spacing
from render.bundle import Camera
from render.failures import UserError

BACKGROUND = (214, 217, 222)
"""Light gray: white models stand out from it, and dark ones too."""
_SHARP = 3  # the picture is drawn this many times larger, then reduced
_LIGHT = np.array([-0.35, 0.55, 0.76], np.float32)  # in camera axes: upper left, from behind the eye
_LARGEST = 16  # a ball's radius is at most 1/16 of the picture: the cost grows with its area
_FILL = 0.7  # a ball's radius in distances to the fourth neighbor: closes evenly and unevenly spread surfaces


def check_ending(path: Path) -> None:
    """UserError unless a picture can be written under this name: before the work that it is to show."""
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise UserError(f"{path}: no picture has this ending. Name a .png file.")


def draw_cloud(
    xyz: np.ndarray,
    rgb: np.ndarray,
    size: int = 256,
    camera: Camera | None = None,
    direction: tuple[float, float, float] = (0.75, -1.0, 0.55),
    radius: float | None = None,
    background: tuple[int, int, int] = BACKGROUND,
) -> Image.Image:
    """A picture of (N, 3) points with (N, 3) uint8 colors, `size` pixels square.

    Without a camera the view is orthographic from `direction` (toward the eye) and fits the cloud.
    `radius` of a ball is in the cloud's units; by default it follows from the points' own spacing.
    """
    canvas = np.full((size * _SHARP, size * _SHARP, 3), background, np.float32)
    if len(xyz):
        radius = _FILL * spacing(xyz, neighbor=4) or 0.02 if radius is None else radius
        seen = _perspective(xyz, camera, size) if camera else _fitted(xyz, direction, size, radius)
        screen, depth, balls = seen
        shade = 1 - 0.22 * _unit_range(depth)  # farther is a little darker
        pixels = (balls * radius).clip(1.2, size * _SHARP / _LARGEST)
        _paint(canvas, screen, depth, pixels, rgb * shade[:, None], radius)
    image = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
    return image.resize((size, size), Image.Resampling.BOX)


def _fitted(
    xyz: np.ndarray, direction: tuple[float, float, float], size: int, radius: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Canvas positions (N, 2), depths (N,) and pixels per unit (N,) of an orthographic view that fits."""
    back = np.array(direction, np.float64) / np.linalg.norm(direction)
    right = np.cross([0.0, 0.0, 1.0], back)
    right = right / np.linalg.norm(right) if right.any() else np.array([1.0, 0.0, 0.0])
    local = xyz @ np.stack([right, np.cross(back, right), back], 1)
    low, high = local[:, :2].min(0), local[:, :2].max(0)
    extent = max(float((high - low).max()) + 2 * radius, 1e-6)
    scale = 0.94 * size * _SHARP / extent
    flat = (local[:, :2] - (low + high) / 2) * scale * [1, -1] + size * _SHARP / 2
    return flat, -local[:, 2], np.full(len(xyz), scale)


def _perspective(xyz: np.ndarray, camera: Camera, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `_fitted`, from a camera."""
    local = (xyz - camera.camera_to_world[:3, 3]) @ camera.camera_to_world[:3, :3]
    depth = (-local[:, 2]).clip(1e-3)
    scale = size * _SHARP / 2 / np.tan(camera.fov / 2) / depth
    return local[:, :2] * scale[:, None] * [1, -1] + size * _SHARP / 2, depth, scale


def _paint(
    canvas: np.ndarray,
    screen: np.ndarray,
    depth: np.ndarray,
    radius: np.ndarray,
    color: np.ndarray,
    thick: float,
) -> None:
    """Draw balls of `radius` canvas pixels at `screen`; the nearest wins, and they bulge by `thick`."""
    side = canvas.shape[0]
    buffer = np.full(side * side, np.inf, np.float64)
    owner = np.full((side * side, 2), -1, np.int64)  # the point and offset that each pixel shows
    reach = int(np.ceil(radius.max()))
    offsets = [(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]
    corner = np.floor(screen).astype(np.int64)
    for number, (i, j) in enumerate(offsets):
        aside = np.hypot(*(corner + [i, j] + 0.5 - screen).T) / radius
        x, y = corner[:, 0] + i, corner[:, 1] + j
        index = np.flatnonzero((aside < 1) & (x >= 0) & (x < side) & (y >= 0) & (y < side))
        at = y[index] * side + x[index]
        front = depth[index] - thick * np.sqrt(1 - aside[index] ** 2)
        np.minimum.at(buffer, at, front)
        won = buffer[at] == front
        owner[at[won]] = np.stack([index[won], np.full(won.sum(), number)], 1)
    shown = np.flatnonzero(owner[:, 0] >= 0)
    point, offset = owner[shown].T
    flat = (corner[point] + np.array(offsets)[offset] + 0.5 - screen[point]) / radius[point, None]
    canvas.reshape(-1, 3)[shown] = color[point] * _ball_light(flat)[:, None]


def _ball_light(flat: np.ndarray) -> np.ndarray:
    """(M,) brightness of a ball at (M, 2) offsets in radii: mostly flat, so that colors stay true."""
    normal = np.stack([flat[:, 0], -flat[:, 1], np.sqrt((1 - (flat**2).sum(1)).clip(0))], 1)
    return 0.8 + 0.24 * (normal @ _LIGHT).clip(0)


def _unit_range(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return (values - low) / max(high - low, 1e-9)
