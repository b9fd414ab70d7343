"""Fréchet and kernel distance between two sets of features, (A, D) and (B, D).

The Fréchet distance (Heusel et al. 2017, arXiv:1706.08500) is biased upward for few samples, and with fewer
than D of them its covariance is singular: compare only sets of equal size. The kernel distance (Binkowski et
al. 2018, arXiv:1801.01401) is unbiased, so it may be slightly negative.
"""

from __future__ import annotations

import numpy as np


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The squared Fréchet distance of the normal distributions fitted to (A, D) and (B, D)."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = _root(first)
    shared = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * shared)


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The squared maximum mean discrepancy of (A, D) and (B, D), kernel (x . y / D + 1)^3, without bias."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    within = [_mean_off_diagonal(_kernel(one, one)) for one in (a, b)]
    return float(sum(within) - 2 * _kernel(a, b).mean())


def _root(matrix: np.ndarray) -> np.ndarray:
    """The square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _mean_off_diagonal(matrix: np.ndarray) -> float:
    count = len(matrix)
    return float((matrix.sum() - matrix.trace()) / (count * (count - 1)))
