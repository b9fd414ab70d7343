"""A view's rays and points, computed independently of `render`, and a ray caster to compare them with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open3d as o3d
import pytest

from render.bundle import Bundle, View
from tests.helpers.places import MODELS


def model(name: str) -> Path:
    """A real model of ../shared/models; skips the test if it is missing."""
    path = MODELS / name
    if not path.exists():
        pytest.skip(f"../shared/models/{name} does not exist")
    return path


def pixel_rays(view: View) -> tuple[np.ndarray, np.ndarray]:
    """Origin (3,) and directions (H, W, 3) of the rays through the pixel centers, at planar depth 1."""
    height, width = view.depth.shape
    half = np.tan(view.camera.fov / 2)
    x = ((np.arange(width) + 0.5) / width * 2 - 1) * half
    y = (1 - (np.arange(height) + 0.5) / height * 2) * half
    local = np.stack([*np.meshgrid(x, y), -np.ones((height, width))], -1)
    return view.camera.camera_to_world[:3, 3], local @ view.camera.camera_to_world[:3, :3].T


def points_of(view: View) -> np.ndarray:
    """(N, 3) float64: this view's surface points in the normalized frame."""
    origin, directions = pixel_rays(view)
    hit = view.depth > 0
    return origin + directions[hit] * view.depth[hit, None]


class RayCaster:
    """Open3D's ray caster on a bundle's mesh: shares no code with Blender."""

    def __init__(self, bundle: Bundle):
        mesh = bundle.mesh()
        self._scene = o3d.t.geometry.RaycastingScene()
        self._scene.add_triangles(
            o3d.core.Tensor.from_numpy(mesh.vertices),
            o3d.core.Tensor.from_numpy(mesh.faces.astype(np.uint32)),
        )

    def depth(self, view: View) -> np.ndarray:
        """(H, W) float32 planar z of the first hit, 0 where there is none."""
        origin, directions = pixel_rays(view)
        rays = np.concatenate([np.broadcast_to(origin, directions.shape), directions], -1).astype(np.float32)
        depth = self._scene.cast_rays(o3d.core.Tensor.from_numpy(rays))["t_hit"].numpy()
        return np.where(np.isfinite(depth), depth, 0)
