"""The network's frame: coordinates, colors and the hidden label to channels, and back.

Every channel spans [-1, 1]: xyz as in the shards (longest side 2), color bytes / 127.5 - 1, and the label, -1
outside and +1 hidden. Point-E's clouds have a longest side of 1 and it scales xyz by 2 first, which is
equivalent. A cloud has 3 channels (xyz), 6 (with color) or 7 (with label).
"""

from __future__ import annotations

import numpy as np

GRAY = 160
"""The color byte of a cloud without colors."""


def to_network(
    xyz: np.ndarray,
    rgb: np.ndarray | None = None,
    hidden: np.ndarray | bool | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """(N, 3) float32 in [-1, 1], (N, 3) uint8 and (N,) bool -> (C, N) float32, C = 3, 6 or 7."""
    if out is None:
        out = np.empty((3 + 3 * (rgb is not None) + (hidden is not None), len(xyz)), np.float32)
    out[:3] = xyz.T
    if rgb is not None:
        np.multiply(rgb.T, np.float32(1 / 127.5), out=out[3:6])
        out[3:6] -= 1
    if hidden is not None:
        out[-1] = np.where(hidden, 1, -1)
    return out


def from_network(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(C, N) float32 -> (N, 3) float32 xyz and (N, 3) uint8 colors, clipped; gray if it has none."""
    xyz = np.ascontiguousarray(points[:3].T, np.float32)
    if len(points) < 6:
        return xyz, np.full(xyz.shape, GRAY, np.uint8)
    return xyz, np.rint((points[3:6].T + 1) * 127.5).clip(0, 255).astype(np.uint8)


def hidden_of(points: np.ndarray) -> np.ndarray | None:
    """(C, N) -> (N,) bool, which points are hidden; None where there is no label channel."""
    return points[6] > 0 if len(points) == 7 else None
