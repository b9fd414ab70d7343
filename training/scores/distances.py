"""Distances between clouds."""

from __future__ import annotations

import numpy as np
import torch


def chamfer(a: np.ndarray, b: np.ndarray) -> float:
    """The Chamfer distance of clouds (N, D) and (M, D), in their own units.

    The average over both directions of the mean (unsquared) distance to the nearest point of the other cloud.
    0 for equal sets; two samples of one surface have a distance of about half their spacing.
    """
    return float(chamfer_matrix(a[None], b[None])[0, 0])


def chamfer_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, N, D) against (B, M, D) -> (A, B) float64 Chamfer distances."""
    first, second = (torch.as_tensor(np.asarray(clouds), dtype=torch.float32) for clouds in (a, b))
    result = np.empty((len(first), len(second)))
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            # The matrix-product shortcut for distances is off by 1e-3 near 0.
            gaps = torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")
            result[i, j] = (gaps.amin(0).mean() + gaps.amin(1).mean()) / 2
    return result
