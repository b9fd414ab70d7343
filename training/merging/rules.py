"""Rules without learning that merge K clouds of one object. Pure functions of lists of (C, N) float32 arrays.

All channels of a point (color, label) stay with it; only `mean` mixes them. The clouds share one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from fuse.sampling import farthest_points, spacing
from training.merging.settings import FROM_PICTURES, MergeRule

ON_OBJECT = 0.5
"""Alpha from here on is the object."""
Merge = Callable[[Sequence[np.ndarray], int], np.ndarray]
"""K clouds (C, N) of any sizes and a number of points -> a cloud (C, points)."""


@dataclass(frozen=True)
class Shown:
    """What posed pictures say of K clouds (C, N) (`pictures.shown_by`)."""

    alpha: np.ndarray
    """(sum of N,) float32: for each of their points, in order, the least alpha of the pictures there."""
    hull: np.ndarray
    """(C, M) float32: points anywhere in the visual hull, what all pictures leave of space."""


def rule_of(name: MergeRule, radius: float | None = None, shown: Shown | None = None) -> Merge:
    """A rule by its name; `radius` for `consensus`, `shown` for `silhouettes` and `hull`."""
    rules: dict[MergeRule, Merge] = {
        "union": union, "sample": sample, "consensus": partial(consensus, radius=radius), "mean": mean,
    }  # fmt: skip
    if shown is not None:
        rules |= {"silhouettes": partial(silhouettes, shown=shown.alpha), "hull": partial(hull, shown=shown)}
    elif name in FROM_PICTURES:
        raise ValueError("silhouettes are those of pictures: give what they show")
    return rules[name]


def union(clouds: Sequence[np.ndarray], points: int) -> np.ndarray:
    """A farthest-point sample of all points of K clouds (C, N): (C, points).

    Where there are fewer distinct points, they are repeated in order.
    """
    every = np.concatenate(clouds, axis=1)
    return every[:, _spread(every, points)]


def sample(clouds: Sequence[np.ndarray], points: int) -> np.ndarray:
    """An equal share of the points of each of K clouds (C, N), evenly spread over their order: (C, points).

    It keeps their density, where a farthest-point sample takes every stray point.
    """
    shares = np.diff([points * i // len(clouds) for i in range(len(clouds) + 1)])
    parts = zip(clouds, shares.tolist(), strict=True)
    return np.concatenate(
        [cloud[:, np.arange(n) * cloud.shape[1] // max(1, n)] for cloud, n in parts], axis=1
    )


def consensus(
    clouds: Sequence[np.ndarray], points: int, radius: float | None = None, least: int = 1
) -> np.ndarray:
    """The union of those points that at least `least` other clouds confirm, (C, points) of K clouds (C, N).

    A cloud confirms a point if it has one within `radius`; None: the median of the clouds' spacings. If fewer
    than `points` are confirmed, those nearest to being so follow.
    """
    if len(clouds) <= least:
        return union(clouds, points)
    radius = float(np.median([_spacing(cloud) for cloud in clouds])) if radius is None else radius
    gaps = support(clouds, least)
    return _best(np.concatenate(clouds, axis=1), gaps, gaps <= radius, points)


def silhouettes(clouds: Sequence[np.ndarray], points: int, shown: np.ndarray) -> np.ndarray:
    """The union of those points that fall on the object in every picture, (C, points) of K clouds (C, N).

    `shown`: (sum of N,), for each point in order the least alpha of the pictures where it falls
    (`pictures.least_alpha`). If fewer than `points` fall on it, those nearest to doing so follow.
    """
    return _best(np.concatenate(clouds, axis=1), -shown, shown >= ON_OBJECT, points)


def hull(clouds: Sequence[np.ndarray], points: int, shown: Shown) -> np.ndarray:
    """The union of the visual hull and of those points of K clouds (C, N) that fall on the object in every
    picture, (C, points).

    Few points of a weak model's clouds fall on the object; the hull fills the rest of it. Without any of
    either, those nearest to falling on it follow.
    """
    if shown.hull.shape[1] == 0:
        return silhouettes(clouds, points, shown.alpha)
    confirmed = np.concatenate(clouds, axis=1)[:, shown.alpha >= ON_OBJECT]
    return union([confirmed, shown.hull], points)


def support(clouds: Sequence[np.ndarray], least: int = 1) -> np.ndarray:
    """For each point of K clouds (C, N), in order, how near `least` other clouds come: (sum of N,) float64.

    That is the `least`-th smallest of its distances to the other clouds.
    """
    trees = [KDTree(cloud[:3].T) for cloud in clouds]
    found = []
    for i, cloud in enumerate(clouds):
        others = [tree.query(cloud[:3].T)[0] for j, tree in enumerate(trees) if j != i]
        found.append(np.sort(np.stack(others), axis=0)[least - 1])
    return np.concatenate(found)


def mean(clouds: Sequence[np.ndarray], points: int) -> np.ndarray:
    """The first cloud's points, each moved to the mean of itself and its partners in the others, (C, points).

    All of the K clouds (C, N) are reduced to `points`; partners are those of the assignment of least squared
    distance. A label is that of most partners.
    """
    first, *others = (union([cloud], points) for cloud in clouds)
    matched = [first]
    for other in others:
        costs = cdist(first[:3].T, other[:3].T, "sqeuclidean")
        matched.append(other[:, linear_sum_assignment(costs)[1]])
    merged = np.mean(matched, axis=0, dtype=np.float32)
    if len(merged) == 7:
        merged[6] = np.where(merged[6] > 0, 1, -1)
    return merged


def _best(every: np.ndarray, faults: np.ndarray, good: np.ndarray, points: int) -> np.ndarray:
    """A farthest-point sample of the good points of (C, N), or of those of least faults: (C, points)."""
    chosen = np.flatnonzero(good)
    if len(chosen) < points:
        chosen = np.argsort(faults, kind="stable")[:points]
    return every[:, chosen[_spread(every[:, chosen], points)]]


def _spread(cloud: np.ndarray, points: int) -> np.ndarray:
    """Indices (points,) of a farthest-point sample of (C, N), repeated where it has too few points."""
    return np.resize(farthest_points(np.ascontiguousarray(cloud[:3].T, np.float32), points), points)


def _spacing(cloud: np.ndarray) -> float:
    return spacing(np.ascontiguousarray(cloud[:3].T, np.float32))
