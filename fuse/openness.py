"""Openness: from how many directions a surface point can be seen from outside, by rays against the mesh.

A point's openness is the share of 512 evenly spread directions in which a ray leaves the model without
meeting it. A point with openness 0 is hidden. Nearly every open point escapes within a few directions, so
`hidden` asks in rounds and drops a point at its first escape; only hidden points cost all 512 rays.

Rays start SKIN away from their point: clear of the surface that it lies on, and of a skin so thin that what
lies under it is no inside.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import open3d as o3d

from render.bundle import Mesh
from render.cameras import fibonacci_sphere

DIRECTIONS = 512
SKIN = 2e-3  # normalized units
_STRIDE = 317  # coprime to DIRECTIONS and near its golden section: every prefix of the order is spread out
_FIRST = 2  # directions of the first round
_MOST_RAYS = 1 << 20  # traced at once


class Caster:
    """Traces rays against a mesh, on one thread: the engine decides how many models run side by side."""

    def __init__(self, mesh: Mesh):
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        if len(mesh.faces):
            self._scene.add_triangles(
                o3d.core.Tensor.from_numpy(mesh.vertices.astype(np.float32)),
                o3d.core.Tensor.from_numpy(mesh.faces.astype(np.uint32)),
            )

    def hidden(self, xyz: np.ndarray, first: int = 0, last: int = DIRECTIONS) -> np.ndarray:
        """(N,) bool: no ray escapes from the (N, 3) float32 points in the directions numbered first..last."""
        left = np.arange(len(xyz))
        for directions in _rounds(first, last):
            if not len(left):
                break
            blocks = np.array_split(left, 1 + len(left) * len(directions) // _MOST_RAYS)
            left = np.concatenate([b[~self._escapes(xyz[b], directions).any(1)] for b in blocks])
        result = np.zeros(len(xyz), bool)
        result[left] = True
        return result

    def openness(self, xyz: np.ndarray) -> np.ndarray:
        """(N,) float32 in 0..1: the share of all directions in which a ray escapes from (N, 3) points."""
        escaped = np.zeros(len(xyz), np.int64)
        directions = spread_directions()
        for block in np.array_split(np.arange(len(xyz)), 1 + len(xyz) * DIRECTIONS // _MOST_RAYS):
            escaped[block] = self._escapes(xyz[block], directions).sum(1)
        return (escaped / DIRECTIONS).astype(np.float32)

    def _escapes(self, xyz: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """(N, D) bool: whether the ray from each (N, 3) point in each (D, 3) direction meets nothing."""
        rays = np.empty((len(xyz), len(directions), 6), np.float32)
        rays[..., :3] = xyz[:, None] + SKIN * directions
        rays[..., 3:] = directions
        return ~self._scene.test_occlusions(o3d.core.Tensor.from_numpy(rays), nthreads=1).numpy()


def spread_directions() -> np.ndarray:
    """(512, 3) float32 unit vectors, evenly spread, in an order whose every prefix is spread as well."""
    order = np.arange(DIRECTIONS) * _STRIDE % DIRECTIONS
    return fibonacci_sphere(DIRECTIONS)[order].astype(np.float32)


def _rounds(first: int, last: int) -> Iterator[np.ndarray]:
    """The directions numbered first..last in rounds that double."""
    directions, size = spread_directions(), _FIRST
    while first < last:
        yield directions[first : min(first + size, last)]
        first, size = first + size, 2 * size
