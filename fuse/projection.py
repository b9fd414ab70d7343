"""Back-projection: every pixel of a view that shows a surface becomes a point, placed by its depth.

The pinhole looks along its own -z with +y up; pixel (i, j)'s ray goes through (i + 0.5, j + 0.5), and depth
is planar z, one sample at that place. So every point lies on a surface, even at silhouettes: there are no
flying pixels. Only the lit color is averaged over the pixel: where a pixel straddles two surfaces, it mixes
both. Pixels are graded by that here; `fuse.fusion` decides which of the mixed ones are needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fuse.cloud import Cloud, concatenate
from render.bundle import Camera, Surface, View
from render.pinhole import pixel_rays, points_at

STEP = 1.0
"""A neighbor this many footprints off a pixel's tangent plane belongs to another surface."""
GRAZING = 0.5
"""Seen with a smaller cosine between normal and view, a surface mirrors its surroundings (Fresnel)."""
CLEAN, FILM, MIXED = 0, 1, 2
"""Grades of a pixel. CLEAN: one surface alone. FILM: a surface and film, whose straight color is true but
from fewer samples, or a surface at a grazing angle. MIXED: several surfaces, or no color where the center
hits one."""
_NEIGHBORS = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]


@dataclass(frozen=True)
class Samples:
    """The points of all views, before merging."""

    cloud: Cloud
    grade: np.ndarray  # (N,) uint8: CLEAN, FILM or MIXED
    facing: np.ndarray  # (N,) float32: cosine between the normal and the direction to the camera, 0..1


@lru_cache(maxsize=4)
def unit_rays(size: int, fov: float) -> np.ndarray:
    """(S, S, 3) float32: `pixel_rays` at unit length."""
    rays = pixel_rays(size, fov)
    return (rays / np.linalg.norm(rays, axis=-1, keepdims=True)).astype(np.float32)


def project(views: Iterable[View]) -> Samples:
    """Back-project every view; the points are in the order of views, rows, columns."""
    samples = [project_view(view) for view in views]
    return Samples(
        concatenate([sample.cloud for sample in samples]),
        np.concatenate([sample.grade for sample in samples]),
        np.concatenate([sample.facing for sample in samples]),
    )


def project_view(view: View) -> Samples:
    """Back-project one view's first surfaces."""
    hit = np.flatnonzero(view.depth > 0)
    albedo = view.albedo.reshape(-1, 3)[hit]
    surface = Surface(hit, view.depth.ravel()[hit], albedo, view.normal.reshape(-1, 3)[hit])
    xyz, normal, facing = project_surface(view.camera, view.depth.shape[0], surface)
    rgba = view.rgba.reshape(-1, 4)[hit]
    rgb = np.where(rgba[:, 3:] == 0, albedo, rgba[:, :3])  # no color sample hit what the center hits
    grade = grade_pixels(view).ravel()[hit]
    grade[(grade == CLEAN) & (facing < GRAZING)] = FILM
    return Samples(Cloud(xyz, rgb, albedo, normal), grade, facing)


def project_surface(camera: Camera, size: int, surface: Surface) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Back-project what a view `size` pixels across sees or saw: (N, 3) float32 points, (N, 3) float32
    normals toward the camera and (N,) float32 cosines between normal and ray."""
    xyz = points_at(camera, size, surface.pixel, surface.depth).astype(np.float32)
    rotation = camera.camera_to_world[:3, :3].astype(np.float32)
    toward = unit_rays(size, camera.fov).reshape(-1, 3)[surface.pixel] @ -rotation.T
    return xyz, *_face(surface.normal, toward)


def grade_pixels(view: View) -> np.ndarray:
    """(H, W) uint8: the grade of every pixel, CLEAN also where there is no surface.

    A pixel is MIXED when a neighbor lies more than STEP footprints off its tangent plane, and FILM when it
    is partly transparent beside a miss: an evenly translucent surface is clean.
    """
    grade = np.full(view.depth.shape, CLEAN, np.uint8)
    window = _window(view.depth > 0)
    depth, alpha = view.depth[window], view.rgba[window][..., 3]
    hit = depth > 0
    far, near = np.where(hit, depth, np.float32(-np.inf)), np.where(hit, depth, np.float32(np.inf))
    jump = np.maximum(_spread(far, np.maximum) - depth, depth - _spread(near, np.minimum))
    width = np.float32(2 * np.tan(view.camera.fov / 2) / view.depth.shape[1])  # of a pixel at depth 1
    # where depth hardly changes nothing is STEP off the plane: spare most pixels the exact test
    steps = hit & (jump > 0.75 * STEP * width * depth)
    mixed = hit & (alpha == 0)
    mixed[steps] |= _off_plane(view, window, steps, width) > STEP * width * depth[steps]
    film = hit & ~_spread(hit, np.minimum) & (alpha < 255)
    grade[window] = np.where(mixed, MIXED, np.where(film, FILM, CLEAN))
    return grade


def _window(hit: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of an (H, W) mask that hold all of it, and one more on each side."""
    ranges = []
    for axis in (1, 0):
        where = np.flatnonzero(hit.any(axis))
        ranges.append(slice(max(where[0] - 1, 0), where[-1] + 2) if len(where) else slice(0, 1))
    return ranges[0], ranges[1]


def _off_plane(view: View, window: tuple[slice, slice], where: np.ndarray, width: np.float32) -> np.ndarray:
    """(M,) float32, for the pixels in `where`, a mask of the window: the largest distance of the eight
    neighbors from the tangent plane. Pixels are `width` apart at depth 1."""
    normal = view.normal[window][where] @ view.camera.camera_to_world[:3, :3].astype(np.float32)
    rays = pixel_rays(view.depth.shape[0], view.camera.fov, np.float32)[window][where]
    along = _dot(rays, normal)
    padded = np.pad(view.depth[window], 1)
    place, depth = np.flatnonzero(np.pad(where, 1)), padded.ravel()
    level = depth[place] * along  # of the plane, from the camera along its normal
    off = np.zeros(len(place), np.float32)
    for i, j in _NEIGHBORS:
        beside = depth[place + (i * padded.shape[1] + j)]
        distance = np.abs(beside * (along + width * (j * normal[:, 0] - i * normal[:, 1])) - level)
        np.maximum(off, np.where(beside > 0, distance, 0), out=off)
    return off


def _spread(image: np.ndarray, reduce: np.ufunc) -> np.ndarray:
    """(H, W): `reduce` over each pixel's 3 x 3 neighborhood; the border repeats."""
    tall = np.pad(image, ((1, 1), (0, 0)), mode="edge")
    column = reduce(reduce(tall[:-2], tall[1:-1]), tall[2:])
    wide = np.pad(column, ((0, 0), (1, 1)), mode="edge")
    return reduce(reduce(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:])


def _face(normal: np.ndarray, toward: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) normals turned toward the camera, and the cosine.

    A missing normal becomes the direction to the camera. At a silhouette a shading normal may lean slightly
    away: mirroring it moves it little.
    """
    absent = _dot(normal, normal) < 0.25
    normal = normal.copy()
    normal[absent] = toward[absent]
    facing = _dot(normal, toward)
    away = facing < 0
    normal[away] -= 2 * facing[away, None] * toward[away]
    normal /= np.sqrt(_dot(normal, normal))[:, None]
    return normal, np.abs(facing).clip(0, 1)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", a, b)
