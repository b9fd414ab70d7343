"""`insideout curate DATASET`: which models training sees, how often, and why."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from pipeline.arguments import Dataset
from pipeline.curate.options import Options
from pipeline.terminal import show


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """Decide how often training sees each model: flat ones and near-duplicates never, others by their bucket.

    Look at curation/clusters/*.jpg in the dataset, edit curation/rules.yaml, and run it again: seconds. No
    shard is rewritten. See docs/curation.md.
    """

    dataset: Positional[Dataset]
    """The dataset folder."""
    undo: bool = False
    """Forget the decisions: every model has its own weight again. Rules and measures stay."""


def run(command: Command) -> int:
    """Curate, and print what came of it."""
    from pipeline.curate.curation import curate, undo

    if command.undo:
        undo(command.dataset)
        show("curate: undone; the rules are kept")
        return 0
    show(*curate(command.dataset, command, show).summary(command.dataset))
    return 0
