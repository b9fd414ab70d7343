"""`insideout report DATASET`: a page to look at: every model, failures, time and memory, training runs."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tyro.conf import DisallowNone, Positional

from pipeline.arguments import Dataset
from pipeline.terminal import show
from render.failures import at_least


@dataclass(frozen=True)
class Command:
    """Write OUT/report/index.html, a static page that opens from disk: gallery, models in 3D, failures, runs.

    The same command again writes only what changed.
    """

    dataset: Positional[Dataset]
    """The dataset folder."""
    views: int = 6
    """Views on a model's page."""
    pages: DisallowNone[int | None] = None
    """Number of models that get a page, the first ones; default: all."""
    workers: DisallowNone[int | None] = None
    """Processes; default: one per CPU core."""

    def __post_init__(self) -> None:
        at_least("views", self.views, 1)
        at_least("pages", self.pages or 0, 0)
        at_least("workers", 1 if self.workers is None else self.workers, 1)


def run(command: Command) -> int:
    """Write the report, and print where it is."""
    from pipeline.report.site import Options, write_report

    workers = command.workers or len(os.sched_getaffinity(0))
    options = Options(command.views, command.pages, workers)
    page = write_report(command.dataset, options, show)
    show(f"report: {page}")
    return 0
