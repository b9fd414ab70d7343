"""What failed and why, from the ledgers alone."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc

from fuse.dataset import storage
from fuse.dataset.layout import Layout, open_dataset
from pipeline.ledger.compact import SCHEMA, Runs, batches, row_of
from pipeline.ledger.rows import Row
from render.failures import FailureClass, UserError

STAGES = ("render", "fuse")


def failures(
    dataset: Path, stage: str | None = None, kinds: Sequence[str] = (), log: bool = False
) -> dict[str, list[Row]]:
    """Stage -> failed rows, of `stage` or of every stage that has run. UserError as in `failed_rows`."""
    layout = open_dataset(dataset)
    stages = [stage] if stage else [name for name in STAGES if any(storage.listing(layout.ledger(name)))]
    if not stages:
        raise UserError(f"{dataset}: no ledger: no stage has run here. Give a dataset folder.")
    found = {name: failed_rows(layout, name, log=log) for name in stages}
    if kinds:
        _check_kinds(layout, kinds, [row for rows in found.values() for row in rows], " and ".join(stages))
    return {name: [row for row in rows if not kinds or _kind(row) in kinds] for name, rows in found.items()}


def failed_rows(layout: Layout, stage: str, kinds: Sequence[str] = (), log: bool = False) -> list[Row]:
    """The last row of every failed model, of the classes `kinds` or of any, sorted by class and source.

    Log tails are dropped unless `log` asks for them: a million of them fill the memory. UserError if there is
    no ledger, or no failure of a class that is asked for.
    """
    folder = layout.ledger(stage)
    said: Runs = {}
    failed: dict[str, Row] = {}
    columns = [name for name in SCHEMA.names if log or name != "log_tail"]
    for batch in batches(folder, columns, said):
        bad = iter(batch.filter(pc.invert(batch["ok"])).to_pylist())  # type: ignore[attr-defined]
        for uid, ok in zip(batch["uid"].to_pylist(), batch["ok"].to_pylist(), strict=True):
            if not ok:
                failed[uid] = row_of(next(bad))
            elif failed:
                failed.pop(uid, None)
    if not failed and not said and not any(storage.listing(folder)):
        raise UserError(f"{layout.root}: no ledger of {stage}; `insideout {stage}` has not run here.")
    _check_kinds(layout, kinds, list(failed.values()), stage)
    chosen = (row for row in failed.values() if not kinds or _kind(row) in kinds)
    return sorted(chosen, key=lambda row: (_kind(row), row.source))


def _check_kinds(layout: Layout, kinds: Sequence[str], rows: Sequence[Row], where: str) -> None:
    """UserError where models have failed, but none of a class that is asked for."""
    counts = collections.Counter(map(_kind, rows))
    unknown = [kind for kind in kinds if kind not in counts]
    if unknown and rows:
        there = ", ".join(f"{kind} ({count})" for kind, count in counts.most_common())
        raise UserError(
            f"{layout.root}: no {where} failure of class {', '.join(unknown)}. There are: {there}."
        )


def _kind(row: Row) -> FailureClass:
    return row.kind or FailureClass.ERROR
