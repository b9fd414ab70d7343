"""`insideout verify DATASET`: is a dataset whole?"""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from pipeline.arguments import Dataset
from pipeline.terminal import show


@dataclass(frozen=True)
class Command:
    """Recompute every hash and check every row and bundle of a dataset."""

    dataset: Positional[Dataset]
    """The dataset folder."""
    bundles: bool = True
    """Check the view bundles too, not only the shards."""


def run(command: Command) -> int:
    """Verify, and print the report; 1 if anything is wrong."""
    from fuse.dataset.verify import verify

    report = verify(command.dataset, bundles=command.bundles)
    show(*str(report).splitlines())
    return 0 if report.ok else 1
