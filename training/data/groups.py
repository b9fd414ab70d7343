"""Which row groups the loader reads, and which of their rows: by split, fold and drawn clouds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fuse.dataset.decisions import Decisions
from fuse.dataset.layout import Layout
from fuse.dataset.manifest import Part, read_manifest
from fuse.dataset.shard import Shard, ShardError
from fuse.dataset.splits import folds, read_members
from training.data.drawn import Draws
from training.data.point_mix import Mix
from training.data.rows import row_weights, usable_rows
from training.data.shuffle import Group


def parts_of(clouds: Path) -> list[Part]:
    """The shards of a clouds folder. ShardError if there are none."""
    parts = read_manifest(clouds)
    if not parts:
        raise ShardError(f"{clouds}: no shards in the manifest. Run `insideout fuse` first.")
    return parts


def row_groups(
    clouds: Path,
    parts: list[Part],
    split: str,
    views: int | None,
    mix: Mix,
    decided: Decisions | None,
    chosen: set[str] | None,
) -> Iterator[Group]:
    """The row groups that have rows of the split with points of the mix's kind.

    `views` is the number of views used, 0 for all; None if images are not needed. `decided` are the
    curation's weights; None: all rows equally often. `chosen` are uids; None: all.
    """
    for part in parts:
        with Shard(clouds / part.file) as shard:
            if len(shard) != part.rows:
                raise ShardError(
                    f"{shard.path}: {len(shard)} rows, the manifest says {part.rows}. Fuse again."
                )
            if views is not None and not shard.views:
                raise ShardError(
                    f"{shard.path}: no image columns to condition on. Render and fuse with views."
                )
            for index in range(shard.row_groups):
                rows, weights = usable_rows(shard, index, split, mix.kind), None
                if chosen is not None and len(rows):
                    uids = shard.table(index, ["uid"])["uid"].to_pylist()
                    rows = np.array([row for row in rows.tolist() if uids[row] in chosen], np.int64)
                if decided is not None:
                    weights = row_weights(shard, index, decided)[rows]
                    rows, weights = rows[weights > 0], weights[weights > 0]
                if len(rows):
                    yield Group(shard.path, index, rows, min(views or shard.views, shard.views), weights)


def chosen_uids(
    clouds: Path, parts: list[Part], fold: tuple[int, int] | None, draws: Draws | None
) -> set[str] | None:
    """The uids of a fold's objects that have drawn clouds; None: all."""
    found = None if draws is None else set(draws)
    if fold:
        members = read_members(Layout(clouds.parent), parts, ())
        inside = {uid for uid, at in folds(members, fold[1]).items() if at == fold[0]}
        found = inside if found is None else found & inside
    return found
