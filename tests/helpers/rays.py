"""A view's rays and points, computed independently of `render`, and a ray caster to compare them with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from render.bundle import Mesh, View
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
    """The crossings of rays and a mesh's triangles by their definition, in float64: no library's tree."""

    def __init__(self, mesh: Mesh):
        self._triangles = mesh.vertices.astype(np.float64)[mesh.faces]

    def crossings(self, view: View, pixel: np.ndarray) -> np.ndarray:
        """(N, K) float64: the planar depths of all surfaces along the rays of pixels (N,), row-major, nearest
        first, then NaN. Those within 1e-5 of one before are the same.

        A ray from the origin crosses a triangle if it is on the same side of the three planes through the
        origin and an edge (Moeller and Trumbore 1997, of one origin).
        """
        origin, directions = pixel_rays(view)
        a, b, c = (self._triangles - origin).swapaxes(0, 1)
        planes = (np.cross(a, b), np.cross(b, c), np.cross(c, a))
        normal = np.cross(b - a, c - a)
        offset = (a * normal).sum(1)
        parts = []
        for some in np.array_split(directions.reshape(-1, 3)[pixel], 1 + len(pixel) // 256):
            sides = np.stack([some @ plane.T for plane in planes])
            inside = (sides >= 0).all(0) | (sides <= 0).all(0)
            with np.errstate(all="ignore"):
                depth = np.where(inside, offset / (some @ normal.T), np.nan)
            parts.append(_first_ones(np.sort(np.where(depth > 0, depth, np.nan), 1)))
        return _first_ones(np.concatenate([_padded(part, max(p.shape[1] for p in parts)) for part in parts]))

    def depth(self, view: View, pixel: np.ndarray) -> np.ndarray:
        """(N,) float64 planar depth of the first surface along the rays of pixels (N,), 0 for none."""
        return np.nan_to_num(self.crossings(view, pixel)[:, 0])


def _first_ones(depth: np.ndarray) -> np.ndarray:
    """(N, K) rising, then NaN -> (N, k): without those that follow within 1e-5."""
    repeated = np.diff(depth, axis=1, prepend=-np.inf) <= 1e-5
    rising = np.sort(np.where(repeated, np.nan, depth), 1)
    return rising[:, : max(1, int((~np.isnan(rising)).sum(1).max(initial=0)))]


def _padded(depth: np.ndarray, width: int) -> np.ndarray:
    return np.pad(depth, ((0, 0), (0, width - depth.shape[1])), constant_values=np.nan)
