"""Textures for the sample models, painted in numpy: (H, W, 4) uint8 sRGB, straight alpha, row 0 at the top.

All of them tile and depend on their arguments alone. Colors are given as 0xRRGGBB.
"""

from __future__ import annotations

import numpy as np


def rgb(color: int) -> np.ndarray:
    """0xRRGGBB as (3,) float64 sRGB in 0..1."""
    return np.array([color >> 16 & 255, color >> 8 & 255, color & 255]) / 255


def plane(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates u (right) and v (up) of the texel centers, each (S, S) float64 in 0..1."""
    ticks = (np.arange(size) + 0.5) / size
    return np.broadcast_to(ticks, (size, size)), np.broadcast_to(1 - ticks[:, None], (size, size))


def noise(u: np.ndarray, v: np.ndarray, cells: int, seed: int) -> np.ndarray:
    """Smooth noise, (H, W) float64 in 0..1, at u and v (H, W); its period is 1, with `cells` bumps each."""
    lattice = np.random.default_rng(seed).random((cells, cells))
    x, y = u * cells, v * cells
    i, j = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (_smooth(x - i), _smooth(y - j))
    i0, i1, j0, j1 = i % cells, (i + 1) % cells, j % cells, (j + 1) % cells
    low = lattice[j0, i0] * (1 - fx) + lattice[j0, i1] * fx
    high = lattice[j1, i0] * (1 - fx) + lattice[j1, i1] * fx
    return low * (1 - fy) + high * fy


def clouds(u: np.ndarray, v: np.ndarray, cells: int, seed: int) -> np.ndarray:
    """Three octaves of `noise`: (H, W) float64 in 0..1 at u and v (H, W)."""
    octaves = (noise(u, v, cells << n, seed + n) * weight for n, weight in enumerate((0.57, 0.29, 0.14)))
    return sum(octaves, np.zeros(()))


def blend(low: int, high: int, amount: np.ndarray) -> np.ndarray:
    """(H, W, 3) float64 sRGB from `low` to `high` as `amount` (H, W) goes from 0 to 1, or (V, 3) for (V,)."""
    amount = np.clip(amount, 0, 1)[..., None]
    return rgb(low) * (1 - amount) + rgb(high) * amount


def finish(color: np.ndarray, alpha: np.ndarray | None = None) -> np.ndarray:
    """(H, W, 3) float colors in 0..1, and optionally (H, W) alpha, -> (H, W, 4) uint8."""
    opacity = np.ones(color.shape[:2]) if alpha is None else alpha
    return np.round(np.clip(np.dstack([color, opacity]), 0, 1) * 255).astype(np.uint8)


def masonry(brick: int, dark: int, joint: int, rows: int, size: int = 256, seed: int = 1) -> np.ndarray:
    """Bricks of varying shade, twice as long as high, every other course shifted by half: (S, S, 4) uint8."""
    u, v = plane(size)
    course = np.floor(v * rows)
    along = u * rows / 2 + course % 2 / 2
    shade = np.random.default_rng(seed).random((rows, rows // 2))
    shade = shade[course.astype(int), np.floor(along).astype(int) % (rows // 2)]
    gap = (v * rows % 1 < 0.12) | (along % 1 < 0.06)
    color = blend(brick, dark, shade * 0.8 + 0.2 * noise(u, v, 32, seed))
    return finish(np.where(gap[..., None], rgb(joint), color))


def roof_tiles(tile: int, dark: int, rows: int = 8, size: int = 256) -> np.ndarray:
    """Overlapping rounded tiles, darker under each edge: (S, S, 4) uint8."""
    u, v = plane(size)
    course = np.floor(v * rows)
    across = (u * rows + course % 2 / 2) % 1 - 0.5
    height = v * rows % 1
    shadow = np.clip(1.4 * (height - 0.75 + across**2), 0, 0.35) / 0.35
    return finish(blend(tile, dark, shadow + 0.25 * noise(u, v, 16, 5)))


def planks(light: int, dark: int, boards: int = 4, size: int = 256, seed: int = 3) -> np.ndarray:
    """Boards along u, with grain: (S, S, 4) uint8."""
    u, v = plane(size)
    board = np.floor(v * boards).astype(int)
    shade = np.random.default_rng(seed).random(boards)[board]
    grain = noise(u + shade, v * 6, 8, seed)
    gap = v * boards % 1 < 0.05
    return finish(blend(light, dark, np.where(gap, 1.3, 0.35 * shade + 0.5 * grain)))


def spots(ground: int, spot: int, count: int = 5, radius: float = 0.3, size: int = 256) -> np.ndarray:
    """Round dots in a staggered grid of `count` per side; `radius` is in cells: (S, S, 4) uint8."""
    u, v = plane(size)
    row = np.floor(v * count)
    x, y = (u * count + row % 2 / 2) % 1 - 0.5, v * count % 1 - 0.5
    return finish(blend(ground, spot, (radius - np.hypot(x, y)) * 16 + 0.5))


def stripes(light: int, dark: int, count: int, wobble: float, size: int = 256) -> np.ndarray:
    """Vertical bands with ragged edges, like a watermelon's rind: (S, S, 4) uint8."""
    u, v = plane(size)
    wave = np.sin(2 * np.pi * (u + wobble * (clouds(u, v, 8, 7) - 0.5)) * count)
    return finish(blend(light, dark, wave * 2 + 0.3 * clouds(u, v, 16, 9)))


def globe(size: int = 512) -> np.ndarray:
    """Seas, land from green to sand, and white poles: (S, S, 4) uint8."""
    u, v = plane(size)
    height = clouds(u, v, 4, 21) - 0.08 * np.abs(2 * v - 1)
    land = blend(0x3E8E41, 0xD9B36C, (height - 0.5) * 5)
    color = np.where((height > 0.5)[..., None], land, blend(0x1B4F9C, 0x4FA3DB, height * 2))
    ice = np.abs(2 * v - 1) + 0.08 * clouds(u, v, 8, 30) > 0.88
    return finish(np.where(ice[..., None], rgb(0xF2F6FA), color))


def leaf(size: int = 128) -> np.ndarray:
    """One leaf; the alpha cuts its outline out of the card: (S, S, 4) uint8."""
    u, v = plane(size)
    width = 0.42 * np.sin(np.pi * np.clip((v - 0.04) / 0.92, 0, 1)) ** 0.8
    inside = np.abs(u - 0.5) < width
    vein = (np.abs(u - 0.5) < 0.015) | (np.abs((v - np.abs(u - 0.5)) * 8 % 1 - 0.5) < 0.06)
    color = np.where(vein[..., None], rgb(0xB6D96C), blend(0x2F8F3A, 0x7CC04B, noise(u, v, 8, 4)))
    return finish(color, inside.astype(float))


def label(paper: int, ink: int, accent: int, size: int = 256) -> np.ndarray:
    """A bottle's label, once around: a frame, and twice a sun above lines of text: (S, S, 4) uint8."""
    u, v = plane(size)
    x = u * 2 % 1
    frame = (v < 0.06) | (v > 0.94)
    sun = np.hypot((x - 0.5) * 1.6, v - 0.66) < 0.16
    lines = (np.abs((v - 0.12) * 10 % 1 - 0.5) < 0.2) & (v < 0.42) & (np.abs(x - 0.5) < 0.3)
    color = np.where((frame | sun)[..., None], rgb(accent), rgb(paper))
    return finish(np.where(lines[..., None], rgb(ink), color))


def stickers(ground: int, size: int = 256) -> np.ndarray:
    """A fridge door: round and square magnets on a plain ground: (S, S, 4) uint8."""
    u, v = plane(size)
    color = np.broadcast_to(rgb(ground), (size, size, 3)).copy()
    for x, y, radius, ink in (
        (0.3, 0.8, 0.08, 0xE84A4A),
        (0.62, 0.72, 0.07, 0xF2B632),
        (0.4, 0.3, 0.06, 0x3C7DD9),
    ):
        color[np.hypot(u - x, (v - y) * 1.6) < radius] = rgb(ink)
    for x, y, radius, ink in (
        (0.66, 0.86, 0.09, 0xFFFFFF),
        (0.35, 0.6, 0.11, 0xF7E9B0),
        (0.65, 0.4, 0.06, 0x7A4FBF),
    ):
        color[(np.abs(u - x) < radius) & (np.abs(v - y) < radius * 0.7)] = rgb(ink)
    return finish(color)


def checks(light: int, dark: int, count: int = 8, size: int = 256) -> np.ndarray:
    """A checkerboard of `count` squares per side: (S, S, 4) uint8."""
    u, v = plane(size)
    odd = (np.floor(u * count) + np.floor(v * count)) % 2
    return finish(blend(light, dark, odd))


def _smooth(t: np.ndarray) -> np.ndarray:
    return t * t * (3 - 2 * t)
