"""Back-projection: the ray through each pixel of a view, and the surface point at a depth along it.

The pinhole looks along its own -z with +y up, images are square, pixel (i, j)'s ray goes through
(i + 0.5, j + 0.5), and depth is planar z in normalized units. Needs numpy only.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from render.bundle import Camera

Float = type[np.float32] | type[np.float64]


@lru_cache(maxsize=8)
def pixel_rays(size: int, fov: float, dtype: Float = np.float64) -> np.ndarray:
    """(S, S, 3) rays in camera axes with z = -1, so that a ray times its depth is the surface point.

    `fov` is in radians. The array is cached and read-only.
    """
    across = ((np.arange(size, dtype=dtype) + 0.5) / size * 2 - 1) * dtype(np.tan(fov / 2))
    rays = np.stack(np.broadcast_arrays(across[None, :], -across[:, None], dtype(-1)), -1)
    rays.flags.writeable = False
    return rays


def rays_from(local: np.ndarray, camera: Camera) -> np.ndarray:
    """(N, 6) float32 rays from the camera, in directions (N, 3) along its axes."""
    rays = np.empty((len(local), 6), np.float32)
    rays[:, :3] = camera.camera_to_world[:3, 3]
    rays[:, 3:] = local @ camera.camera_to_world[:3, :3].T
    return rays


def rays_through(camera: Camera, size: int, pixel: np.ndarray) -> np.ndarray:
    """(N, 6) float32 rays from the camera through pixels (N,), row-major, of a view `size` pixels across."""
    return rays_from(_toward(size, camera.fov, pixel, np.float64), camera)


def world_points(
    camera: Camera, depth: np.ndarray, pixel: np.ndarray, dtype: Float = np.float64
) -> np.ndarray:
    """(N, 3) surface points in the normalized frame: those of the pixels (N,) of a depth image (S, S)."""
    return points_at(camera, depth.shape[0], pixel, depth.ravel()[pixel], dtype)


def points_at(
    camera: Camera, size: int, pixel: np.ndarray, depth: np.ndarray, dtype: Float = np.float64
) -> np.ndarray:
    """(N, 3) points in the normalized frame: those of (N,) pixels, row-major, of a view `size` pixels across,
    at their (N,) depths."""
    to_world = camera.camera_to_world.astype(dtype)
    rays = _toward(size, camera.fov, pixel, dtype)
    return (rays * depth[:, None].astype(dtype)) @ to_world[:3, :3].T + to_world[:3, 3]


def pixel_size(camera: Camera, size: int) -> float:
    """The width, in normalized units, that one of `size` pixels covers at the distance of the origin."""
    return float(np.linalg.norm(camera.camera_to_world[:3, 3]) * 2 * np.tan(camera.fov / 2) / size)


def _toward(size: int, fov: float, pixel: np.ndarray, dtype: Float) -> np.ndarray:
    """(N, 3) `pixel_rays` of pixels (N,), row-major."""
    return pixel_rays(size, fov, dtype).reshape(-1, 3).take(pixel, axis=0)
