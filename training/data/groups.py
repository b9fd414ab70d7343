"""Which row groups the loader reads, and which of their rows: by split, fold and drawn clouds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fuse.dataset.decisions import read_decisions
from fuse.dataset.layout import Layout
from fuse.dataset.manifest import Part, read_manifest
from fuse.dataset.shard import Shard, ShardError, interior_column
from fuse.dataset.splits import folds, read_members
from training.data.drawn import Draws
from training.data.point_mix import Mix
from training.data.rows import row_weights, usable_rows
from training.data.shuffle import Group


class EmptySplit(ShardError):
    """No row belongs to the split."""


@dataclass(frozen=True)
class Wanted:
    """The rows in use: of a split, with points of the mix's kind and, if asked for, images and masks."""

    split: str
    mix: Mix
    views: int = 0
    """Number of views used; 0: all."""
    images: bool = True
    masks: bool = False
    fold: tuple[int, int] | None = None
    """The part (i, n) of the objects in use; None: all."""
    weighted: bool = True
    """Whether rows come by their weights or curation, so that those of weight 0 are left out."""


def parts_of(clouds: Path) -> list[Part]:
    """The shards of a clouds folder. ShardError if there are none."""
    parts = read_manifest(clouds)
    if not parts:
        raise ShardError(f"{clouds}: no shards in the manifest. Run `insideout fuse` first.")
    return parts


def row_groups(clouds: Path, parts: list[Part], wanted: Wanted, draws: Draws | None) -> list[Group]:
    """The row groups that have wanted rows, of objects with drawn clouds alone if there are `draws`.

    Raises EmptySplit where there is none.
    """
    chosen = _chosen_uids(clouds, parts, wanted.fold, draws)
    if groups := list(_row_groups(clouds, parts, wanted, chosen)):
        return groups
    raise EmptySplit(
        f"{clouds}: no rows of split {wanted.split!r} with {wanted.mix.kind} points and a weight above 0"
        + (", in the fold and with drawn clouds" if chosen is not None else "")
        + ". Fuse more models, or choose another split."
    )


def require_views(shard: Shard, masks: bool) -> None:
    """ShardError where a shard has no images, or no masks of them although they are needed."""
    if not shard.views:
        raise ShardError(f"{shard.path}: no image columns to condition on. Render and fuse with views.")
    if masks and interior_column(0) not in shard.schema.names:
        raise ShardError(
            f"{shard.path}: it has no interior masks, which schema 3 brought. Run `insideout fuse` with "
            "--on-existing overwrite, or do without masks (see_inside none)."
        )


def _row_groups(clouds: Path, parts: list[Part], wanted: Wanted, chosen: set[str] | None) -> Iterator[Group]:
    """The row groups; `chosen` are uids, None: all."""
    decided = read_decisions(Layout(clouds.parent)) if wanted.weighted else None
    for part in parts:
        with Shard(clouds / part.file) as shard:
            if len(shard) != part.rows:
                raise ShardError(
                    f"{shard.path}: {len(shard)} rows, the manifest says {part.rows}. Fuse again."
                )
            if wanted.images:
                require_views(shard, wanted.masks)
            for index in range(shard.row_groups):
                rows, weights = usable_rows(shard, index, wanted.split, wanted.mix.kind), None
                if chosen is not None and len(rows):
                    uids = shard.table(index, ["uid"])["uid"].to_pylist()
                    rows = np.array([row for row in rows.tolist() if uids[row] in chosen], np.int64)
                if decided is not None:
                    weights = row_weights(shard, index, decided)[rows]
                    rows, weights = rows[weights > 0], weights[weights > 0]
                if len(rows):
                    views = min(wanted.views or shard.views, shard.views)
                    yield Group(shard.path, index, rows, views, weights)


def _chosen_uids(
    clouds: Path, parts: list[Part], fold: tuple[int, int] | None, draws: Draws | None
) -> set[str] | None:
    """The uids of a fold's objects that have drawn clouds; None: all."""
    found = None if draws is None else set(draws)
    if fold:
        members = read_members(Layout(clouds.parent), parts, ())
        inside = {uid for uid, at in folds(members, fold[1]).items() if at == fold[0]}
        found = inside if found is None else found & inside
    return found
