"""`insideout failures DATASET`: what failed, and why."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import DisallowNone, Positional, arg

from pipeline.arguments import Dataset
from pipeline.terminal import show

if TYPE_CHECKING:
    from pipeline.ledger.rows import Row


@dataclass(frozen=True)
class Command:
    """List what failed, by stage and class: model, reason, signal, seconds, memory."""

    dataset: Positional[Dataset]
    """The dataset folder."""
    stage: DisallowNone[Literal["render", "fuse"] | None] = None
    """Only this stage's failures; default: every stage's."""
    kinds: Annotated[tuple[str, ...], arg(name="class")] = ()
    """Only failures of these classes, e.g. timeout crash."""
    log: bool = False
    """Show the end of each model's log too."""


def run(command: Command) -> int:
    """Print the failures."""
    from pipeline.ledger.failed import failures

    found = failures(command.dataset, command.stage, command.kinds, command.log)
    for stage, rows in found.items():
        show(*describe(stage, rows, command.log))
    if not any(found.values()):
        show(f"No failure in {' or '.join(found)}.")
    return 0


def describe(stage: str, rows: Sequence[Row], log: bool = False) -> Iterator[str]:
    """The failures as text: a heading per class, then model, reason and, if asked for, the end of its log."""
    counts = collections.Counter(row.kind or "error" for row in rows)
    heading = None
    for row in rows:
        kind = row.kind or "error"
        if kind != heading:
            heading = kind
            yield f"{stage}, {kind}: {counts[kind]}"
        yield f"  {row.source or row.uid}: {' '.join((row.message or 'no message').split())}{_details(row)}"
        if log and row.log_tail:
            yield from (f"    | {line}" for line in row.log_tail.rstrip().splitlines())


def _details(row: Row) -> str:
    """` [SIGSEGV, 3.1 s, 512 MiB, attempt 2]`."""
    code = row.signal or (f"exit code {row.returncode}" if row.returncode else "")
    parts = [code, f"{row.seconds:.1f} s", f"{row.peak_rss_mib} MiB", f"attempt {row.attempt}"]
    return f" [{', '.join(part for part in parts if part)}]"
