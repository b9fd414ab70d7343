"""Farthest point sampling in a fixed order: every prefix of the result is itself a farthest-point sample.

fpsample's bucketed k-d tree does the work, 30 to 60 times faster than the plain algorithm. Two of its
properties need care: it permutes the points before it looks up `start_idx`, so it starts at the wrong point;
and it repeats indices when points coincide. Here the order of the input does not matter, coincident points
count once, and the first point is the one farthest from a fixed corner.
Eldar et al., "The farthest point strategy for progressive image sampling" (1997); Han et al., "QuickFPS".
"""

from __future__ import annotations

import numpy as np


def farthest_points(xyz: np.ndarray, count: int) -> np.ndarray:
    """Indices (M,) int64 of `count` points of `xyz` (N, 3) float32 in farthest-point order.

    M < count when there are fewer distinct points: never duplicates. The same set of points gives the same
    sequence of points whatever their order.
    """
    import fpsample  # not here where shards are only read

    order = distinct(xyz)
    count = min(count, len(order))
    if count == 0:
        return order
    points = xyz[order]
    low = points.min(0)
    extent = max(float((points.max(0) - low).max()), 1e-3)
    # an anchor below all points on every axis is on the lower side of every split, so it stays at index 0
    # when the tree permutes the points; it is so far away that it affects no pick after the second
    anchored = np.concatenate([[low - 2 * extent], points]).astype(np.float32)
    height = _height(len(anchored))
    picked = fpsample.bucket_fps_kdline_sampling(anchored, count + 1, height, start_idx=0).astype(np.int64)
    if picked[0] != 0 or len(np.unique(picked)) != count + 1:
        raise RuntimeError(
            "fpsample started elsewhere or repeated a point: install the version pinned in requirements.lock"
        )
    return order[picked[1:] - 1]


def distinct(xyz: np.ndarray) -> np.ndarray:
    """(M,) int64 indices of the distinct points of (N, 3) float32, in lexicographic order of x, y, z."""
    bits = np.ascontiguousarray(xyz + np.float32(0)).view(np.uint32)  # + 0: there is one zero, not two
    order, first = lexicographic(np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)))
    return order[first]


def lexicographic(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The (N,) int64 order of (N, 3) uint32 rows by their columns, equal ones as they came, and the (N,) bool
    first of equals in it."""
    key = rows[:, 0].astype(np.uint64) << np.uint64(32) | rows[:, 1]
    # sorting one key is four times faster than np.lexsort on three; the third counts only where two tie
    order = np.argsort(key, kind="stable")
    first = _firsts(key[order])
    tied = ~first
    tied[:-1] |= tied[1:]
    among = order[tied]
    third = np.cumsum(first, dtype=np.uint64)[tied] << np.uint64(32) | rows[among, 2]
    again = np.argsort(third, kind="stable")
    order[tied] = among[again]
    first[tied] = _firsts(third[again])
    return order, first


def _firsts(values: np.ndarray) -> np.ndarray:
    """(N,) bool: which of (N,) sorted values differ from the one before."""
    return np.concatenate([[True], values[1:] != values[:-1]])[: len(values)]


def spacing(xyz: np.ndarray, probes: int = 512, neighbor: int = 1) -> float:
    """Median distance from the first `probes` of (N, 3) float32 points to their `neighbor`-th nearest
    neighbor; 0 for too few points."""
    if len(xyz) <= neighbor:
        return 0.0
    from scipy.spatial import KDTree  # nor is this needed there

    distance, _ = KDTree(xyz).query(xyz[:probes], neighbor + 1)
    return float(np.median(distance[:, -1]))


def _height(points: int) -> int:
    """The tree's height: 6 up to 50,000 points, 7 up to half a million, 9 beyond, less for few (measured)."""
    best = 6 if points < 50_000 else 7 if points < 500_000 else 9
    return max(1, min(best, int(np.log2(points)) - 2))
