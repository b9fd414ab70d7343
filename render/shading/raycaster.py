"""Rays against triangles, by Embree through Open3D's RaycastingScene: the one place that knows its interface.

    caster = Raycaster([(vertices, faces)])
    caster.blocked(rays)  # (N,) bool

Everything runs on one thread: the engine decides how many models are processed side by side.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from render.lazy import imported_later

with imported_later("open3d.visualization.draw_plotly"):  # dash, plotly, IPython: 0.5 CPU-seconds
    import open3d as o3d


class RayHits(NamedTuple):
    """Crossings of rays and triangles, in no order."""

    ray: np.ndarray  # (H,) int64, index of the ray
    t: np.ndarray  # (H,) float64, in lengths of the ray's direction
    piece: np.ndarray  # (H,) int64, index of the piece of triangles
    triangle: np.ndarray  # (H,) int64, index within that piece
    weight: np.ndarray  # (H, 3) float32: how much each of its corners counts there


class Raycaster:
    """Triangles in pieces, each (V, 3) float32 vertices and (F, 3) faces.

    Of two crossings at the same distance Embree drops one if both are of one piece, as it must where
    triangles share an edge. Parts that touch each other therefore need pieces of their own.
    """

    def __init__(self, pieces: Iterable[tuple[np.ndarray, np.ndarray]]):
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        for vertices, faces in pieces:
            self._scene.add_triangles(_tensor(vertices, np.float32), _tensor(faces, np.uint32))

    def blocked(self, rays: np.ndarray, far: float = np.inf) -> np.ndarray:
        """(N, ...) bool: whether each of (N, ..., 6) float32 rays, origin and direction, hits a triangle
        before `far` lengths of its direction."""
        return self._scene.test_occlusions(_tensor(rays, np.float32), tnear=0.0, tfar=far, nthreads=1).numpy()

    def distances(self, rays: np.ndarray) -> np.ndarray:
        """(N, ...) float32: distance along each of (N, ..., 6) rays to the first triangle, in lengths of its
        direction; inf where there is none."""
        return self._scene.cast_rays(_tensor(rays, np.float32), nthreads=1)["t_hit"].numpy()

    def crossings(self, rays: np.ndarray) -> RayHits:
        """Every crossing of (N, 6) rays and triangles."""
        if not len(rays):  # which would end the process
            none = np.zeros(0, np.int64)
            return RayHits(none, np.zeros(0), none, none, np.zeros((0, 3), np.float32))
        found = {
            name: tensor.numpy()
            for name, tensor in self._scene.list_intersections(_tensor(rays, np.float32), nthreads=1).items()
        }
        second, third = found["primitive_uvs"].T
        return RayHits(
            found["ray_ids"].astype(np.int64),
            found["t_hit"].astype(np.float64),
            found["geometry_ids"].astype(np.int64),
            found["primitive_ids"].astype(np.int64),
            np.stack([1 - second - third, second, third], -1),
        )


def _tensor(array: np.ndarray, kind: type) -> o3d.core.Tensor:
    if array.dtype == np.int32 and kind is np.uint32:
        array = np.ascontiguousarray(array).view(kind)  # millions of faces need no copy
    return o3d.core.Tensor.from_numpy(np.ascontiguousarray(array, kind))
