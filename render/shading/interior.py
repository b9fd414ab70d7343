"""The interior mask of each view: pixels with a surface behind the first that no view sees.

A surface point is seen if it lies on the first surface of some view, at the pixel it projects to. `fuse`
later labels points by rays in all directions, which is stricter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from render.bundle import View
from render.pinhole import camera_points, pixel_size, points_at, world_points

SKIN = 2e-3  # normalized units: a point closer to a seen surface than this is part of it
CELL = 2  # pixels: the side of a cell; a point with no seen point in or beside its cell is not seen
EDGE = 2  # pixels: a point farther than this from every first surface is not beside the edge of one


@dataclass(frozen=True)
class _Front:
    """The first surfaces of one view, as one plane per pixel in camera axes."""

    rotation: np.ndarray  # (3, 3) float32, world to camera
    shift: np.ndarray  # (3, 1) float32, after the rotation
    half: float  # tangent of half the field of view
    planes: np.ndarray  # (H * W, 4) float32: unit normal and offset, which is infinite for no surface
    size: int

    def distance(self, points: np.ndarray, beside: tuple[float, float] = (0, 0)) -> np.ndarray:
        """(N,) float32: distance of each world point (3, N) float32 from the tangent plane at its pixel.

        With `beside`, at the pixel that far right and down of its own.
        """
        x, y, z = self.rotation @ points + self.shift
        center, scale = np.float32(self.size / 2), np.float32(-self.size / 2 / self.half) / z
        column = (x * scale + (center + np.float32(beside[0]))).astype(np.int32)
        row = (center + np.float32(beside[1]) - y * scale).astype(np.int32)
        pixel = row.clip(0, self.size - 1) * self.size + column.clip(0, self.size - 1)
        a, b, c, offset = self.planes[pixel].T
        return np.abs(a * x + b * y + c * z - offset)


class _SeenCells:
    """The cells, of a grid over the normalized box, in and around which the views see a surface."""

    def __init__(self, views: Sequence[View], cell: float):
        self.cell = max(cell, 2 / 256)
        side = int(2 / self.cell) + 4
        cells = np.zeros((side, side, side), bool)
        for view in views:
            seen = world_points(view.camera, view.depth, np.flatnonzero(view.depth), np.float32)
            cells[self._index(seen.T)] = True
        for axis in range(3):
            cells = cells | np.roll(cells, 1, axis) | np.roll(cells, -1, axis)
        self._cells = cells

    def contain(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool: whether a seen point lies in or beside the cell of each world point (3, N)."""
        return self._cells[self._index(points)]

    def _index(self, points: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(((points + 1) / self.cell + 1).astype(np.int32).clip(1, int(2 / self.cell) + 2))


def interior_masks(views: Sequence[View]) -> list[np.ndarray]:
    """(H, W) bool per view: a surface that none of the views sees lies behind the first."""
    fronts = [_front(view) for view in views]
    footprint = pixel_size(views[0].camera, views[0].depth.shape[0])
    near_seen = _SeenCells(views, CELL * footprint)
    masks = []
    for view in views:
        mask = np.zeros(view.depth.size, bool)
        pixel, middle, points = _behind(view)
        mask[pixel[~near_seen.contain(points)]] = True
        across = [
            float(view.camera.camera_to_world[:3, 3] @ other.camera.camera_to_world[:3, 3]) for other in views
        ]
        opposite_first = [fronts[i] for i in np.argsort(across, kind="stable")]
        # one unseen surface settles a pixel, and the middle one of a ray is the likeliest
        for batch in (middle, ~middle):
            open_ones = np.flatnonzero(batch & ~mask[pixel])
            _mark_unseen(mask, pixel[open_ones], points[:, open_ones], opposite_first, EDGE * footprint)
        masks.append(mask.reshape(view.depth.shape))
    return masks


def _behind(view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels (N,) int64 of all layers behind the first, whether each is the middle one of its ray
    (N,) bool, and the world points (3, N) float32."""
    if not view.behind:
        return np.zeros(0, np.int64), np.zeros(0, bool), np.zeros((3, 0), np.float32)
    pixel = np.concatenate([one.pixel for one in view.behind])
    depth = np.concatenate([one.depth for one in view.behind])
    rank = np.repeat(np.arange(1, len(view.behind) + 1), [len(one.pixel) for one in view.behind])
    points = points_at(view.camera, view.depth.shape[0], pixel, depth, np.float32)
    middle = rank == (np.bincount(pixel)[pixel] + 1) // 2
    return pixel, middle, points.T


def _mark_unseen(
    mask: np.ndarray, pixel: np.ndarray, points: np.ndarray, fronts: Sequence[_Front], edge: float
) -> None:
    """Set `mask` (H * W,) at the pixels (N,) of the points (3, N) that no front sees.

    Fronts are tried in order until one does. A point beside an edge may find its own surface only in a
    neighboring pixel, so the points within `edge` of some first surface are tried again, half a pixel to each
    side.
    """
    nearest = np.full(len(pixel), np.inf, np.float32)
    for front in fronts:
        distance = front.distance(points)
        left = np.flatnonzero(distance >= SKIN)
        nearest = np.minimum(nearest, distance)[left]
        pixel, points = pixel[left], points[:, left]
    mask[pixel[nearest > edge]] = True
    for beside in ((-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)):
        left = np.flatnonzero(~mask[pixel])
        pixel, points = pixel[left], points[:, left]
        for front in fronts:
            left = np.flatnonzero(front.distance(points, beside) >= SKIN)
            pixel, points = pixel[left], points[:, left]
    mask[pixel] = True


def _front(view: View) -> _Front:
    rotation = view.camera.camera_to_world[:3, :3].astype(np.float32).T
    hit = np.flatnonzero(view.depth)
    normal = view.normal.reshape(-1, 3)[hit] @ rotation.T
    planes = np.full((view.depth.size, 4), np.inf, np.float32)
    planes[:, :3] = 0
    planes[hit, :3] = normal
    planes[hit, 3] = np.einsum("ij,ij->i", camera_points(view.camera, view.depth, hit, np.float32), normal)
    shift = -rotation @ view.camera.camera_to_world[:3, 3:].astype(np.float32)
    return _Front(rotation, shift, float(np.tan(view.camera.fov / 2)), planes, view.depth.shape[0])
