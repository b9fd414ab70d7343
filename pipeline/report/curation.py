"""What a curation measured and decided, for the gallery and for the page of clusters."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from fuse.dataset import storage
from fuse.dataset.decisions import Curation, Decision
from fuse.dataset.layout import Layout
from pipeline.curate.measured import OWN_MEASURES, batches

_KEPT, _UNDECIDED = "kept", "not decided yet"
Sheet = Callable[[str, bytes], None]


def curation(layout: Layout, found: Curation, put: Sheet) -> dict[str, Any]:
    """What the page of clusters shows; each cluster's picture is handed to `put`."""
    members: dict[int | None, list[Decision]] = defaultdict(list)
    for one in found.decided.values():
        members[one.cluster].append(one)
    total = sum(one.weight for one in found.decided.values())
    clusters = []
    for number, words in sorted(found.clusters.items()):
        path = layout.cluster_sheet(number)
        name = f"clusters/{path.name}" if path.exists() else None
        if name:
            put(name, storage.read_bytes(path))
        clusters.append({"number": number, "words": words, "sheet": name} | _counts(members[number], total))
    return {"clusters": clusters, "all": _counts(list(found.decided.values()), total)}


def facets(found: Curation, uids: list[str]) -> dict[str, list[str]]:
    """Name -> value of every model."""
    decided = [found.decided.get(uid) for uid in uids]
    return {
        "decision": [_decision(one) for one in decided],
        "bucket": ["none" if one is None or one.bucket is None else one.bucket for one in decided],
        "cluster": ["none" if one is None or one.cluster is None else str(one.cluster) for one in decided],
    }


def reasons(found: Curation, uids: list[str]) -> list[str]:
    """Why each model was decided on as it was; empty where it is its cluster's bucket alone."""
    decided = (found.decided.get(uid) for uid in uids)
    return ["" if one is None or one.rule == "cluster" else one.reason for one in decided]


def measures(layout: Layout, uids: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Name and (N,) float32 of what a survey measured; NaN where it has not."""
    try:
        table = pa.concat_tables(batches(layout, ["uid", *OWN_MEASURES]))
    except FileNotFoundError:  # a shard is newer than the survey
        return
    row = {uid: index for index, uid in enumerate(table["uid"].to_pylist())}
    where = np.array([row.get(uid, len(row)) for uid in uids], np.int64)
    for name in OWN_MEASURES:
        yield name, np.append(table[name].to_numpy(), np.float32(np.nan))[where]


def _decision(one: Decision | None) -> str:
    if one is None:
        return _UNDECIDED
    return _KEPT if one.kept else f"left out: {one.rule}"


def _counts(decided: list[Decision], total: float) -> dict[str, Any]:
    """Models, those kept, their share of what training samples, and how many each bucket and rule has."""
    buckets = Counter(one.bucket for one in decided if one.bucket is not None)
    left = Counter(one.rule for one in decided if not one.kept)
    return {
        "models": len(decided),
        "kept": sum(one.kept for one in decided),
        "share": sum(one.weight for one in decided) / total if total else 0.0,
        "buckets": sorted(buckets.items()),
        "left": sorted(left.items()),
    }
