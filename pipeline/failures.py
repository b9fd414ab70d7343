"""What failed and why, from the ledgers alone; and which models `insideout retry` does again."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline import dataset
from pipeline.config import EngineConfig
from pipeline.errors import UserError
from pipeline.layout import Layout
from pipeline.ledger import Row, read_rows, run_files
from pipeline.runner import Summary
from pipeline.stages import Only, Task


def failed_rows(layout: Layout, stage: str, kinds: Sequence[str] = (), log: bool = False) -> list[Row]:
    """The last row of every model that failed, of the classes `kinds` or of any, by class and source.

    Log tails are dropped unless `log` asks for them: a million of them fill a memory. UserError where there
    is no ledger, or no failure of a class that is asked for.
    """
    folder = layout.ledger(stage)
    if not run_files(folder):
        raise UserError(f"{layout.root}: no ledger of {stage}; `insideout {stage}` has not run here.")
    failed: dict[str, Row] = {}
    for row in read_rows(folder):
        if row.ok:
            failed.pop(row.uid, None)
        else:
            failed[row.uid] = replace(row, steps={}, record={}, log_tail=row.log_tail if log else None)
    counts = collections.Counter(row.kind or "error" for row in failed.values())
    unknown = [kind for kind in kinds if kind not in counts]
    if unknown and failed:
        there = ", ".join(f"{kind} ({count})" for kind, count in counts.most_common())
        raise UserError(
            f"{layout.root}: no {stage} failure of class {', '.join(unknown)}. There are: {there}."
        )
    chosen = (row for row in failed.values() if not kinds or (row.kind or "error") in kinds)
    return sorted(chosen, key=lambda row: (row.kind or "error", row.source))


def describe(rows: Sequence[Row], log: bool = False) -> Iterator[str]:
    """The failures as text: a heading a class, then model, reason and, if asked for, the tail of its log."""
    counts = collections.Counter(row.kind or "error" for row in rows)
    heading = None
    for row in rows:
        kind = row.kind or "error"
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

    The models' folder is no part of a dataset, so a retry of render has to be told it.
    """
    from fuse.config import FuseConfig
    from pipeline.fusing import fuse
    from pipeline.rendering import render
    from render.config import RenderConfig

    layout = Layout(out.absolute())
    uids = {row.uid for row in failed_rows(layout, stage, kinds)}
    if not uids:
        return None
    if stage == "render" and models is None:
        raise UserError("retry needs --models: the folder, list or file that the models were rendered from.")
    config = dataset.read(layout).get("stages", {}).get(stage, {}).get("config")
    if config is None:
        raise UserError(
            f"{layout.dataset}: no configuration of {stage}. Run `insideout {stage}` again instead."
        )
    engine = engine.model_copy(update={"on_existing": "retry-failed"})
    only = _among(uids, stage, models)
    if stage == "fuse":
        return fuse(out, FuseConfig.model_validate(config), engine, only)
    assert models is not None
    return render(models, out, RenderConfig.model_validate(config), engine, only)


def _among(uids: set[str], stage: str, models: Path | None) -> Only:
    """The tasks of `uids`; UserError when there is none."""

    def only(tasks: Sequence[Task]) -> list[Task]:
        chosen = [task for task in tasks if task.uid in uids]
        if not chosen:
            where = models if stage == "render" else "the bundles"
            raise UserError(f"None of the {len(uids)} failed models is in {where}. Is it the right folder?")
        return chosen

    return only


def _details(row: Row) -> str:
    """` [SIGSEGV, 3.1 s, 512 MiB, attempt 2]`."""
    code = row.signal or (f"exit code {row.returncode}" if row.returncode else "")
    parts = [code, f"{row.seconds:.1f} s", f"{row.peak_rss_mib} MiB", f"attempt {row.attempt}"]
    return f" [{', '.join(part for part in parts if part)}]"
