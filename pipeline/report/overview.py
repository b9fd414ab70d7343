"""The report's first page: counts, failures by class, time and memory, and how the dataset was made."""

from __future__ import annotations

import collections
import json
from typing import Any

import numpy as np

from fuse.dataset.layout import STAGES, Layout
from fuse.dataset.manifest import Part
from pipeline.ledger.failed import failed_rows
from pipeline.ledger.rows import Row, Run
from pipeline.output.record import read
from pipeline.report.ledgers import Costs

_EXAMPLES = 12  # failures of a class that are shown
_TAIL = 4000  # characters of a log
_MESSAGE = 2000
_BINS = 40
_TOP = 8


def overview(layout: Layout, parts: list[Part], costs: dict[str, Costs]) -> dict[str, Any]:
    """What the page shows: plain values for JSON."""
    record = read(layout)
    return {
        "name": layout.root.name,
        "rows": sum(part.rows for part in parts),
        "shards": len(parts),
        "bytes": sum(part.bytes for part in parts),
        "stages": [_stage(layout, stage, cost) for stage, cost in costs.items() if cost.index],
        "versions": sorted(record.get("versions", {}).items()),
        "configuration": [
            [stage, json.dumps(record["stages"][stage]["config"], indent=1, sort_keys=True)]
            for stage in STAGES
            if stage in record.get("stages", {})
        ],
    }


def _stage(layout: Layout, stage: str, costs: Costs) -> dict[str, Any]:
    return {
        "stage": stage,
        "ok": int(costs.ok.sum()),
        "failed": int((~costs.ok).sum()),
        "measures": [
            _distribution("seconds", costs.seconds, costs),
            _distribution("peak memory, MiB", costs.memory, costs),
        ],
        "run": _run(costs.runs[max(costs.runs)]) if costs.runs else None,
        "failures": _failures(layout, stage) if not costs.ok.all() else [],
    }


def _run(run: Run) -> dict[str, Any]:
    """What the newest run said of itself."""
    took = None if run.ended is None else run.ended - run.began
    return {"given": run.given, "todo": run.todo, "seconds": took, "exit": run.exit}


def _distribution(name: str, values: np.ndarray, costs: Costs) -> dict[str, Any]:
    """Quantiles, the largest values with their models, and a histogram up to the largest value."""
    low, middle, high, top = (float(value) for value in np.quantile(values, [0.05, 0.5, 0.95, 1]))
    counts, edges = np.histogram(values, bins=_BINS, range=(0, max(top, 1e-6)))
    uids = list(costs.index)
    largest = [int(row) for row in np.argsort(-values, kind="stable")[:_TOP]]
    return {
        "name": name,
        "total": float(values.sum(dtype=np.float64)),
        "quantiles": [low, middle, high, top],
        "counts": counts.tolist(),
        "edges": edges.tolist(),
        "largest": [[uids[row], costs.sources[row], float(values[row])] for row in largest],
    }


def _failures(layout: Layout, stage: str) -> list[dict[str, Any]]:
    """The stage's failures by class, the most frequent first, with examples."""
    groups: dict[str, list[Row]] = collections.defaultdict(list)
    for row in failed_rows(layout, stage, log=True):
        groups[(row.kind or "error")].append(row)
    order = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        {"class": str(kind), "count": len(rows), "examples": [_example(row) for row in rows[:_EXAMPLES]]}
        for kind, rows in order
    ]


def _example(row: Row) -> dict[str, Any]:
    code = row.signal or (f"exit code {row.returncode}" if row.returncode else "")
    return {
        "uid": row.uid,
        "source": row.source,
        "message": (row.message or "")[:_MESSAGE],
        "code": code,
        "seconds": row.seconds,
        "memory": row.peak_rss_mib,
        "attempt": row.attempt,
        "log": (row.log_tail or "")[-_TAIL:],
    }
