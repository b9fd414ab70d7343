"""Every surface along each pixel's ray, by Embree: for materials that `paint` can evaluate."""

from __future__ import annotations

import numpy as np

from render.bundle import Camera, Mesh
from render.cameras import image_box
from render.pinhole import rays_through
from render.shading.raycaster import Raycaster
from render.surfaces.paint import Paint
from render.surfaces.rays import Surfaces, along_rays

_AT_ONCE = 1 << 16  # rays whose crossings are in memory


class SurfaceCaster:
    """The surfaces of a painted mesh."""

    def __init__(self, mesh: Mesh, paint: Paint):
        self._paint = paint
        # a piece each, since a hole must not hide what coincides with it: see Raycaster
        pieces = [np.flatnonzero(some) for some in (paint.solid, paint.cut) if some.any()]
        self._triangles = np.concatenate([np.zeros(0, np.int64), *pieces])
        self._starts = np.cumsum([0, *(len(piece) for piece in pieces)])
        self._caster = Raycaster([(mesh.vertices, mesh.faces[piece]) for piece in pieces])
        self._normals = _normals(mesh)

    def surfaces(self, camera: Camera, outline: np.ndarray, size: int, deepest: int) -> Surfaces:
        """The first `deepest` surfaces along each ray of a view of `size` pixels. `outline` (N, 3) encloses
        the model."""
        pixels = np.arange(size * size).reshape(size, size)[image_box(camera, outline, size)].ravel()
        parts = [
            self._along(camera, some, size, deepest)
            for some in np.array_split(pixels, 1 + len(pixels) // _AT_ONCE)
        ]
        pixel, rank, depth, albedo, normal = (np.concatenate(values) for values in zip(*parts, strict=True))
        return Surfaces(pixel, rank, depth, albedo, normal, (size, size))

    def _along(self, camera: Camera, pixels: np.ndarray, size: int, deepest: int) -> tuple[np.ndarray, ...]:
        """Pixel, rank, depth, albedo and normal of `Surfaces`, for the rays of some pixels (N,)."""
        rays = rays_through(camera, size, pixels)
        hits = self._caster.crossings(rays)
        triangle = self._triangles[self._starts[hits.piece] + hits.triangle]
        kept = np.flatnonzero(~self._paint.cut[triangle])
        if len(kept) < len(triangle):
            kept = np.flatnonzero(self._paint.present(triangle, hits.weight))
        depth = hits.t[kept].astype(np.float32)  # each direction is 1 long along the view
        order, rank = along_rays(hits.ray[kept], depth, deepest)
        kept, depth = kept[order], depth[order]
        ray, triangle = hits.ray[kept], triangle[kept]
        albedo = self._paint.albedo(triangle, hits.weight.take(kept, axis=0))
        normal = self._normals.take(triangle, axis=0)
        away = np.einsum("ij,ij->i", normal, rays[:, 3:].take(ray, axis=0)) > 0
        normal *= np.where(away, -1, 1).astype(np.float32)[:, None]
        return pixels[ray], rank, depth, albedo, normal


def _normals(mesh: Mesh) -> np.ndarray:
    """(F, 3) float32: the flat normals, 0 of triangles without area."""
    a, b, c = mesh.vertices[mesh.faces].swapaxes(0, 1)
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)
