"""The inside's own scores, so that neither half of a labeled cloud can hide behind the other.

A labeled cloud has (N, 3) points and (N,) bool labels, true for hidden. A score that an object cannot have (a
solid ball has no hidden points to recall) is NaN, and left out of means.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.scores.clouds import Cloud
from training.scores.distances import chamfer, nearest

NAN = float("nan")


def inside_scores(generated: Cloud, true: Cloud, *radii: float) -> dict[str, float]:
    """Every score of one pair of labeled clouds; hidden points match within each of `radii`."""
    drawn, wanted = _hidden(generated), _hidden(true)
    hidden, hidden_true = generated.xyz[drawn], true.xyz[wanted]
    share, share_true = float(drawn.mean()), float(wanted.mean())
    matches = {}
    for radius in radii:
        recall, precision = _near(hidden_true, hidden, radius), _near(hidden, hidden_true, radius)
        matches[f"hidden recall@{radius:g}"] = recall if wanted.any() else NAN
        matches[f"hidden precision@{radius:g}"] = precision if wanted.any() else NAN
    return matches | {
        "label accuracy": float((wanted[nearest(generated.xyz, true.xyz)[1]] == drawn).mean()),
        "hidden share, bias": share - share_true,
        "falsely hidden": NAN if wanted.any() else share,
        "outside Chamfer": _outside(generated.xyz[~drawn], true.xyz[~wanted]),
    }


def share_correlation(generated: Sequence[Cloud], true: Sequence[Cloud]) -> float:
    """Pearson's correlation of generated and true share of hidden points over objects; NaN if constant."""
    shares = np.array([[_hidden(cloud).mean() for cloud in clouds] for clouds in (generated, true)])
    return float(np.corrcoef(shares)[0, 1]) if (shares.std(1) > 0).all() else NAN


def _hidden(cloud: Cloud) -> np.ndarray:
    if cloud.hidden is None:
        raise ValueError(f"{cloud.name}: no labels")
    return cloud.hidden


def _near(points: np.ndarray, others: np.ndarray, radius: float) -> float:
    """The share of `points` within `radius` of one of `others`; 0 without either.

    So a cloud that hides nothing has no precision either: without points it would be perfect.
    """
    if not len(points) or not len(others):
        return 0.0
    return float((nearest(points, others)[0] <= radius).mean())


def _outside(generated: np.ndarray, true: np.ndarray) -> float:
    return chamfer(generated, true) if len(generated) and len(true) else NAN
