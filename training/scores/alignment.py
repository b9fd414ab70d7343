"""Turn a generated cloud to the true one before it is judged, where the generator cannot know the pose.

`azimuth` turns about the vertical axis (z), which a single image without a camera leaves open. `icp` goes on
from there with rigid steps (Besl and McKay 1992). Neither scales or mirrors.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.spatial import KDTree

from training.scores.distances import chamfer

Alignment = Literal["none", "azimuth", "icp"]
_COARSE, _FINE = 36, 1.0  # turns of 10 degrees, then of 1


def align(a: np.ndarray, b: np.ndarray, how: Alignment) -> np.ndarray:
    """`a`, (N, 3), moved onto `b`, (M, 3)."""
    if how == "none":
        return a
    turned = turn(a, best_azimuth(a, b))
    return turned if how == "azimuth" else icp(turned, b)


def turn(cloud: np.ndarray, degrees: float) -> np.ndarray:
    """(N, 3) turned about the z axis, counterclockwise from above."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return cloud @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])


def best_azimuth(a: np.ndarray, b: np.ndarray) -> float:
    """The turn of `a`, (N, 3), in degrees, with the least Chamfer distance to `b`, (M, 3), to one degree."""
    step = 360 / _COARSE
    best = _least(a, b, step * np.arange(_COARSE))
    return _least(a, b, best + np.arange(-step / 2, step / 2 + _FINE, _FINE)) % 360


def icp(a: np.ndarray, b: np.ndarray, steps: int = 50) -> np.ndarray:
    """`a`, (N, 3), moved rigidly so that its points come near their nearest ones of `b`, (M, 3)."""
    tree, last = KDTree(b), np.inf
    for _ in range(steps):
        gaps, chosen = tree.query(a)
        if last - gaps.mean() < 1e-6:
            break
        a, last = _fit(a, b[chosen]), gaps.mean()
    return a


def _least(a: np.ndarray, b: np.ndarray, turns: np.ndarray) -> float:
    return float(turns[np.argmin([chamfer(turn(a, degrees), b) for degrees in turns])])


def _fit(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`a` under the rigid motion that brings it nearest to its counterparts `b` (Kabsch 1976)."""
    mid_a, mid_b = a.mean(0), b.mean(0)
    u, _, vt = np.linalg.svd((a - mid_a).T @ (b - mid_b))
    flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    return (a - mid_a) @ (u @ flip @ vt) + mid_b
