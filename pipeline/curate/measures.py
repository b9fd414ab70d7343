"""What can be said of one model by numbers: its shape, its colors, its views. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import KDTree

from fuse.dataset.shard import Row, decode
from fuse.dataset.splits import PROBE

_SAME_COLOR = 8  # levels per channel
_NEAR = 1.0  # spacings within which a mirrored point meets the cloud


def measure(row: Row, views: Sequence[np.ndarray]) -> dict[str, float]:
    """The measures of a row that `quality` does not have. `views` are some of its images, (H, W, 4) uint8."""
    return {
        "coverage": coverage(views),
        "symmetry": symmetry(decode(row, "outside_xyz")[:PROBE]),
        "one_color": one_color(decode(row, "outside_albedo")),
        "size": 2 / row["scale"],
    }


def coverage(views: Sequence[np.ndarray]) -> float:
    """The mean share of the image that the object covers; `views` are (H, W, 4) uint8."""
    return float(np.mean([view[..., 3].mean() / 255 for view in views])) if len(views) else float("nan")


def symmetry(xyz: np.ndarray) -> float:
    """The share of the points (N, 3), normalized, that meet the cloud when mirrored: the best of the planes
    x = 0 and y = 0. Objects stand upright, so left and right, or front and back, are what may agree."""
    if len(xyz) < 2:
        return float("nan")
    xyz = xyz.astype(np.float32)
    tree = KDTree(xyz)
    reach = _NEAR * np.median(tree.query(xyz, 2)[0][:, 1])
    mirrored = (xyz * [-1, 1, 1], xyz * [1, -1, 1])
    return max(float((tree.query(points)[0] <= reach).mean()) for points in mirrored)


def one_color(rgb: np.ndarray) -> float:
    """The share of the points whose color, (N, 3) uint8, is the median color: 1 for a model without color."""
    if not len(rgb):
        return float("nan")
    aside = np.abs(rgb.astype(np.int16) - np.median(rgb, axis=0)).max(1)
    return float((aside <= _SAME_COLOR).mean())
