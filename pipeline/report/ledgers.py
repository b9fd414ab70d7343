"""A stage's ledger as arrays: seconds and memory of every model, by its last row."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from fuse.dataset.layout import Layout
from pipeline.ledger.compact import Runs, batches

_COLUMNS = ["uid", "source", "ok", "seconds", "peak_rss_mib"]


@dataclass
class Costs:
    """What every model of a stage took; a model's last row counts."""

    index: dict[str, int] = field(default_factory=dict)
    """uid -> position in the arrays."""
    sources: list[str] = field(default_factory=list)
    ok: np.ndarray = field(default_factory=lambda: np.empty(0, bool))
    seconds: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    memory: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    """MiB."""
    runs: Runs = field(default_factory=dict)

    def columns(self, uids: list[str]) -> dict[str, np.ndarray]:
        """Name -> (N,) float32 of the given models, NaN where the ledger has none."""
        where = np.array([self.index.get(uid, -1) for uid in uids], np.int64)
        found = {"seconds": self.seconds, "memory MiB": self.memory}
        return {name: np.append(values, np.float32(np.nan))[where] for name, values in found.items()}


def read_costs(layout: Layout, stage: str) -> Costs:
    """Read OUT/ledger/STAGE."""
    costs = Costs()
    folder = layout.ledger(stage)
    found = [batch for batch in batches(folder, _COLUMNS, costs.runs) if len(batch)]
    if not found:
        return costs
    table = pa.Table.from_batches(found)
    last = {uid: row for row, uid in enumerate(table["uid"].to_pylist())}
    table = table.take(pa.array(last.values(), pa.int64()))
    costs.index = {uid: row for row, uid in enumerate(last)}
    costs.sources = [source or "" for source in table["source"].to_pylist()]
    costs.ok = table["ok"].to_numpy()
    costs.seconds = table["seconds"].fill_null(0).to_numpy().astype(np.float32)
    costs.memory = table["peak_rss_mib"].fill_null(0).to_numpy().astype(np.float32)
    return costs
