"""Every score of generated clouds against true ones, beside its floor and its ceiling.

    print("\n".join(score(generated, true, Scoring()).lines()))

The floor is what the truth itself scores: two samples of each true cloud without a common point or, for sets,
one half of the true clouds against the other. The ceiling is noise in the box of the true clouds. All clouds
are reduced to the same number of points, because most scores depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from render.failures import UserError
from training.scores import distances, features, inside, pointnet, pointnet2, sets, transport
from training.scores.alignment import align
from training.scores.bootstrap import Difference, Interval, mean_interval, paired_difference
from training.scores.clouds import Cloud, halves, noise_like, thinned
from training.settings import Scoring

Values = dict[str, np.ndarray]
"""For each score its values, (K,) of K pairs."""
_MADE, _TRUE, _FLOOR, _NOISE = range(4)  # each side chooses its own points


@dataclass(frozen=True)
class Score:
    """A score, and what truth and noise score."""

    name: str
    value: float
    floor: float
    ceiling: float
    interval: Interval | None = None
    """Of a mean over pairs: its 95 % interval."""
    objects: list[float] | None = None
    """Its value for each pair."""


@dataclass(frozen=True)
class Report:
    """The scores of a set of clouds."""

    names: list[str]
    """The pairs, in the order of `Score.objects`."""
    points: int
    floor_points: int
    """Points of each sample of the floor, fewer than `points` where the true clouds have too few for two."""
    alignment: str
    clouds: tuple[int, int]
    """Numbers of generated and of true clouds, for the scores of sets."""
    scores: list[Score]

    def __getitem__(self, name: str) -> Score:
        return next(score for score in self.scores if score.name == name)

    def record(self) -> dict[str, Any]:
        """Plain values for JSON, which has no NaN: None instead."""
        return _plain(asdict(self))

    def lines(self) -> list[str]:
        """A table for people."""
        fewer = "" if self.floor_points == self.points else f" (floor: {self.floor_points})"
        title = (
            f"{len(self.names)} pairs, {self.points} points per cloud{fewer}, alignment {self.alignment}; "
            f"sets of {self.clouds[0]} and {self.clouds[1]} clouds"
        )
        width = max(len(score.name) for score in self.scores)
        head = f"{'score':{width}} {'value':>9} {'95 % interval':>20} {'floor':>9} {'ceiling':>9}"
        return [title, head, *(_line(score, width) for score in self.scores)]


def score(
    generated: Sequence[Cloud],
    true: Sequence[Cloud],
    how: Scoring,
    captions: Mapping[str, str] | None = None,
) -> Report:
    """Score clouds against the true clouds of the same names. UserError where no names are shared.

    `captions`, texts by cloud name, are for the R-precision of `how.clip`.
    """
    pairs = paired(generated, true)
    seed = how.score_seed
    points = min(how.score_points, *(len(cloud) for cloud in [*generated, *true]))
    floor_points = min(points, *(len(b) // 2 for _, b in pairs))
    mine = [thinned(a, points, seed, _MADE) for a, _ in pairs]
    real = [thinned(b, points, seed, _TRUE) for _, b in pairs]
    twins = [halves(b, floor_points, seed, _FLOOR) for _, b in pairs]
    noise = noise_like(real, points, seed, _NOISE)
    floor = pair_values([a for a, _ in twins], [b for _, b in twins], how)
    ceiling = pair_values(noise, real, how)
    scores = _pair_scores(pair_values(mine, real, how), floor, ceiling, seed)
    if "label accuracy" in floor:
        sides = [(mine, real), ([a for a, _ in twins], [b for _, b in twins]), (noise, real)]
        correlations = [inside.share_correlation(*clouds) for clouds in sides]
        scores.append(_score("hidden share, correlation", correlations))
    if how.clip:
        scores += _retrieval_scores(pairs, noise, captions, how.clip, seed)
    if how.sets and min(len(generated), len(true)) > 1:
        scores += _set_scores(generated, true, how)
    names = [b.name for _, b in pairs]
    return Report(names, points, floor_points, how.align, (len(generated), len(true)), scores)


def compare(
    generated: Sequence[Cloud], baseline: Sequence[Cloud], true: Sequence[Cloud], how: Scoring
) -> dict[str, Difference]:
    """Per score of pairs, the paired difference of `generated` and `baseline`, on the objects of both."""
    both = {cloud.name for cloud in generated} & {cloud.name for cloud in baseline}
    points = min(how.score_points, *(len(cloud) for cloud in [*generated, *baseline, *true]))
    these, those = (
        values_of([cloud for cloud in clouds if cloud.name in both], true, how, points)
        for clouds in (generated, baseline)
    )
    names = [name for name in these if name in those]
    return {name: paired_difference(these[name], those[name], how.score_seed) for name in names}


def values_of(
    generated: Sequence[Cloud], true: Sequence[Cloud], how: Scoring, points: int | None = None
) -> Values:
    """Every score of each pair, (K,) each, without floor and ceiling; `points` None: as in `score`."""
    most = points or min(how.score_points, *(len(cloud) for cloud in [*generated, *true]))
    pairs = paired(generated, true)
    mine = [thinned(a, most, how.score_seed, _MADE) for a, _ in pairs]
    real = [thinned(b, most, how.score_seed, _TRUE) for _, b in pairs]
    return pair_values(mine, real, how)


def paired(generated: Sequence[Cloud], true: Sequence[Cloud]) -> list[tuple[Cloud, Cloud]]:
    """Each cloud with its true cloud: by name, or the only two that there are."""
    if len(generated) == len(true) == 1:
        return [(generated[0], true[0])]
    known = {cloud.name: cloud for cloud in true}
    pairs = [(cloud, known[cloud.name]) for cloud in generated if cloud.name in known]
    if not pairs:
        raise UserError(
            "no cloud has a true cloud of its name. Give folders whose files have the same names."
        )
    return pairs


def pair_values(generated: Sequence[Cloud], true: Sequence[Cloud], how: Scoring) -> Values:
    """Every score of each pair, (K,) each; the inside's too, if all clouds are labeled."""
    labeled = all(cloud.hidden is not None for cloud in [*generated, *true])
    rows = []
    for a, b in zip(generated, true, strict=True):
        moved = Cloud(a.name, align(a.xyz, b.xyz, how.align), a.hidden)
        row = {name: function(moved.xyz, b.xyz) for name, function in pair_scores(how).items()}
        rows.append(row | (inside.inside_scores(moved, b, *how.radius) if labeled else {}))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def pair_scores(how: Scoring) -> dict[str, Callable[[np.ndarray, np.ndarray], float]]:
    """The scores of a pair of clouds, (N, 3) each, by name."""

    def f_score_at(threshold: float) -> Callable[[np.ndarray, np.ndarray], float]:
        return lambda a, b: distances.f_score(a, b, threshold)

    return {
        "Chamfer, mean distance": distances.chamfer,
        "Chamfer, squared sum": distances.squared_chamfer,
        **{f"F-score@{threshold:g}": f_score_at(threshold) for threshold in how.thresholds},
        "EMD": transport.emd,
        f"DCD, alpha {how.dcd_alpha:g}": lambda a, b: distances.density_aware_chamfer(a, b, how.dcd_alpha),
    }


def _pair_scores(values: Values, floor: Values, ceiling: Values, seed: int) -> list[Score]:
    scores = []
    for name, own in values.items():
        found = mean_interval(own, seed)
        if not found.count:  # no object can have it: nothing is hidden, or something in all
            continue
        low, high = (mean_interval(bound[name], seed).mean for bound in (floor, ceiling))
        scores.append(Score(name, found.mean, low, high, found, own.tolist()))
    return scores


def _retrieval_scores(
    pairs: list[tuple[Cloud, Cloud]],
    noise: list[Cloud],
    captions: Mapping[str, str] | None,
    clip: str,
    seed: int,
) -> list[Score]:
    """R-precision of the generated clouds with all their points; the floor is the true clouds'."""
    from training.scores.retrieval import Retrieval

    made, true = zip(*pairs, strict=True)
    texts = [(captions or {}).get(cloud.name) for cloud in true]
    if None in texts:
        name = true[texts.index(None)].name
        raise UserError(f"R-precision needs a caption for every object; {name} has none. Omit --clip.")
    retrieval = Retrieval([text or "" for text in texts], clip)
    own, truth, random = ({"CLIP R-precision": retrieval.precision(side)} for side in (made, true, noise))
    return _pair_scores(own, truth, random, seed)


def _set_scores(generated: Sequence[Cloud], true: Sequence[Cloud], how: Scoring) -> list[Score]:
    """The scores of sets; the floor is the true clouds' one half against the other."""
    points = min(how.set_points, *(len(cloud) for cloud in [*generated, *true]))
    seed = how.score_seed
    mine = _array([thinned(cloud, points, seed, _MADE) for cloud in generated])
    real = _array([thinned(cloud, points, seed, _TRUE) for cloud in true])
    noise = _array(noise_like(true, points, seed, _NOISE))
    order = np.random.default_rng(seed).permutation(len(real))
    half = len(real) // 2
    versus = [(mine, real), (real[order[:half]], real[order[half : 2 * half]]), (noise, real)]
    rows = [sets.set_scores(a, b, how.set_distance) for a, b in versus]
    kind = {"chamfer": "Chamfer", "emd": "EMD"}[how.set_distance]
    scores = [_score(f"{name}, {kind}", [row[name] for row in rows]) for name in rows[0]]
    scores += _feature_scores(versus, how.pointnet) if how.pointnet else []
    return scores + (_published_scores(generated, true, how.pointnet2, seed) if how.pointnet2 else [])


def _feature_scores(versus: list[tuple[np.ndarray, np.ndarray]], weights: Path) -> list[Score]:
    network = pointnet.load_pointnet(weights)
    sides = [[pointnet.features(network, clouds) for clouds in pair] for pair in versus]
    both = {"FD": features.frechet_distance, "KD": features.kernel_distance}
    return [
        _score(f"PointNet/ModelNet40 {name}", [_of_sets(function, a, b) for a, b in sides])
        for name, function in both.items()
    ]


def _published_scores(
    generated: Sequence[Cloud], true: Sequence[Cloud], weights: Path, seed: int
) -> list[Score]:
    """P-FID and P-IS (Nichol et al. 2022, arXiv:2212.08751, section 5.1); the floor is half against half."""
    network = pointnet2.load_pointnet2(weights)
    points = min(pointnet2.POINTS, *(len(cloud) for cloud in [*generated, *true]))
    mine = _array([thinned(cloud, points, seed, _MADE) for cloud in generated])
    real = _array([thinned(cloud, points, seed, _TRUE) for cloud in true])
    noise = _array(noise_like(true, points, seed, _NOISE))
    (own, own_classes), (truth, classes), (random, random_classes) = (
        pointnet2.classify(network, clouds) for clouds in (mine, real, noise)
    )
    versus = [(own, truth), (truth[::2], truth[1::2]), (random, truth)]
    fid = [_of_sets(features.frechet_distance, a, b) for a, b in versus]
    scores = [pointnet2.inception_score(found) for found in (own_classes, classes, random_classes)]
    return [_score("P-FID", fid), _score("P-IS", scores)]


def _of_sets(function: Callable[[np.ndarray, np.ndarray], float], a: np.ndarray, b: np.ndarray) -> float:
    return function(a, b) if min(len(a), len(b)) > 1 else inside.NAN


def _array(clouds: Sequence[Cloud]) -> np.ndarray:
    return np.stack([cloud.xyz for cloud in clouds])


def _score(name: str, values: Sequence[float]) -> Score:
    """A score without values of pairs, from its value, floor and ceiling."""
    value, floor, ceiling = values
    return Score(name, value, floor, ceiling)


def _line(score: Score, width: int) -> str:
    interval = f"[{score.interval.low:.4f}, {score.interval.high:.4f}]" if score.interval else ""
    some = score.interval and score.interval.count < len(score.objects or ())
    of = f"  of {score.interval.count}" if score.interval and some else ""
    value, floor, ceiling = (f"{number:9.4f}" for number in (score.value, score.floor, score.ceiling))
    return f"{score.name:{width}} {value} {interval:>20} {floor} {ceiling}{of}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value
