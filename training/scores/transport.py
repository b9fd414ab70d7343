"""The earth mover's distance (EMD): how far points move on average, if one cloud is moved onto the other."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

EXACT = 1024
"""Points up to which the assignment is exact; it costs about a CPU second here, and grows with the cube."""


def emd(a: np.ndarray, b: np.ndarray) -> float:
    """EMD of two clouds (N, D) of equal size: exact up to `EXACT` points, beyond by Sinkhorn's iterations."""
    if len(a) != len(b):
        raise ValueError(
            f"clouds of {len(a)} and {len(b)} points: the earth mover's distance needs equal sizes"
        )
    return exact_emd(a, b) if len(a) <= EXACT else sinkhorn_emd(a, b)


def exact_emd(a: np.ndarray, b: np.ndarray) -> float:
    """The mean distance of the best assignment of (N, D) to (N, D)."""
    costs = cdist(a, b)
    return float(costs[linear_sum_assignment(costs)].mean())


def sinkhorn_emd(a: np.ndarray, b: np.ndarray, blur: float = 0.005, rounds: int = 30) -> float:
    """The cost of a slightly blurred transport plan from (N, D) to (M, D), a little above the exact one.

    Sinkhorn's iterations in the logarithm (arXiv:1306.0895): `rounds` at each blur, halved from the clouds'
    extent down to `blur`. What then lacks to a plan is added, so the cost never falls below the exact one.
    """
    costs = torch.from_numpy(cdist(a, b))
    rows, columns = costs.new_full((len(a),), 1 / len(a)), costs.new_full((len(b),), 1 / len(b))
    f, g = torch.zeros_like(rows), torch.zeros_like(columns)
    extent = max(float(costs.max()), 2 * blur)
    for scale in (extent / 2**k for k in range(1, int(np.log2(extent / blur)) + 1)):
        for _ in range(rounds):
            f = -scale * torch.logsumexp((g - costs) / scale + columns.log(), 1)
            g = -scale * torch.logsumexp((f[:, None] - costs) / scale + rows.log()[:, None], 0)
    plan = torch.exp((f[:, None] + g - costs) / scale) * rows[:, None] * columns
    return float((_completed(plan, rows, columns) * costs).sum())


def _completed(plan: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """The plan with exactly these sums of rows and columns (Altschuler et al. 2017, arXiv:1705.09634)."""
    plan = plan * (rows / plan.sum(1)).clamp(max=1)[:, None]
    plan = plan * (columns / plan.sum(0)).clamp(max=1)
    row_gap, column_gap = rows - plan.sum(1), columns - plan.sum(0)
    return plan + row_gap[:, None] * column_gap / row_gap.sum().clamp(min=1e-300)
