"""What a bundle holds, in memory: cameras, views with all their surfaces, the mesh."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Camera:
    """A pinhole that looks along its own -z with +y up (OpenGL); pixels and image are square."""

    camera_to_world: np.ndarray  # (4, 4) float64, normalized frame
    fov: float  # radians, across the full width and height


@dataclass(frozen=True)
class Layer:
    """The surfaces at one index along the rays of a view."""

    depth: np.ndarray  # (H, W) float32, planar z in normalized units, 0 where there is no surface
    albedo: np.ndarray  # (H, W, 3) uint8, 0 where there is no surface
    normal: np.ndarray  # (H, W, 3) float32, unit length, 0 where there is no surface


@dataclass(frozen=True)
class Surface:
    """A layer without its empty pixels: N pixels of a view, and what their rays hit there."""

    pixel: np.ndarray  # (N,) int64, row-major, rising
    depth: np.ndarray  # (N,) float32, planar z in normalized units
    albedo: np.ndarray  # (N, 3) uint8
    normal: np.ndarray  # (N, 3) float32, unit length, or 0 where it is unknown

    def layer(self, shape: tuple[int, ...]) -> Layer:
        """The images, of `shape` H, W."""
        return Layer(*(scatter(self.pixel, one, shape) for one in (self.depth, self.albedo, self.normal)))


@dataclass(frozen=True)
class View:
    """One RGBAD view and the layers behind its first surfaces."""

    camera: Camera
    rgba: np.ndarray  # (H, W, 4) uint8, straight alpha
    depth: np.ndarray  # (H, W) float32, planar z in normalized units, 0 where there is no surface
    albedo: np.ndarray  # (H, W, 3) uint8, 0 where there is no surface
    normal: np.ndarray  # (H, W, 3) float32, unit length, 0 where there is no surface
    behind: Sequence[Surface] = ()  # the surfaces behind the first, nearest first
    interior: np.ndarray | None = None  # (H, W) bool: a surface that no view sees lies behind

    def layers(self) -> Iterator[Layer]:
        """The images of all surfaces, nearest first."""
        yield Layer(self.depth, self.albedo, self.normal)
        yield from (surface.layer(self.depth.shape) for surface in self.behind)

    def layer_count(self) -> np.ndarray:
        """(H, W) int64: number of surfaces along each ray."""
        count = (self.depth > 0).astype(np.int64)
        for surface in self.behind:
            count.ravel()[surface.pixel] += 1
        return count


@dataclass(frozen=True)
class Mesh:
    """Triangles in the normalized frame."""

    vertices: np.ndarray  # (V, 3) float32
    faces: np.ndarray  # (F, 3) int32


def scatter(pixel: np.ndarray, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(N, ...) values at the pixels (N,), row-major, of an image of `shape` H, W that is 0 elsewhere."""
    image = np.zeros((shape[0] * shape[1], *values.shape[1:]), values.dtype)
    image[pixel] = values
    return image.reshape(*shape, *values.shape[1:])
