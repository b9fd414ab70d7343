"""Shards that follow the decisions: without what was left out, with weights and clusters in their rows.

    materialize(Path("OUT"), Path("CURATED"))    # a dataset of its own; OUT stays as it is
    materialize(Path("OUT"), Path("OUT"))        # in place
    restore(Layout(Path("OUT")))                 # the rows' own weights again

In place the new shards have new names; the manifest goes over to them at once, and then the old ones are
removed. Both are announced before (`fuse.dataset.packing`), so the next run removes what a killed one leaves.
The decisions stay, with each row's own weight; the rows that were left out come back by `insideout fuse`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from fuse.dataset import packing, storage
from fuse.dataset.decisions import read_decisions
from fuse.dataset.layout import Layout, open_dataset, part_name
from fuse.dataset.manifest import Part, describe, read_manifest, write_manifest
from fuse.dataset.shard import Shard, write_shard
from pipeline.curate.survey import carry
from pipeline.output import record
from pipeline.output.commit import exclusive
from render.failures import UserError


class Share(NamedTuple):
    """What a row is given."""

    weight: float
    """0: the row is left out."""
    cluster: int | None


Shares = Mapping[str, Share]
"""By uid. A row that came after the curation has none, and stays as it is."""


class Rewrite(NamedTuple):
    """A shard to write again."""

    part: Part
    file: str
    """The new one's name."""
    before: list[str]
    """Uids of its rows."""
    after: list[str]


def materialize(out: Path, to: Path) -> list[Part]:
    """Write the dataset's decisions into shards of the dataset `to`, `out` itself or a new one; return them.

    UserError where no model is kept, or where `to` is another folder and not empty.
    """
    layout, target = open_dataset(out), Layout(to.absolute())
    if target.root == layout.root:
        with exclusive(layout):
            shares = _decided(layout)
            parts = [part for part in read_manifest(layout.clouds) if not _is_done(layout, part, shares)]
            return _replace(layout, parts, shares, curated=True)
    with exclusive(layout), exclusive(target):
        return _copy(layout, target, _decided(layout))


def restore(layout: Layout) -> None:
    """Give the rows of curated shards their own weights again, and no cluster. The caller holds the lock."""
    own = {uid: Share(one.own_weight, None) for uid, one in read_decisions(layout).items()}
    if parts := curated_parts(layout):
        _replace(layout, parts, own, curated=False)


def curated_parts(layout: Layout) -> list[Part]:
    """The shards that decisions were written into."""
    return [part for part in read_manifest(layout.clouds) if _is_curated(layout, part)]


def _decided(layout: Layout) -> Shares:
    decided = read_decisions(layout)
    if not any(one.kept for one in decided.values()):
        raise UserError(f"{layout.root}: no model is kept, so there is nothing to write. Change the rules.")
    return {uid: Share(one.weight, one.cluster) for uid, one in decided.items()}


def _copy(layout: Layout, target: Layout, shares: Shares) -> list[Part]:
    packing.sweep(target)
    there = (entry.name for entry in storage.listing(target.root) if target.root / entry.name != target.lock)
    if name := next(there, None):
        raise UserError(f"{target.root}: not empty: there is {name}. Choose another folder.")
    found = [one for one in _rewrites(layout, read_manifest(layout.clouds), shares, 0) if one.after]
    packing.announce(target, {one.file: one.after for one in found})
    written = [_write(layout, target, one, shares, curated=False) for one in found]
    write_manifest(target.clouds, written, target.temporary)
    if layout.dataset.exists():
        storage.publish_bytes(storage.read_bytes(layout.dataset), target.dataset, target.temporary)
    return _finish(target)


def _replace(layout: Layout, parts: Sequence[Part], shares: Shares, curated: bool) -> list[Part]:
    packing.sweep(layout)
    found = list(_rewrites(layout, parts, shares, packing.next_number(layout.shards())))
    new = [one for one in found if one.after]
    before = {one.part.file: one.before for one in found}
    packing.announce(layout, before | {one.file: one.after for one in new})
    written = [_write(layout, layout, one, shares, curated) for one in new]
    for one, part in zip(new, written, strict=True):
        carry(layout, one.part, part)
    others = [part for part in read_manifest(layout.clouds) if part.file not in before]
    write_manifest(layout.clouds, [*others, *written], layout.temporary)
    return _finish(layout)


def _finish(target: Layout) -> list[Part]:
    packing.sweep(target)
    storage.remove_empty(target.staging)
    record.describe(target)
    return read_manifest(target.clouds)


def _rewrites(layout: Layout, parts: Sequence[Part], shares: Shares, first: int) -> Iterator[Rewrite]:
    """What the shards become, numbered from `first`; one of which nothing stays takes no number."""
    for part, uids in zip(parts, packing.uids_by_part(layout.clouds, parts), strict=True):
        after = [uid for uid in uids if uid not in shares or shares[uid].weight > 0]
        yield Rewrite(part, part_name(first), uids, after)
        first += bool(after)


def _write(layout: Layout, target: Layout, one: Rewrite, shares: Shares, curated: bool) -> Part:
    path = layout.shard(one.part.file)
    with Shard(path) as shard, storage.writing(target.shard(one.file), target.temporary) as new:
        tables = (given(shard.table(group), shares) for group in range(shard.row_groups))
        kept = (table for table in tables if len(table))
        write_shard(new, kept, one.part.config_hash, shard.versions, curated=curated)
        return replace(describe(new), file=one.file)


def given(table: pa.Table, shares: Shares) -> pa.Table:
    """The rows that stay, with their shares."""
    rows = zip(*(table[name].to_pylist() for name in ("uid", "weight", "cluster")), strict=True)
    found = [shares.get(uid, Share(weight, cluster)) for uid, weight, cluster in rows]
    stays = [uid not in shares or shares[uid].weight > 0 for uid in table["uid"].to_pylist()]
    for name in Share._fields:
        at = table.schema.get_field_index(name)
        field = table.schema.field(at)
        table = table.set_column(at, field, pa.array([getattr(one, name) for one in found], field.type))
    return table.filter(pa.array(stays))


def _is_curated(layout: Layout, part: Part) -> bool:
    with Shard(layout.shard(part.file)) as shard:
        return shard.curated


def _is_done(layout: Layout, part: Part, shares: Shares) -> bool:
    """Whether the shard's rows have their shares."""
    with Shard(layout.shard(part.file)) as shard:
        names = ["uid", *Share._fields]
        tables = (shard.table(group, names).select(names) for group in range(shard.row_groups))
        return shard.curated and all(table.equals(given(table, shares)) for table in tables)
