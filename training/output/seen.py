"""Which points of a cloud a picture could have shown, and which are invented: by the cloud's own surface.

    seen = seen_by(xyz, cameras)        # (N,) bool

Every point is a disc, two spacings of the cloud wide, in a z-buffer of each view. A point is seen if its
pixel's depth is its own, give or take a little: nothing of the cloud stands before it.
"""

from __future__ import annotations

import numpy as np
import torch

from fuse.sampling import spacing
from training.conditioning.cameras import project

SIDE = 256
"""Side of a z-buffer, pixels."""
WIDEST = 32
"""Most pixels of a disc's radius: a cloud sparser than that has no surface to stand before another."""
SLACK = 2.0
"""Spacings by which a point may lie behind its pixel's nearest disc: a surface that is seen aslant recedes by
that much within a disc of slope 2 (63 degrees)."""


def seen_by(xyz: np.ndarray, cameras: np.ndarray) -> np.ndarray:
    """Whether any view could show a point: (N, 3) float32 and cameras (V, 19) -> (N,) bool."""
    points, views = torch.from_numpy(xyz.T.copy())[None].float(), torch.from_numpy(cameras)[None].float()
    places, depths = (values[0].numpy() for values in project(points, views))
    apart = spacing(xyz, len(xyz))
    found = np.zeros(len(xyz), bool)
    for place, depth, camera in zip(places, depths, cameras, strict=True):
        found |= _seen(place, depth, apart, apart / float(camera[16]))
    return found


def _seen(place: np.ndarray, depth: np.ndarray, apart: float, radius: float) -> np.ndarray:
    """The same for one view, in which points are at (N, 2) and at depths (N,).

    `radius` is that of a disc at depth 1, in half widths of the picture.
    """
    pixels = np.floor((place + 1) / 2 * SIDE).astype(int)
    shown = (np.abs(place) < 1).all(1)
    radii = (radius / depth * SIDE / 2).clip(0.5, WIDEST)
    buffer = np.full((SIDE, SIDE), np.inf, np.float32)
    reach = int(radii[shown].max(initial=0))
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            at = pixels + np.array([right, down])
            some = (right**2 + down**2 <= radii**2) & (at >= 0).all(1) & (at < SIDE).all(1)
            np.minimum.at(buffer, (at[some, 1], at[some, 0]), depth[some])
    found = np.zeros(len(depth), bool)
    found[shown] = depth[shown] <= buffer[pixels[shown, 1], pixels[shown, 0]] + SLACK * apart
    return found
