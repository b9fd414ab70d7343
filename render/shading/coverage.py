"""Coverage: which share of each pixel the model covers, from many more rays than color has samples.

Color is denoised from few samples, but the denoiser leaves alpha as sampled: with 4 samples, in 5 levels.
Where all materials are opaque, alpha is coverage, and rays against the mesh find it for little. They go where
Cycles' pixel filter would send its samples: as dense as the filter is high, so all rays count the same.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from render.bundle import Camera
from render.shading.raycaster import Raycaster

RAYS = 64
"""Rays per pixel at an edge, a power of two."""
WIDTH = 3.0
"""Pixels across Cycles' default filter, Blackman-Harris: twice what its setting says."""
_AT_ONCE = 1 << 14  # pixels whose rays are in memory
_TERMS = (0.35875, -0.48829, 0.14128, -0.01168)


def coverage(alpha: np.ndarray, camera: Camera, caster: Raycaster) -> np.ndarray:
    """(H, W) float32 alpha, as few samples have it -> (H, W) float32, as `RAYS` rays have it.

    Rays are traced where the samples of a pixel and its neighbors do not agree.
    """
    covered, empty = _everywhere(alpha >= 1), _everywhere(alpha <= 0)
    edge = np.flatnonzero(~covered & ~empty)
    result = alpha.copy()
    for pixel in np.array_split(edge, 1 + len(edge) // _AT_ONCE):
        blocked = caster.blocked(_rays(pixel, alpha.shape[0], camera))
        result.ravel()[pixel] = blocked.mean(1, dtype=np.float32)
    return result


def _everywhere(where: np.ndarray) -> np.ndarray:
    """(H, W) bool: true in the whole 3 x 3 neighborhood; beyond the border nothing is asked."""
    tall = np.pad(where, ((1, 1), (0, 0)), mode="edge")
    column = tall[:-2] & tall[1:-1] & tall[2:]
    wide = np.pad(column, ((0, 0), (1, 1)), mode="edge")
    return wide[:, :-2] & wide[:, 1:-1] & wide[:, 2:]


def _rays(pixel: np.ndarray, size: int, camera: Camera) -> np.ndarray:
    """(N, RAYS, 6) float32 rays through the pixels (N,), row-major."""
    place = np.stack([pixel % size, pixel // size], -1)[:, None] + 0.5 + _offsets()
    across = (place / size * 2 - 1) * np.tan(camera.fov / 2)
    local = np.stack([across[..., 0], -across[..., 1], np.full(across.shape[:2], -1.0)], -1)
    rays = np.empty((*local.shape[:2], 6), np.float32)
    rays[..., :3] = camera.camera_to_world[:3, 3]
    rays[..., 3:] = local @ camera.camera_to_world[:3, :3].T
    return rays


@lru_cache(maxsize=1)
def _offsets() -> np.ndarray:
    """(RAYS, 2) float64 places from the pixel's center, in pixels, as dense as the filter is high."""
    index = np.arange(RAYS)
    mirrored = sum(((index >> bit) & 1) / 2.0 ** (bit + 1) for bit in range(RAYS.bit_length() - 1))
    even = np.stack([index / RAYS, mirrored], -1) + 0.5 / RAYS  # Hammersley's points
    place = np.linspace(-0.5, 0.5, 4097)
    height = sum(term * np.cos(2 * np.pi * k * (place + 0.5)) for k, term in enumerate(_TERMS))
    share = np.cumsum(height)
    return np.interp(even, (share - share[0]) / (share[-1] - share[0]), place) * WIDTH
