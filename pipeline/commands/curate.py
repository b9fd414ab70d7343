"""`insideout curate DATASET`: which models training sees, how often, and why."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import DisallowNone, Positional

from pipeline.arguments import Dataset
from pipeline.curate.options import Options
from pipeline.terminal import show
from render.failures import UserError


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """Decide how often training sees each model: flat ones and near-duplicates never, others by their bucket.

    Look at curation/clusters/*.jpg in the dataset, edit curation/rules.yaml, and run it again: seconds. No
    shard is rewritten without --materialize. See docs/curation.md.
    """

    dataset: Positional[Dataset]
    """The dataset folder."""
    materialize: DisallowNone[Dataset | None] = None
    """Then write shards without what is left out, with weights and clusters in their rows: into a new folder,
    or, if this is the dataset itself, in place."""
    undo: bool = False
    """Forget the decisions: every model has its own weight again. Rules and measures stay."""


def run(command: Command) -> int:
    """Curate, and print what came of it."""
    from pipeline.curate.curation import curate, undo
    from pipeline.curate.materialize import materialize

    if command.undo:
        if command.materialize:
            raise UserError("curate: --undo forgets what --materialize writes. Give one of them.")
        undo(command.dataset)
        show("curate: undone; the rules are kept")
        return 0
    show(*curate(command.dataset, command, show).summary(command.dataset))
    if command.materialize:
        parts = materialize(command.dataset, command.materialize)
        rows = sum(part.rows for part in parts)
        show(f"curate: {rows} rows in {len(parts)} shards: {command.materialize}")
    return 0
