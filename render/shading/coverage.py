"""Coverage: which share of each pixel the model covers, from many more rays than color has samples.

Color is denoised from few samples, but the denoiser leaves alpha as sampled: with 4 samples, in 5 levels.
Where each triangle keeps back a known share of the light, rays against the mesh find alpha for little. They
are spread evenly, so each serves its pixel and the eight around it, weighed by Cycles' pixel filter.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np

from render.bundle import Camera, Mesh
from render.pinhole import rays_from, rays_through
from render.shading.raycaster import Raycaster

RAYS = 16
"""Rays per pixel at an edge, a power of two; those of the pixels beside it count too."""
WIDTH = 3.0
"""Pixels across Cycles' default filter, Blackman-Harris: twice what its setting says."""
OPAQUE = 1 - 1 / 512
"""The least alpha that an image shows as 255."""
_AT_ONCE = 1 << 14  # pixels whose rays are in memory
_TERMS = (0.35875, -0.48829, 0.14128, -0.01168)


class Occluder:
    """What keeps light from the camera: opaque triangles all of it, clear ones their alpha's share."""

    def __init__(self, mesh: Mesh, alpha: np.ndarray):
        """`alpha` (F,) float32 is that of each face."""
        self._mesh, self._alpha = mesh, alpha

    @property
    def has_clear(self) -> bool:
        """Whether a face lets light through."""
        return bool((self._alpha < OPAQUE).any())

    def alpha(self, rays: np.ndarray) -> np.ndarray:
        """(N,) float32: the share of the light from behind that is kept back along each ray (N, 6)."""
        alpha = self._opaque.blocked(rays).astype(np.float32)
        if self.has_clear:
            open_ones = np.flatnonzero(alpha == 0)
            caster, logarithm = self._clear
            hits = caster.crossings(rays[open_ones])
            passed = np.bincount(hits.ray, logarithm[hits.triangle], len(open_ones))
            alpha[open_ones] = 1 - np.exp(passed)
        return alpha

    @cached_property
    def _opaque(self) -> Raycaster:
        return Raycaster([(self._mesh.vertices, self._mesh.faces[self._alpha >= OPAQUE])])

    @cached_property
    def _clear(self) -> tuple[Raycaster, np.ndarray]:
        """The other triangles, and the logarithm of what each lets pass."""
        clear = self._alpha < OPAQUE
        caster = Raycaster([(self._mesh.vertices, self._mesh.faces[clear])])
        return caster, np.log1p(-self._alpha[clear].astype(np.float64))


def coverage(alpha: np.ndarray, camera: Camera, occluder: Occluder) -> np.ndarray:
    """(H, W) float32 alpha, as few samples have it -> (H, W) float32, as 9 * `RAYS` rays have it.

    Rays are traced where the samples of a pixel and its neighbors do not agree, and where light passes.
    """
    covered, empty = _everywhere(alpha >= 1), _everywhere(alpha <= 0)
    edge = ~covered & ~empty
    if occluder.has_clear:
        edge |= ~_everywhere(~_clear_pixels(~empty, camera, occluder))
    pixel = np.flatnonzero(edge)
    kept = [np.zeros((1, RAYS), np.float32), np.ones((1, RAYS), np.float32)]  # of pixels without rays
    for some in np.array_split(pixel, 1 + len(pixel) // _AT_ONCE):
        kept.append(occluder.alpha(_rays(some, alpha.shape[0], camera)).reshape(-1, RAYS))
    row = covered.astype(np.int32)
    row[edge] = np.arange(2, 2 + len(pixel))
    result = alpha.copy()
    result[edge] = _filtered(np.concatenate(kept), row, edge)
    return result


def _filtered(kept: np.ndarray, row: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """(N,) float32: what Cycles' filter makes of the rays around the N pixels of `edge` (H, W).

    `kept` (M, RAYS) are shares of light, `row` (H, W) says which of them are a pixel's.
    """
    around = np.pad(row, 1, mode="edge")
    y, x = np.nonzero(edge)
    weight = _weights()
    shares = [
        kept[around[y + down, x + right]] @ weight[down, right] for down in range(3) for right in range(3)
    ]
    return np.sum(shares, 0)


def _clear_pixels(where: np.ndarray, camera: Camera, occluder: Occluder) -> np.ndarray:
    """(H, W) bool: a part of the light passes through the center of the pixel. Only `where` is asked."""
    pixel = np.flatnonzero(where)
    kept = occluder.alpha(rays_through(camera, len(where), pixel))
    clear = np.zeros(where.shape, bool)
    clear.ravel()[pixel] = (kept > 0) & (kept < 1)
    return clear


def _everywhere(where: np.ndarray) -> np.ndarray:
    """(H, W) bool: true in the whole 3 x 3 neighborhood; beyond the border nothing is asked."""
    tall = np.pad(where, ((1, 1), (0, 0)), mode="edge")
    column = tall[:-2] & tall[1:-1] & tall[2:]
    wide = np.pad(column, ((0, 0), (1, 1)), mode="edge")
    return wide[:, :-2] & wide[:, 1:-1] & wide[:, 2:]


def _rays(pixel: np.ndarray, size: int, camera: Camera) -> np.ndarray:
    """(N * RAYS, 6) float32 rays through the pixels (N,), row-major."""
    place = np.stack([pixel % size, pixel // size], -1)[:, None] + _places()
    across = (place.reshape(-1, 2) / size * 2 - 1) * np.tan(camera.fov / 2)
    return rays_from(np.column_stack([across[:, 0], -across[:, 1], np.full(len(across), -1.0)]), camera)


@lru_cache(maxsize=1)
def _places() -> np.ndarray:
    """(RAYS, 2) float64: Hammersley's points, evenly spread over a pixel from 0 to 1."""
    index = np.arange(RAYS)
    mirrored = sum(((index >> bit) & 1) / 2.0 ** (bit + 1) for bit in range(RAYS.bit_length() - 1))
    return np.stack([index / RAYS, mirrored], -1) + 0.5 / RAYS


@lru_cache(maxsize=1)
def _weights() -> np.ndarray:
    """(3, 3, RAYS) float32, together 1: how much the rays of a pixel's neighbors count, by row and column."""
    away = _places() - 0.5 + np.arange(-1, 2)[:, None, None]  # (3, RAYS, 2) pixels from the center
    waves = [term * np.cos(2 * np.pi * k * (away / WIDTH + 0.5)) for k, term in enumerate(_TERMS)]
    height = np.sum(waves, 0)
    weight = height[:, None, :, 1] * height[None, :, :, 0]
    return (weight / weight.sum()).astype(np.float32)
