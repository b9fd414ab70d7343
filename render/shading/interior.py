"""The interior mask of each view: pixels with a surface behind the first that no view sees.

A surface point is seen if it lies on the first surface of some view, at the pixel it projects to. `fuse`
later labels points by rays in all directions, which is stricter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from render.bundle import View
from render.pinhole import pixel_size, points_at, world_points

SKIN = 2e-3  # normalized units: a point closer to a seen surface than this is part of it
CELL = 2  # pixels: the side of a cell; a point with no seen point in or beside its cell is not seen
EDGE = 2  # pixels: a point farther than this from every first surface is not beside the edge of one
MOSTLY = 0.9  # share of points: while more are left, dropping those that are seen costs more than it saves


@dataclass(frozen=True)
class _Front:
    """The first surfaces of one view, as one plane per pixel."""

    to_image: np.ndarray  # (3, 4) float32: to pixels right and down of the middle, times depth, and depth
    planes: np.ndarray  # (H * W, 4) float32: unit normal and offset, which is infinite for no surface
    size: int

    def distance(self, points: np.ndarray) -> np.ndarray:
        """(N,) float32: distance of each homogeneous point (N, 4) from the plane at its pixel."""
        column, row = self._pixel(points, 0)
        return _distance(self.planes, row * self.size + column, points)

    def distance_beside(self, points: np.ndarray) -> np.ndarray:
        """(N,) float32: the least distance of each homogeneous point (N, 4) from the planes at the four
        pixels around it."""
        column, row = self._pixel(points, -0.5)
        first = row * self.size + column
        corners = np.array([0, 1, self.size, self.size + 1], np.int32)
        return _distance(self.planes, first + corners[:, None], points).min(0)

    def _pixel(self, points: np.ndarray, shift: float) -> np.ndarray:
        """(2, N) int32 column and row, `shift` pixels from where the points are.

        Every view sees the whole model, with an empty border.
        """
        image = self.to_image @ points.T
        return (image[:2] / image[2] + np.float32(self.size / 2 + shift)).astype(np.int32)


def _distance(planes: np.ndarray, which: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(..., N) float32: distance of homogeneous points (N, 4) from the planes that `which` (..., N) names."""
    plane = planes.take(which, axis=0, mode="clip")
    distance = plane[..., 3].copy()
    for axis in range(3):  # one by one, since numpy is slow where rows are short
        distance += plane[..., axis] * points[:, axis]
    return np.abs(distance, out=distance)


class _SeenCells:
    """The cells, of a grid over the normalized box, in and around which the views see a surface."""

    def __init__(self, views: Sequence[View], cell: float):
        self.cell = max(cell, 2 / 256)
        side = int(2 / self.cell) + 4
        cells = np.zeros((side, side, side), bool)
        for view in views:
            seen = world_points(view.camera, view.depth, np.flatnonzero(view.depth), np.float32)
            cells[self._index(seen)] = True
        for axis in range(3):
            cells = cells | np.roll(cells, 1, axis) | np.roll(cells, -1, axis)
        self._cells = cells

    def contain(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool: whether a seen point lies in or beside the cell of each world point (N, 3)."""
        return self._cells[self._index(points)]

    def _index(self, points: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(((points.T + 1) / self.cell + 1).astype(np.int32).clip(1, int(2 / self.cell) + 2))


def interior_masks(views: Sequence[View]) -> list[np.ndarray]:
    """(H, W) bool per view: a surface that none of the views sees lies behind the first."""
    fronts = [_front(view) for view in views]
    footprint = pixel_size(views[0].camera, views[0].depth.shape[0])
    near_seen = _SeenCells(views, CELL * footprint)
    masks = []
    for view in views:
        mask = np.zeros(view.depth.size, bool)
        pixel, middle, points = _behind(view)
        mask[pixel[~near_seen.contain(points[:, :3])]] = True
        across = [
            float(view.camera.camera_to_world[:3, 3] @ other.camera.camera_to_world[:3, 3]) for other in views
        ]
        opposite_first = [fronts[i] for i in np.argsort(across, kind="stable")]
        # one unseen surface settles a pixel, and the middle one of a ray is the likeliest
        for batch in (middle, ~middle):
            open_ones = np.flatnonzero(batch & ~mask[pixel])
            _mark_unseen(mask, pixel[open_ones], points[open_ones], opposite_first, EDGE * footprint)
        masks.append(mask.reshape(view.depth.shape))
    return masks


def _behind(view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels (N,) int64 of all layers behind the first, whether each is the middle one of its ray
    (N,) bool, and the homogeneous world points (N, 4) float32."""
    if not view.behind:
        return np.zeros(0, np.int64), np.zeros(0, bool), np.zeros((0, 4), np.float32)
    pixel = np.concatenate([one.pixel for one in view.behind])
    depth = np.concatenate([one.depth for one in view.behind])
    rank = np.repeat(np.arange(1, len(view.behind) + 1), [len(one.pixel) for one in view.behind])
    points = points_at(view.camera, view.depth.shape[0], pixel, depth, np.float32)
    middle = rank == (np.bincount(pixel)[pixel] + 1) // 2
    return pixel, middle, np.column_stack([points, np.ones(len(points), np.float32)])


def _mark_unseen(
    mask: np.ndarray, pixel: np.ndarray, points: np.ndarray, fronts: Sequence[_Front], edge: float
) -> None:
    """Set `mask` (H * W,) at the pixels (N,) of the homogeneous points (N, 4) that no front sees.

    Fronts are tried in order until one does. A point beside an edge may find its own surface only in a
    neighboring pixel, so the points within `edge` of some first surface are tried again, half a pixel to each
    side.
    """
    left, nearest = _not_seen(points, [front.distance for front in fronts])
    mask[pixel[left[nearest > edge]]] = True
    left = left[~mask[pixel[left]]]
    still, _ = _not_seen(points[left], [front.distance_beside for front in fronts])
    mask[pixel[left[still]]] = True


def _not_seen(
    points: np.ndarray, distances: Sequence[Callable[[np.ndarray], np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Which homogeneous points (N, 4) no first surface is near, (M,) int64, and the least of the distances of
    each, (M,) float32."""
    left = np.arange(len(points))
    nearest = np.full(len(points), np.inf, np.float32)
    for distance in distances:
        np.minimum(nearest, distance(points), out=nearest)
        keep = np.flatnonzero(nearest >= SKIN)
        if len(keep) < MOSTLY * len(left):
            left, nearest, points = left[keep], nearest[keep], points.take(keep, axis=0)
    keep = np.flatnonzero(nearest >= SKIN)
    return left[keep], nearest[keep]


def _front(view: View) -> _Front:
    size, pose = view.depth.shape[0], view.camera.camera_to_world
    hit = np.flatnonzero(view.depth)
    normal = view.normal.reshape(-1, 3)[hit]
    planes = np.zeros((view.depth.size, 4), np.float32)
    planes[:, 3] = np.inf
    planes[hit, :3] = normal
    planes[hit, 3] = -np.einsum("ij,ij->i", world_points(view.camera, view.depth, hit, np.float32), normal)
    focal = size / 2 / np.tan(view.camera.fov / 2)
    to_camera = np.column_stack([pose[:3, :3].T, -pose[:3, :3].T @ pose[:3, 3]])
    return _Front((np.diag([focal, -focal, -1]) @ to_camera).astype(np.float32), planes, size)
