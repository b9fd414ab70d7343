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
    """As Markdown, with paired differences: to one view of today's model, and to the arm's fewer views."""
    base = next((r for r in results if (r.arm, r.views) == ("today", 1)), results[0])
    lines = [
        "| arm | views | Chamfer | F@0.1 | against today's | lower for | against fewer views | CPU-s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        fewer = [r for r in results if (r.arm, r.way) == (result.arm, result.way) and r.views < result.views]
        change = relative_difference(np.array(result.chamfer), np.array(base.chamfer))
        cells = [
            result.arm + ("" if result.way == "together" else f", {result.way}"),
            f"{result.views}",
            f"{np.mean(result.chamfer):.4f}",
            f"{np.mean(result.f_score):.3f}",
            "" if result is base else _percent(change),
            "" if result is base else f"{change.lower} of {change.count}",
            _percent(relative_difference(np.array(result.chamfer), np.array(fewer[-1].chamfer)))
            if fewer
            else "",
            f"{result.train_seconds:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _percent(change: Difference) -> str:
    return f"{change.mean:+.1%} [{change.low:+.1%}, {change.high:+.1%}]"
