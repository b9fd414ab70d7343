"""The interior mask of each view: pixels with a surface behind the first that no view sees.

A surface point is seen if it lies on the first surface of some view, at the pixel it projects to. `fuse`
later labels points by rays in all directions, which is stricter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from render.bundle import View
from render.pinhole import camera_points, pixel_size, world_points

SKIN = 2e-3  # normalized units: a point closer to a seen surface than this is part of it
CELL = 2  # pixels: the side of a cell; a point with no seen point in or beside its cell is not seen
EDGE = 2  # pixels: a point farther than this from every first surface is not beside the edge of one


@dataclass(frozen=True)
class _Front:
    """The first surfaces of one view, as one plane per pixel in camera axes."""

    rotation: np.ndarray  # (3, 3) float32, world to camera
    origin: np.ndarray  # (3,) float32
    half: float  # tangent of half the field of view
    planes: np.ndarray  # (H * W, 4) float32: unit normal and offset, which is infinite for no surface
    size: int

    def distance(self, points: np.ndarray, shift: tuple[float, float] = (0, 0)) -> np.ndarray:
        """(N,) float32: distance of each world point (N, 3) float32 from the tangent plane at its pixel.

        With `shift`, at the pixel that far right and down of its own.
        """
        local = (points - self.origin) @ self.rotation.T
        position = (local[:, :2] / (-local[:, 2:] * self.half) * (0.5, -0.5) + 0.5) * self.size + shift
        column, row = position.astype(np.int32).clip(0, self.size - 1).T
        plane = self.planes[row * self.size + column]
        return np.abs(np.einsum("ij,ij->i", local, plane[:, :3]) - plane[:, 3])


class _SeenCells:
    """The cells, of a grid over the normalized box, in and around which the views see a surface."""

    def __init__(self, views: Sequence[View], cell: float):
        self.cell = max(cell, 2 / 256)
        side = int(2 / self.cell) + 4
        cells = np.zeros((side, side, side), bool)
        for view in views:
            seen = world_points(view.camera, view.depth, np.flatnonzero(view.depth), np.float32)
            cells[tuple(self._index(seen).T)] = True
        for axis in range(3):
            cells = cells | np.roll(cells, 1, axis) | np.roll(cells, -1, axis)
        self._cells = cells

    def contain(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool: whether a seen point lies in or beside the cell of each world point (N, 3)."""
        return self._cells[tuple(self._index(points).T)]

    def _index(self, points: np.ndarray) -> np.ndarray:
        return ((points + 1) / self.cell + 1).astype(np.int32).clip(1, int(2 / self.cell) + 2)


def interior_masks(views: Sequence[View]) -> list[np.ndarray]:
    """(H, W) bool per view: a surface that none of the views sees lies behind the first."""
    fronts = [_front(view) for view in views]
    footprint = pixel_size(views[0].camera, views[0].depth.shape[0])
    near_seen = _SeenCells(views, CELL * footprint)
    masks = []
    for view in views:
        mask = np.zeros(view.depth.size, bool)
        pixel, points = _behind(view)
        mask[pixel[~near_seen.contain(points)]] = True
        undecided = ~mask[pixel]
        pixel, points = pixel[undecided], points[undecided]
        across = [float(front.origin @ view.camera.camera_to_world[:3, 3]) for front in fronts]
        opposite_first = [fronts[i] for i in np.argsort(across, kind="stable")]
        mask[pixel[_unseen(points, opposite_first, EDGE * footprint)]] = True
        masks.append(mask.reshape(view.depth.shape))
    return masks


def _behind(view: View) -> tuple[np.ndarray, np.ndarray]:
    """The pixels (N,) int64 and world points (N, 3) float32 of all layers behind the first."""
    pixels = [np.flatnonzero(layer.depth) for layer in view.hidden]
    points = [
        world_points(view.camera, layer.depth, pixel, np.float32)
        for layer, pixel in zip(view.hidden, pixels, strict=True)
    ]
    return (
        np.concatenate([np.zeros(0, np.int64), *pixels]),
        np.concatenate([np.zeros((0, 3), np.float32), *points]),
    )


def _unseen(points: np.ndarray, fronts: Sequence[_Front], edge: float) -> np.ndarray:
    """Indices of the (N, 3) points that no front sees; fronts are tried in order until one does.

    A point beside an edge may find its own surface only in a neighboring pixel, so the points within `edge`
    of some first surface are tried again, half a pixel to each side.
    """
    left, nearest = np.arange(len(points)), np.full(len(points), np.inf, np.float32)
    for front in fronts:
        distance = front.distance(points[left])
        nearest[left] = np.minimum(nearest[left], distance)
        left = left[distance >= SKIN]
    deep = nearest[left] > edge
    beside = left[~deep]
    for shift in ((-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)):
        for front in fronts:
            beside = beside[front.distance(points[beside], shift) >= SKIN]
    return np.concatenate([left[deep], beside])


def _front(view: View) -> _Front:
    rotation = view.camera.camera_to_world[:3, :3].astype(np.float32).T
    hit = np.flatnonzero(view.depth)
    normal = view.normal.reshape(-1, 3)[hit] @ rotation.T
    planes = np.full((view.depth.size, 4), np.inf, np.float32)
    planes[:, :3] = 0
    planes[hit, :3] = normal
    planes[hit, 3] = np.einsum("ij,ij->i", camera_points(view.camera, view.depth, hit, np.float32), normal)
    origin = view.camera.camera_to_world[:3, 3].astype(np.float32)
    return _Front(rotation, origin, float(np.tan(view.camera.fov / 2)), planes, view.depth.shape[0])
