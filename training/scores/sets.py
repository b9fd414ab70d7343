"""Scores of a set of clouds against a set of true ones, from matrices of distances between clouds.

Definitions: Achlioptas et al. 2018 (coverage, MMD; arXiv:1707.02392), Yang et al. 2019 (1-NNA;
arXiv:1906.12320).
"""

from __future__ import annotations

import numpy as np

from training.scores.distances import chamfer_matrix
from training.scores.transport import emd


def coverage(cross: np.ndarray) -> float:
    """The share of true clouds that are some generated cloud's nearest; `cross` is (generated, true)."""
    return len(np.unique(cross.argmin(1))) / cross.shape[1]


def minimum_matching_distance(cross: np.ndarray) -> float:
    """MMD: the mean distance of a true cloud to its nearest generated one; `cross` is (generated, true)."""
    return float(cross.min(0).mean())


def nearest_neighbor_accuracy(own: np.ndarray, cross: np.ndarray, true: np.ndarray) -> float:
    """1-NNA: how often a cloud's nearest other cloud is of its own kind. 0.5 is ideal, 1 worst.

    Of A generated and B true clouds, `own` is (A, A), `cross` (A, B), `true` (B, B).
    """
    whole = np.block([[own, cross], [cross.T, true]])
    np.fill_diagonal(whole, np.inf)
    kinds = np.arange(len(whole)) < len(own)
    return float((kinds[whole.argmin(1)] == kinds).mean())


def distance_matrix(a: np.ndarray, b: np.ndarray, distance: str = "chamfer") -> np.ndarray:
    """(A, N, D) against (B, N, D) -> (A, B) distances, `chamfer` or `emd`."""
    if distance == "chamfer":
        return chamfer_matrix(a, b)
    return np.array([[emd(one, other) for other in b] for one in a])


def set_scores(generated: np.ndarray, true: np.ndarray, distance: str = "chamfer") -> dict[str, float]:
    """The three scores of clouds (A, N, 3) against true clouds (B, N, 3)."""
    cross = distance_matrix(generated, true, distance)
    own, real = distance_matrix(generated, generated, distance), distance_matrix(true, true, distance)
    return {
        "coverage": coverage(cross),
        "MMD": minimum_matching_distance(cross),
        "1-NNA": nearest_neighbor_accuracy(own, cross, real),
    }
