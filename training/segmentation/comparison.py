"""Does a model make better insides when it is shown masks? Its clouds without, with predicted and true ones.

    print("\\n".join(compare_insides(EvaluateSettings(DATASET, RUN, see_inside=("none", "true"))).lines()))

The same objects, views and noise each time, so that the differences are of the masks alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fuse.dataset.layout import open_dataset
from training.conditioning.masks import Behind
from training.conditioning.shown import View
from training.config import TrainConfig
from training.evaluate import Sample, chosen_split, read_samples, shown_behind
from training.generator import Generator
from training.scores.bootstrap import Interval, mean_interval, paired_difference
from training.scores.clouds import Cloud, distinct, from_channels
from training.scores.inside import share_correlation
from training.scores.report import Values, values_of
from training.settings import EvaluateSettings, SeeInside

CORRELATION = "hidden share, correlation"
"""A score of a set of objects, which has no value for each."""


@dataclass(frozen=True)
class InsideComparison:
    """The scores of the same objects by what the model was shown behind their views."""

    objects_of: str
    views: int
    """Views of each object, one at a time."""
    samples: int
    """Clouds per view; an object's scores are means over all of its clouds."""
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
        title = f"{count} {self.objects_of}, {self.views} views each, {self.samples} clouds per view"
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


@dataclass
class _Tally:
    """The scores of the clouds of one kind of masks, so far."""

    values: list[Values] = field(default_factory=list)
    """Of each view and sample: by score, (K,) values of K objects."""
    correlations: list[float] = field(default_factory=list)

    def add(self, made: Sequence[Cloud], true: Sequence[Cloud], settings: EvaluateSettings) -> None:
        """Score a cloud of each object."""
        self.values.append(values_of(made, true, settings))
        if all(cloud.hidden is not None for cloud in [*made, *true]):
            self.correlations.append(share_correlation(made, true))

    def means(self) -> Values:
        """By score, the mean over each object's clouds, (K,); NaN where the object cannot have it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # objects that cannot have the score
            means = {name: np.nanmean([one[name] for one in self.values], 0) for name in self.values[0]}
        return {name: each for name, each in means.items() if not np.isnan(each).all()}

    def correlation(self) -> float:
        """The mean over the sets; NaN without labels."""
        return float(np.mean(self.correlations or np.nan))


def compare_insides(settings: EvaluateSettings, samples: int = 1, views: int = 1) -> InsideComparison:
    """Evaluate with each of `settings.see_inside`; the first kind is what the others are compared with.

    Each object is generated from its views `settings.view`.., `views` of them one after the other, `samples`
    times each, every time from another seed, the same for all kinds. Intervals are over objects: more clouds
    of each narrow them, more objects too. Raises what `evaluate` raises.
    """
    generator = Generator(settings.checkpoint, segmenter=settings.segmenter, **settings.opening)
    for kind in settings.see_inside:
        shown_behind(generator, replace(settings, see_inside=(kind,)))  # refuses what the model cannot take
    tallies: dict[SeeInside, _Tally] = {kind: _Tally() for kind in settings.see_inside}
    objects_of = ""
    for view in range(views):
        objects, objects_of = _objects(generator.config, replace(settings, view=settings.view + view))
        true = [distinct(from_channels(one.uid, one.cloud)) for one in objects]
        for kind, tally in tallies.items():
            for seed in range(settings.seed + view * samples, settings.seed + (view + 1) * samples):
                tally.add(_made(generator, objects, kind, replace(settings, seed=seed)), true, settings)
    return InsideComparison(
        objects_of,
        views,
        samples,
        {kind: tally.means() for kind, tally in tallies.items()},
        {kind: tally.correlation() for kind, tally in tallies.items()},
    )


def _objects(config: TrainConfig, settings: EvaluateSettings) -> tuple[list[Sample], str]:
    """The objects with their true masks, if they are to be shown, and a line that says whose they are."""
    clouds = open_dataset(settings.dataset).clouds
    split, objects_of = chosen_split(clouds, config, settings.split)
    shown = range(settings.view, settings.view + (settings.views or config.views_most))
    behind: SeeInside = "true" if "true" in settings.see_inside else "none"
    points = 2 * settings.points  # as `evaluate` compares with
    return read_samples(clouds, config, settings.count, shown, points, split, behind=behind), objects_of


def _made(
    generator: Generator, objects: Sequence[Sample], kind: SeeInside, settings: EvaluateSettings
) -> list[Cloud]:
    """A cloud of each object, from its views and these masks."""
    items = [[replace(view, behind=_behind(view, kind)) for view in one.views] for one in objects]
    found = generator.sample(items, settings.points, settings.sampling)
    return [from_channels(one.uid, cloud) for one, cloud in zip(objects, found, strict=True)]


def _behind(view: View, kind: SeeInside) -> Behind:
    """What is shown behind a view that was read with its true masks."""
    return {"none": None, "predicted": "predicted", "true": view.behind}[kind]


def _short(interval: Interval, sign: str = "") -> str:
    return f"{interval.mean:{sign}.3f} [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]"
