"""Does a model make better insides when it is shown masks? Its clouds without, with predicted and true ones.

    print("\\n".join(compare_insides(EvaluateSettings(DATASET, RUN, see_inside=("none", "true"))).lines()))

The same objects, views and noise each time, so that the differences are of the masks alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from training.evaluate import evaluate
from training.scores.bootstrap import Interval, mean_interval, paired_difference
from training.scores.report import Report
from training.settings import EvaluateSettings, SeeInside

CORRELATION = "hidden share, correlation"
"""A score of a set of objects, which has no value for each."""


@dataclass(frozen=True)
class InsideComparison:
    """The scores of the same objects by what the model was shown behind their views."""

    objects_of: str
    samples: int
    """Clouds per object, over which its scores are means."""
    values: Mapping[SeeInside, Mapping[str, np.ndarray]]
    """By kind of masks and score, (K,) values of K objects."""
    correlations: Mapping[SeeInside, float]

    def lines(self) -> list[str]:
        """A table in Markdown: scores with their intervals, and paired differences from the first kind."""
        first, *others = self.values
        count = len(next(iter(self.values[first].values())))
        head = ["score", first, *(text for kind in others for text in (kind, f"{kind} - {first}"))]
        rows = [self._row(name, first, others) for name in self.values[first]]
        rows.append(self._correlation(first, others))
        title = f"{count} {self.objects_of}, {self.samples} clouds each"
        return [title, "", *(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])]

    def _row(self, name: str, first: SeeInside, others: Sequence[SeeInside]) -> list[str]:
        base = self.values[first][name]
        cells = [name, _short(mean_interval(base))]
        for kind in others:
            these = self.values[kind][name]
            cells += [f"{mean_interval(these).mean:.3f}", _short(paired_difference(these, base), "+")]
        return cells

    def _correlation(self, first: SeeInside, others: Sequence[SeeInside]) -> list[str]:
        return [CORRELATION, f"{self.correlations[first]:.3f}"] + [
            text for kind in others for text in (f"{self.correlations[kind]:.3f}", "")
        ]


def compare_insides(settings: EvaluateSettings, samples: int = 1) -> InsideComparison:
    """Evaluate with each of `settings.see_inside`, and `samples` clouds per object, from seeds in turn.

    Raises what `evaluate` raises.
    """
    values: dict[SeeInside, Mapping[str, np.ndarray]] = {}
    correlations: dict[SeeInside, float] = {}
    objects_of = ""
    for kind in settings.see_inside:
        one = replace(settings, see_inside=(kind,), pictures=None, clouds=None, sets=False)
        found = [evaluate(replace(one, seed=settings.seed + i)) for i in range(samples)]
        reports = [each.scores for each in found if each.scores]
        values[kind], objects_of = _means(reports), found[0].objects_of
        correlations[kind] = float(np.mean([_value(report, CORRELATION) for report in reports]))
    common = [
        name for name in values[settings.see_inside[0]] if all(name in some for some in values.values())
    ]
    kept: dict[SeeInside, Mapping[str, np.ndarray]] = {
        kind: {name: some[name] for name in common} for kind, some in values.items()
    }
    return InsideComparison(objects_of, samples, kept, correlations)


def _means(reports: Sequence[Report]) -> dict[str, np.ndarray]:
    """Each score's mean over the reports of the same objects, (K,); NaN where an object cannot have it."""
    found = {}
    for score in reports[0].scores:
        if score.objects is not None and all(_has(report, score.name) for report in reports):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # objects that cannot have the score
                each = np.array([report[score.name].objects for report in reports], float)
                found[score.name] = np.nanmean(each, axis=0)
    return found


def _has(report: Report, name: str) -> bool:
    return any(score.name == name for score in report.scores)


def _value(report: Report, name: str) -> float:
    return report[name].value if _has(report, name) else float("nan")


def _short(interval: Interval, sign: str = "") -> str:
    return f"{interval.mean:{sign}.3f} [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]"
