"""Surfaces along rays: their order, and what one view's rays cross."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from render.bundle import Surface

HOLE = 0.5  # where an alpha that varies over a surface is below this, the surface is absent
COINCIDENT = 3e-6  # share of the depth: surfaces closer together than this are one, split by rounding


@dataclass(frozen=True)
class Surfaces:
    """The N solid surfaces that one view's rays cross, ray by ray, nearest first."""

    pixel: np.ndarray  # (N,) int64, row-major
    rank: np.ndarray  # (N,) int64: index along its ray, from 0
    depth: np.ndarray  # (N,) float32, planar z, normalized units
    albedo: np.ndarray  # (N, 3) uint8 sRGB
    normal: np.ndarray  # (N, 3) float32, world, facing the camera
    shape: tuple[int, int]  # height and width of the view

    def layers(self) -> list[Surface]:
        """The surfaces at each index along their rays, from 0; only the first may have none."""
        order = np.argsort(self.rank, kind="stable")
        pixel, depth, albedo, normal = (
            values.take(order, axis=0) for values in (self.pixel, self.depth, self.albedo, self.normal)
        )
        ends = np.cumsum(np.bincount(self.rank, minlength=1))
        parts = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        return [Surface(pixel[part], depth[part], albedo[part], normal[part]) for part in parts]


def along_rays(ray: np.ndarray, depth: np.ndarray, deepest: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of N surfaces count, ray by ray, nearest first (M,), and the index of each along its ray (M,).

    `ray` (N,) int64 and `depth` (N,) float32, above 0, are in any order. Coincident surfaces count once, and
    only the first `deepest` of a ray do.
    """
    order = np.argsort(ray << 32 | depth.view(np.uint32), kind="stable")  # floats above 0 sort as their bits
    ray, depth = ray[order], depth[order]
    apart = np.ones(len(order), bool)
    apart[1:] = (ray[1:] != ray[:-1]) | (np.diff(depth) > COINCIDENT * depth[1:])
    order, ray = order[apart], ray[apart]
    first = np.flatnonzero(np.diff(ray, prepend=-1))
    rank = np.arange(len(ray)) - np.repeat(first, np.diff(first, append=len(ray)))
    kept = rank < deepest
    return order[kept], rank[kept]
