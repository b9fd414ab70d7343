"""`insideout status DATASET`: how the stages stand, during a run and after it."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from tyro.conf import DisallowNone, Positional

from pipeline.arguments import Dataset, Models
from pipeline.terminal import show
from render.failures import at_least

_CLEAR = "\x1b[2J\x1b[H"


@dataclass(frozen=True)
class Command:
    """Show how a dataset's stages stand, from its files alone: during a run, and after it."""

    dataset: Positional[Dataset]
    """The dataset folder."""
    models: DisallowNone[Models | None] = None
    """Count these models as the ones to do, instead of those of the newest run."""
    watch: DisallowNone[float | None] = None
    """Show it again every this many seconds, until Ctrl-C."""

    def __post_init__(self) -> None:
        at_least("watch", self.watch or 0, 0)


def run(command: Command) -> int:
    """Print the state once, or every `--watch` seconds."""
    from pipeline.ledger.status import Status

    status = Status(command.dataset, command.models)
    show(*status.refresh())
    try:
        while command.watch:
            time.sleep(command.watch)
            lines = status.refresh()
            sys.stdout.write(_CLEAR if sys.stdout.isatty() else "\n")
            show(*lines)
    except KeyboardInterrupt:
        show("")
    return 0
