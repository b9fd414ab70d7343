"""What failed and why, from the ledgers alone; and which models `insideout retry` does again."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.compute as pc

from fuse.dataset import storage
from fuse.dataset.layout import Layout
from pipeline.config import EngineConfig
from pipeline.engine.runner import Summary
from pipeline.ledger.compact import SCHEMA, Runs, batches, row_of, runs
from pipeline.ledger.rows import Row
from pipeline.output import record as dataset
from render.failures import FailureClass, UserError


def failed_rows(layout: Layout, stage: str, kinds: Sequence[str] = (), log: bool = False) -> list[Row]:
    """The last row of every model that failed, of the classes `kinds` or of any, by class and source.

    Log tails are dropped unless `log` asks for them: a million of them fill a memory. UserError where there
    is no ledger, or no failure of a class that is asked for.
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
    counts = collections.Counter(row.kind or FailureClass.ERROR for row in failed.values())
    unknown = [kind for kind in kinds if kind not in counts]
    if unknown and failed:
        there = ", ".join(f"{kind} ({count})" for kind, count in counts.most_common())
        raise UserError(
            f"{layout.root}: no {stage} failure of class {', '.join(unknown)}. There are: {there}."
        )
    chosen = (row for row in failed.values() if not kinds or (row.kind or FailureClass.ERROR) in kinds)
    return sorted(chosen, key=lambda row: (row.kind or FailureClass.ERROR, row.source))


def describe(rows: Sequence[Row], log: bool = False) -> Iterator[str]:
    """The failures as text: a heading a class, then model, reason and, if asked for, the tail of its log."""
    counts = collections.Counter(row.kind or FailureClass.ERROR for row in rows)
    heading = None
    for row in rows:
        kind = row.kind or FailureClass.ERROR
        if kind != heading:
            heading = kind
            yield f"{kind}: {counts[kind]}"
        yield f"  {row.source or row.uid}: {' '.join((row.message or 'no message').split())}{_details(row)}"
        if log and row.log_tail:
            yield from (f"    | {line}" for line in row.log_tail.rstrip().splitlines())


def show(out: Path, stage: str, kinds: Sequence[str], log: bool) -> int:
    """Print the failures."""
    rows = failed_rows(Layout(out.absolute()), stage, kinds, log)
    print("\n".join(describe(rows, log)) or f"No failure in {stage}.")
    return 0


def retry(
    out: Path, stage: str, models: Path | None, kinds: Sequence[str], engine: EngineConfig
) -> Summary | None:
    """Do the failed models again, with the configuration that dataset.json records. None: none has failed.

    Without `models`, render's are looked for where its last run had them.
    """
    from fuse.config import FuseConfig
    from pipeline.stages.fuse import fuse
    from pipeline.stages.render import render
    from render.config import RenderConfig

    layout = Layout(out.absolute())
    uids = {row.uid for row in failed_rows(layout, stage, kinds)}
    if not uids:
        return None
    if stage == "render":
        models = models or _models_of_last_run(layout)
    config = dataset.read(layout).get("stages", {}).get(stage, {}).get("config")
    if config is None:
        raise UserError(
            f"{layout.dataset}: no configuration of {stage}. Run `insideout {stage}` again instead."
        )
    engine = engine.model_copy(update={"on_existing": "retry-failed"})
    if stage == "fuse":
        return fuse(out, FuseConfig.model_validate(config), engine, uids)
    assert models is not None
    return render(models, out, RenderConfig.model_validate(config), engine, uids)


def _models_of_last_run(layout: Layout) -> Path:
    """What the newest run of render was given, as its ledger says."""
    said = runs(layout.ledger("render"))
    if not said or not said[-1].models:
        raise UserError("retry needs --models: the folder, list or file that the models were rendered from.")
    models = storage.locate(said[-1].models)
    if not models.exists():
        raise UserError(f"{models}, where the last run had its models, is not there. Give --models.")
    return models


def _details(row: Row) -> str:
    """` [SIGSEGV, 3.1 s, 512 MiB, attempt 2]`."""
    code = row.signal or (f"exit code {row.returncode}" if row.returncode else "")
    parts = [code, f"{row.seconds:.1f} s", f"{row.peak_rss_mib} MiB", f"attempt {row.attempt}"]
    return f" [{', '.join(part for part in parts if part)}]"
