"""Distances between a generated cloud and the true one. Clouds are (N, D) arrays in their own units."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import KDTree


def nearest(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each point of `a`, (N, D), the distance to the nearest of `b`, (M, D), and its index; (N,) each."""
    gaps, indices = KDTree(b).query(a)
    return np.asarray(gaps), np.asarray(indices)


def chamfer(a: np.ndarray, b: np.ndarray) -> float:
    """The Chamfer distance of clouds (N, D) and (M, D) as a mean distance.

    The average over both directions of the mean (unsquared) distance to the nearest point of the other cloud.
    0 for equal sets; two samples of one surface have a distance of about half their spacing.
    """
    return float(nearest(a, b)[0].mean() + nearest(b, a)[0].mean()) / 2


def squared_chamfer(a: np.ndarray, b: np.ndarray) -> float:
    """The other common form, for (N, D) and (M, D): the sum of both directions' mean squared distances."""
    return float((nearest(a, b)[0] ** 2).mean() + (nearest(b, a)[0] ** 2).mean())


def f_score(a: np.ndarray, b: np.ndarray, threshold: float) -> float:
    """The harmonic mean of precision and recall of (N, D) for the true (M, D), 0 to 1.

    Precision is the share of generated points within `threshold` of a true one, recall the reverse.
    """
    precision = (nearest(a, b)[0] <= threshold).mean()
    recall = (nearest(b, a)[0] <= threshold).mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def density_aware_chamfer(a: np.ndarray, b: np.ndarray, alpha: float = 1000.0) -> float:
    """Density-aware Chamfer distance (DCD, arXiv:2111.12702) of (N, D) and (M, D), 0 to 1 for equal sizes.

    A point that many points choose as their nearest counts once, and a squared distance d is worth
    1 - exp(-alpha d). The published alpha suits clouds of 16,384 points; fewer points saturate it.
    """
    return (_density_term(a, b, alpha) + _density_term(b, a, alpha)) / 2


def _density_term(a: np.ndarray, b: np.ndarray, alpha: float) -> float:
    gaps, chosen = nearest(a, b)
    rivals = np.bincount(chosen, minlength=len(b))[chosen]
    return float((1 - np.exp(-alpha * gaps**2) / rivals * (len(a) / len(b))).mean())


def chamfer_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, N, D) against (B, M, D) -> (A, B) float64 Chamfer distances (mean distance)."""
    first, second = (torch.as_tensor(np.asarray(clouds), dtype=torch.float32) for clouds in (a, b))
    result = np.empty((len(first), len(second)))
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            # The matrix-product shortcut for distances is off by 1e-3 near 0.
            gaps = torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")
            result[i, j] = (gaps.amin(0).mean() + gaps.amin(1).mean()) / 2
    return result
