"""One decision per model, from measures, clusters, duplicates and rules. Pure functions: no files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from fuse.dataset.decisions import Decision
from pipeline.curate.duplicates import Pair, groups
from pipeline.curate.rules import Flag, Rules
from pipeline.output.licenses import is_known

COLUMNS = ("uid", "license", "weight", "thinnest", "one_color", "size", "faces", "hidden_fraction")
COLUMNS += ("dense_outside", "missing_textures")
_ONE_COLOR = 0.99
_OUTLIERS = {"size": True, "faces": True, "dense_outside": True, "hidden_fraction": False}
"""Measures that may be outliers, and whether their logarithm counts."""
_MAD = 1.4826  # a normal distribution's standard deviation in median deviations
Why = tuple[Flag, str]


@dataclass(frozen=True)
class Facts:
    """What is known of all models, in one order: N rows."""

    table: pa.Table  # COLUMNS
    clusters: np.ndarray  # (N,) int64
    pairs: Sequence[Pair]
    """Near-duplicates."""


def decide(facts: Facts, rules: Rules) -> list[Decision]:
    """The decision on every model, in the order of the facts."""
    flags = find_flags(facts.table, rules)
    rows = facts.table.select(["uid", "license", "weight", "thinnest"]).to_pylist()
    decided = [
        _alone(row, int(cluster), why, rules)
        for row, cluster, why in zip(rows, facts.clusters, flags, strict=True)
    ]
    if rules.duplicates:
        _mark_duplicates(decided, facts, rules)
    return _balanced(decided, rules.balance) if rules.balance else decided


def find_flags(table: pa.Table, rules: Rules) -> list[list[Why]]:
    """For every model its flags, and why it has them."""
    found: list[list[Why]] = [[] for _ in range(len(table))]
    for index, count in enumerate(table["missing_textures"].to_pylist()):
        if count:
            found[index].append(("missing_textures", f"{count:.0f} missing textures"))
    for index in np.flatnonzero(table["one_color"].to_numpy() >= _ONE_COLOR):
        found[index].append(("one_color", "a single color"))
    for name, logarithmic in _OUTLIERS.items() if rules.outlier else ():
        values = table[name].to_numpy(zero_copy_only=False).astype(np.float64)
        for index, text in outliers(name, values, logarithmic, rules.outlier):
            found[index].append(("outlier", text))
    return found


def outliers(name: str, values: np.ndarray, logarithmic: bool, most: float) -> list[tuple[int, str]]:
    """Index and description of each of (N,) values that is `most` robust deviations from the median."""
    known = np.isfinite(values) & ((values > 0) | (not logarithmic))
    scaled = np.full(len(values), np.nan)
    scaled[known] = np.log(values[known]) if logarithmic else values[known]
    if not known.any():
        return []
    middle = np.nanmedian(scaled)
    deviation = _MAD * np.nanmedian(np.abs(scaled - middle))
    if deviation == 0:
        return []
    usual = np.exp(middle) if logarithmic else middle
    far = np.flatnonzero(np.abs(scaled - middle) / deviation > most)
    return [(int(i), f"{name.replace('_', ' ')} {values[i]:.3g}, the median is {usual:.3g}") for i in far]


def _alone(row: dict, cluster: int, flags: list[Why], rules: Rules) -> Decision:
    """The decision on a model without regard to others."""
    rule, reason, bucket = _first_rule(row, cluster, flags, rules)
    weight = 0.0 if bucket is None else rules.buckets[bucket]
    own = row["weight"]
    return Decision(row["uid"], weight * own, own, bucket, rule, reason, cluster, None)


def _first_rule(row: dict, cluster: int, flags: list[Why], rules: Rules) -> tuple[str, str, str | None]:
    """(rule, reason, bucket). A model that a rule leaves out is in no bucket."""
    if row["uid"] in rules.models:
        return "model", "named in the rules", rules.models[row["uid"]]
    if rules.require_license and not is_known(row["license"]):
        return "license", "no license", None
    if not row["thinnest"] >= rules.flat:
        return "flat", f"smallest singular value {row['thinnest']:.4f} below {rules.flat:g}", None
    chosen = ("cluster", f"cluster {cluster}", rules.clusters.get(cluster, rules.default))
    for flag, text in flags:
        if flag in rules.flags and rules.buckets[rules.flags[flag]] < rules.buckets[chosen[2]]:
            chosen = (flag, text, rules.flags[flag])
    return chosen


def _mark_duplicates(decided: list[Decision], facts: Facts, rules: Rules) -> None:
    """Leave out all but the best of each group; a model that the rules name stays as they say."""
    missing = facts.table["missing_textures"].fill_null(0).to_pylist()
    points = facts.table["dense_outside"].to_pylist()

    def rank(index: int) -> tuple:
        one = decided[index]
        return one.uid not in rules.models, -one.weight, missing[index], -points[index], one.uid

    for group in groups(len(decided), facts.pairs):
        group = [index for index in group if decided[index].kept]
        best, *others = sorted(group, key=rank) or [-1]
        for index in others:
            if decided[index].uid not in rules.models:
                like = decided[best].uid
                decided[index] = replace(
                    decided[index], weight=0.0, bucket=None, rule="duplicate",
                    reason=f"near-duplicate of {like}", duplicate_of=like,
                )  # fmt: skip


def _balanced(decided: list[Decision], balance: float) -> list[Decision]:
    """Small clusters lifted: at 1 the models of every cluster weigh the same together."""
    totals: dict[int | None, float] = {}
    for one in decided:
        totals[one.cluster] = totals.get(one.cluster, 0.0) + one.weight
    present = [total for total in totals.values() if total]
    mean = sum(present) / max(1, len(present))
    factor = {cluster: (mean / total) ** balance for cluster, total in totals.items() if total}
    return [replace(one, weight=one.weight * factor.get(one.cluster, 1.0)) for one in decided]
