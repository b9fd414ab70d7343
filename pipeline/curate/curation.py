"""The curation as a run: measure, group, decide, and show.

    outcome = curate(Path("OUT"), Options())

    OUT/curation/rules.yaml          what a person edits
    OUT/curation/decisions.parquet   the weight of every model, and why; delete it to undo the curation
    OUT/curation/clusters/NNN.jpg    a sheet per cluster
    OUT/curation/clusters.npz        where the clusters lie
    OUT/curation/measures/           what was measured, per shard

Again with other rules it takes seconds: nothing is measured twice.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from fuse.dataset import packing, storage
from fuse.dataset.decisions import Decision, read_decisions, write_decisions
from fuse.dataset.layout import Layout, open_dataset
from fuse.dataset.manifest import read_manifest
from pipeline.curate import clusters, decide, materialize
from pipeline.curate.duplicates import Pair, Probe, alike, joining, same_content, similar_pairs
from pipeline.curate.features import encoder_of
from pipeline.curate.measured import batches, read_survey
from pipeline.curate.options import Options
from pipeline.curate.rules import Rules, read_rules, write_rules
from pipeline.curate.sheets import Cluster, describe, write_sheets
from pipeline.curate.survey import survey
from pipeline.output import record
from pipeline.output.commit import exclusive
from render.failures import UserError


@dataclass(frozen=True)
class Outcome:
    """What a curation came to."""

    decided: list[Decision]
    clusters: list[Cluster]

    def summary(self, out: Path) -> list[str]:
        """Models kept, and left out by rule; and where to look."""
        kept = [one for one in self.decided if one.kept]
        rules = collections.Counter(one.rule for one in self.decided if not one.kept)
        left = ", ".join(f"{count} {rule}" for rule, count in sorted(rules.items())) or "none"
        buckets = collections.Counter(one.bucket for one in kept)
        shares = ", ".join(f"{count} {bucket}" for bucket, count in sorted(buckets.items(), key=str))
        return [
            f"curate: {len(kept)} of {len(self.decided)} models kept ({shares}); left out: {left}",
            f"curate: {len(self.clusters)} clusters to look at: {Layout(out).cluster_sheet(0).parent}",
            f"curate: rules to edit: {Layout(out).rules}",
        ]


@dataclass(frozen=True)
class Groups:
    """All models in the order of the shards, placed by what they look like."""

    places: np.ndarray  # (N, D)
    clusters: np.ndarray  # (N,)
    distances: np.ndarray  # (N,) from the cluster's center


def curate(out: Path, options: Options, say: Callable[[str], None] = lambda text: None) -> Outcome:
    """Decide on every model of the dataset. UserError if it has no shards."""
    layout = open_dataset(out)
    if not read_manifest(layout.clouds):
        raise UserError(f"{out}: no clouds to curate. Run `insideout fuse` first.")
    with exclusive(layout):
        packing.sweep(layout)
        encoder = encoder_of(options)
        survey(layout, encoder, options.views, say)
        grouped, renewed = _group(layout, encoder.identity, options.clusters)
        before = read_rules(layout)
        rules = before or Rules()
        table = read_survey(layout, [*decide.COLUMNS, "source", "source_sha256", "caption", "category"])
        known = _describe(table, grouped)
        titles = {cluster.number: cluster.title for cluster in known}
        if before is None or renewed:
            rules = rules.model_copy(update={"clusters": {}})
            write_rules(layout, rules, titles)
        pairs = find_pairs(layout, table, grouped.places, rules) if rules.duplicates else []
        decided = decide.decide(decide.Facts(table, grouped.clusters, pairs), rules)
        decided += _taken_out(layout, {one.uid for one in decided})
        write_decisions(layout, decided, titles)
        write_sheets(layout, known, {one.uid: one for one in decided})
        record.describe(layout)
    return Outcome(decided, known)


def find_pairs(layout: Layout, table: pa.Table, places: np.ndarray, rules: Rules) -> list[Pair]:
    """The pairs of near-duplicates among models at (N, D) places."""
    names = list(zip(table["source_sha256"].to_pylist(), table["source"].to_pylist(), strict=True))
    candidates = similar_pairs(places, rules.similar)
    models = _probes(layout, {index for pair in candidates for index in pair})
    equal = list(same_content(names))
    return joining(candidates, equal, lambda i, j: alike(models[i], models[j], rules))


def _group(layout: Layout, identity: str, count: int) -> tuple[Groups, bool]:
    """Every model's place and cluster, and whether the clusters are new."""
    space = clusters.read_space(layout)
    wrong = space is None or space.identity != identity or count not in (0, len(space.centers))
    if space is None or wrong:
        uids = read_survey(layout, ["uid"])["uid"].to_pylist()
        space = clusters.fit(_features(layout, clusters.sampled(uids)), identity, count)
        clusters.write_space(layout, space)
    places = np.concatenate([space.places(_vectors(table)) for table in batches(layout, ["feature"])])
    if not np.isfinite(places).all():
        raise UserError(f"{layout.measures}: features that are not finite. Delete it, and curate again.")
    return Groups(places, *space.nearest(places)), wrong


def _describe(table: pa.Table, grouped: Groups) -> list[Cluster]:
    columns = [table[name].to_pylist() for name in ("caption", "category", "source")]
    texts = [
        f"{caption or ''} {category or ''}".strip() or source.rpartition("/")[2].rpartition(".")[0]
        for caption, category, source in zip(*columns, strict=True)
    ]
    return describe(table["uid"].to_pylist(), texts, grouped.clusters, grouped.distances)


def _features(layout: Layout, chosen: np.ndarray) -> np.ndarray:
    """(M, F) float16: the features of some models, by (M,) indices."""
    found, first = [], 0
    for table in batches(layout, ["feature"]):
        mine = chosen[(chosen >= first) & (chosen < first + len(table))] - first
        found.append(_vectors(table.take(mine)))
        first += len(table)
    return np.concatenate([some for some in found if len(some)])


def _vectors(table: pa.Table) -> np.ndarray:
    """(N, F) float16."""
    return np.array([np.frombuffer(data, "<f2") for data in table["feature"].to_pylist()], np.float16)


def _probes(layout: Layout, wanted: set[int]) -> dict[int, Probe]:
    """Index -> what is compared of some models."""
    found, first = {}, 0
    for table in batches(layout, ["feature", "points", "colors"]):
        for index in sorted(wanted & set(range(first, first + len(table)))):
            row = table.slice(index - first, 1).to_pylist()[0]
            found[index] = Probe(
                np.frombuffer(row["feature"], "<f2"),
                np.frombuffer(row["points"], "<f2").reshape(-1, 3),
                np.frombuffer(row["colors"], "u1").reshape(-1, 3),
            )
        first += len(table)
    return found


def _taken_out(layout: Layout, present: set[str]) -> list[Decision]:
    """The decisions on rows that are no longer in the shards; the next `insideout fuse` brings these back."""
    before = read_decisions(layout).values() if materialize.curated_parts(layout) else ()
    return [one for one in before if not one.kept and one.uid not in present]


def undo(out: Path) -> None:
    """Every model has its own weight again. Measures, clusters and rules stay."""
    layout = open_dataset(out)
    with exclusive(layout):
        packing.sweep(layout)
        materialize.restore(layout)
        storage.remove([layout.decisions])
        record.describe(layout)
