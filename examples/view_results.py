"""What examples/several_views.py finds: scores of clouds, and their table with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from training.conditioning.frames import frame_of
from training.conditioning.shown import View, cropped, cut_to_alpha
from training.evaluate import Sample
from training.scores.bootstrap import Difference, relative_difference
from training.scores.distances import chamfer, f_score


@dataclass(frozen=True)
class Result:
    """How the clouds of one arm are, for one number of views."""

    arm: str
    views: int
    rule: str
    steps: int
    seed: int
    train_seconds: float
    """CPU-seconds of the training."""
    sample_seconds: float
    """CPU-seconds of the sampling, per cloud."""
    chamfer: list[float] = field(repr=False)
    """For each object the mean over its samples."""
    f_score: list[float] = field(repr=False)
    """At 0.1, likewise."""
    posed: bool = True
    """Whether the network is told the views' cameras, if it takes any."""

    @property
    def way(self) -> str:
        """How the views were used."""
        return self.rule if self.posed else "unposed"


def turned_back(clouds: np.ndarray, given: Sequence[Sequence[View]], crop: bool) -> np.ndarray:
    """Clouds (K, C, N) that stand as in their first pictures, turned to the objects' frame for the scores."""
    first = torch.from_numpy(np.stack([views[0].camera for views in given if views[0].camera is not None]))
    if crop:
        first = cropped(first, torch.tensor([cut_to_alpha(views[0].image)[1] for views in given]))
    return frame_of(first).leave(torch.from_numpy(clouds)).numpy()


def judged(clouds: np.ndarray, samples: Sequence[Sample]) -> np.ndarray:
    """Chamfer distance and F-score of clouds (K, C, N) against as many true points: (K, 2)."""
    true = [sample.cloud[:3, : clouds.shape[2]].T for sample in samples]
    pairs = list(zip((cloud[:3].T for cloud in clouds), true, strict=True))
    return np.array([(chamfer(*pair), f_score(*pair, 0.1)) for pair in pairs])


def table(results: Sequence[Result]) -> str:
    """As Markdown, with paired differences: to one view of today's model, after as many steps and at no less
    CPU, and to the arm's fewer views."""
    base = next((r for r in results if (r.arm, r.views) == ("today", 1)), results[0])
    names = ("arm", "views", "Chamfer", "F@0.1", "against today's", "lower for", "at equal CPU")
    names += ("against fewer views", "CPU-s")
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for result in results:
        fewer = [r for r in results if (r.arm, r.way) == (result.arm, result.way) and r.views < result.views]
        change, equal = _change(result, base), as_costly(results, result)
        cells = [
            result.arm + ("" if result.way == "together" else f", {result.way}"),
            f"{result.views}",
            f"{np.mean(result.chamfer):.4f}",
            f"{np.mean(result.f_score):.3f}",
            "" if result is base else _percent(change),
            "" if result is base else f"{change.lower} of {change.count}",
            _percent(_change(result, equal)) if equal else "",
            _percent(_change(result, fewer[-1])) if fewer else "",
            f"{result.train_seconds:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def as_costly(results: Sequence[Result], result: Result) -> Result | None:
    """One view of today's model, trained for as many CPU-seconds or the next more that there are.

    None if it has had fewer, and for today's model itself.
    """
    today = [r for r in results if r.arm.startswith("today") and r.views == 1]
    dearer = [r for r in today if r.train_seconds >= result.train_seconds]
    if result.arm.startswith("today") or not dearer:
        return None
    return min(dearer, key=lambda r: r.train_seconds)


def _change(result: Result, base: Result) -> Difference:
    return relative_difference(np.array(result.chamfer), np.array(base.chamfer))


def _percent(change: Difference) -> str:
    return f"{change.mean:+.1%} [{change.low:+.1%}, {change.high:+.1%}]"
