"""Which pixels of a view have a surface behind them that no view sees: the interior mask beside each view.

A surface point is seen when it lies on the first surface of some view at the pixel where it falls. The views
themselves answer that; `fuse` later labels points by rays over all directions, which is stricter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from render.bundle import View
from render.pinhole import camera_points, world_points

SKIN = 2e-3  # normalized units: what lies no deeper under a seen surface is part of it
NEAR = 2  # pixels: the side of a cell; what no seen point is near cannot be seen
EDGE = 2  # pixels: a point farther off every first surface cannot lie beside the edge of one


@dataclass(frozen=True)
class _Front:
    """The first surfaces of one view, as a plane a pixel in camera axes."""

    rotation: np.ndarray  # (3, 3) float32, world to camera
    origin: np.ndarray  # (3,) float32
    half: float  # tangent of half the field of view
    planes: np.ndarray  # (H * W, 4) float32: unit normal and offset; offset is infinite where nothing is
    size: int

    @property
    def pixel(self) -> float:
        """A pixel's width at the distance of the origin, normalized units."""
        return 2 * self.half * float(np.linalg.norm(self.origin)) / self.size

    def off(self, points: np.ndarray, shift: tuple[float, float] = (0, 0)) -> np.ndarray:
        """(N,) float32: how far each of the (N, 3) float32 world points lies off the first surface of the
        pixel where it falls, or of the one `shift` pixels right and down of there."""
        local = (points - self.origin) @ self.rotation.T
        place = (local[:, :2] / (-local[:, 2:] * self.half) * (0.5, -0.5) + 0.5) * self.size + shift
        column, row = place.astype(np.int32).clip(0, self.size - 1).T
        plane = self.planes[row * self.size + column]
        return np.abs(np.einsum("ij,ij->i", local, plane[:, :3]) - plane[:, 3])


class _Surroundings:
    """The space around everything that the views see, as cells of a grid over the normalized box."""

    def __init__(self, views: Sequence[View], cell: float):
        self.cell = max(cell, 2 / 256)
        side = int(2 / self.cell) + 4
        cells = np.zeros((side, side, side), bool)
        for view in views:
            seen = world_points(view.camera, view.depth, np.flatnonzero(view.depth), np.float32)
            cells[tuple(self._place(seen).T)] = True
        for axis in range(3):
            cells = cells | np.roll(cells, 1, axis) | np.roll(cells, -1, axis)
        self._cells = cells

    def hold(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool: whether a seen point lies in the cell of each (N, 3) point or in one beside it."""
        return self._cells[tuple(self._place(points).T)]

    def _place(self, points: np.ndarray) -> np.ndarray:
        return ((points + 1) / self.cell + 1).astype(np.int32).clip(1, int(2 / self.cell) + 2)


def interior_masks(views: Sequence[View]) -> list[np.ndarray]:
    """(H, W) bool for each view: a surface lies behind the first that none of the views sees."""
    fronts = [_front(view) for view in views]
    around = _Surroundings(views, NEAR * fronts[0].pixel)
    masks = []
    for view in views:
        mask = np.zeros(view.depth.size, bool)
        pixel, points = _behind(view)
        mask[pixel[~around.hold(points)]] = True
        open_question = ~mask[pixel]
        pixel, points = pixel[open_question], points[open_question]
        across = [float(front.origin @ view.camera.camera_to_world[:3, 3]) for front in fronts]
        opposite_first = [fronts[i] for i in np.argsort(across, kind="stable")]
        mask[pixel[_unseen(points, opposite_first)]] = True
        masks.append(mask.reshape(view.depth.shape))
    return masks


def _behind(view: View) -> tuple[np.ndarray, np.ndarray]:
    """The pixels (N,) and world points (N, 3) of all layers behind the first."""
    pixels = [np.flatnonzero(layer.depth) for layer in view.hidden]
    points = [
        world_points(view.camera, layer.depth, pixel, np.float32)
        for layer, pixel in zip(view.hidden, pixels, strict=True)
    ]
    return (
        np.concatenate([np.zeros(0, np.int64), *pixels]),
        np.concatenate([np.zeros((0, 3), np.float32), *points]),
    )


def _unseen(points: np.ndarray, fronts: Sequence[_Front]) -> np.ndarray:
    """Indices of the (N, 3) points that no front sees; each is asked about only until one does.

    A point beside an edge may find its own surface in a neighboring pixel only; what is far from every
    first surface is not asked about again.
    """
    left, nearest = np.arange(len(points)), np.full(len(points), np.inf, np.float32)
    for front in fronts:
        off = front.off(points[left])
        nearest[left] = np.minimum(nearest[left], off)
        left = left[off >= SKIN]
    deep = nearest[left] > EDGE * fronts[0].pixel
    beside = left[~deep]
    for shift in ((-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)):
        for front in fronts:
            beside = beside[front.off(points[beside], shift) >= SKIN]
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
