"""What examples/several_views.py finds: scores of clouds, and their table with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from training.conditioning.frames import frame_of
from training.conditioning.shown import View, cropped, cut_to_alpha
from training.evaluate import Sample
from training.scores.bootstrap import relative_difference
from training.scores.distances import chamfer, f_score

COUNTS = (1, 2, 4, 8)
"""Numbers of views, the table's columns."""


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
    """As Markdown: a line per arm with Chamfer distances and paired differences, then those at equal CPU.

    The differences are to one view of today's model, after as many steps, and of eight views to four.
    """
    base = next((r for r in results if (r.arm, r.views) == ("today", 1)), results[0])
    names = ("arm", *(f"{count} view{'s' * (count > 1)}" for count in COUNTS))
    names += ("one against today's", "four against today's", "eight against four", "CPU-s")
    lines, equal = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"], [""]
    for arm, way in dict.fromkeys((r.arm, r.way) for r in results):
        found = {r.views: r for r in results if (r.arm, r.way) == (arm, way)}
        one, four, eight = (found.get(count) for count in (1, 4, 8))
        name, some = arm + ("" if way == "together" else f", {way}"), next(iter(found.values()))
        cells = [name, *(f"{np.mean(found[n].chamfer):.4f}" if n in found else "" for n in COUNTS)]
        cells += [_percent(one, base), _percent(four, base), _percent(eight, four)]
        lines.append(f"| {' | '.join([*cells, f'{some.train_seconds:.0f}'])} |")
        if costly := as_costly(results, some):
            changes = f"one view {_percent(one, costly)}, four views {_percent(four, costly)}"
            equal.append(f"- {name}, against {costly.arm}: {changes}")
    return "\n".join(lines + equal)


def as_costly(results: Sequence[Result], result: Result) -> Result | None:
    """One view of today's model, trained for as many CPU-seconds or the next more that there are.

    None if it has had fewer, and for today's model itself.
    """
    today = [r for r in results if r.arm.startswith("today") and r.views == 1]
    dearer = [r for r in today if r.train_seconds >= result.train_seconds]
    if result.arm.startswith("today") or not dearer:
        return None
    return min(dearer, key=lambda r: r.train_seconds)


def _percent(these: Result | None, those: Result | None) -> str:
    if these is None or those is None or these is those:
        return ""
    change = relative_difference(np.array(these.chamfer), np.array(those.chamfer))
    return f"{change.mean:+.1%} [{change.low:+.1%}, {change.high:+.1%}]"
