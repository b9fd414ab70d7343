"""From one-row staging files to shards: a shuffled plan, then the shards, then the manifest.

    parts = read_manifest(layout.clouds)
    plans = plan_shards(layout.staged(), parts, packed_uids(layout.clouds, parts), seed=0, shard_rows=256)
    new = [pack_shard(plan, layout, config_hash, versions, 16, splits) for plan in plans]
    write_manifest(layout.clouds, [*parts, *new], layout.temporary)

Rows are ordered by a hash of seed and uid: a global shuffle that does not depend on which model finished
first. New models are appended in new shards; existing ones are never rewritten, so running again with nothing
new plans nothing. A run that dies before the manifest leaves files that the next run replaces.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from pydantic import TypeAdapter

from fuse.dataset import storage
from fuse.dataset.layout import Layout, part_name, part_number
from fuse.dataset.manifest import Part, describe, read_manifest
from fuse.dataset.names import Name
from fuse.dataset.shard import Shard, ShardError, write_shard

_DIGESTS = TypeAdapter(dict[Name, str])


@dataclass(frozen=True)
class Plan:
    """One shard to write: its file name, and the uids of its rows, in order."""

    file: str
    uids: tuple[str, ...]


def plan_shards(
    staged: Collection[str],
    parts: Sequence[Part],
    packed: Collection[str],
    seed: int,
    shard_rows: int,
    taken: Collection[str] = (),
) -> list[Plan]:
    """Plan shards for the `staged` uids that are not `packed` yet, under names that are not `taken`."""
    uids = sorted(set(staged) - set(packed), key=lambda uid: shuffle_key(seed, uid))
    first = next_number([*taken, *(part.file for part in parts)])
    chunks = [uids[at : at + shard_rows] for at in range(0, len(uids), shard_rows)]
    return [Plan(part_name(first + i), tuple(chunk)) for i, chunk in enumerate(chunks)]


def next_number(files: Collection[str]) -> int:
    """The number of the next shard after those of these names."""
    numbers = map(part_number, files)
    return 1 + max((number for number in numbers if number is not None), default=-1)


def pack_shard(
    plan: Plan,
    layout: Layout,
    config_hash: str,
    versions: Mapping[str, str],
    row_group_mib: float,
    splits: Mapping[str, str],
) -> Part:
    """Write one planned shard from the staged rows, atomically. Returns its line for the manifest.

    `splits` has the split of each undecided row by uid (`fuse.dataset.splits`).
    """
    with storage.writing(layout.shard(plan.file), layout.temporary) as path:
        tables = (_decided(table, splits) for table in _tables(plan, layout))
        write_shard(path, tables, config_hash, versions, row_group_mib)
        return replace(describe(path), file=plan.file)


def announce(layout: Layout, shards: Mapping[str, Sequence[str]]) -> None:
    """Record the shards that are about to be written or to be taken apart: file -> the uids of its rows."""
    digests = {file: _digest(uids) for file, uids in shards.items()}
    storage.publish_bytes(json.dumps(digests).encode(), layout.pending, layout.temporary)


def sweep(layout: Layout) -> None:
    """Remove the announced shards that the manifest does not name; a file with other rows is not ours."""
    try:
        announced = _DIGESTS.validate_json(storage.read_bytes(layout.pending))
    except FileNotFoundError:
        return
    except ValueError as error:
        raise ShardError(f"{layout.pending}: not a list of shards. Delete it and fuse again.") from error
    named = {part.file for part in read_manifest(layout.clouds)}
    unnamed = [file for file in announced if file not in named and part_number(file) is not None]
    storage.remove([path for file in unnamed if _holds(path := layout.shard(file), announced[file])])
    storage.remove([layout.pending])


def remove_staged(layout: Layout, packed: Collection[str], before: Collection[str]) -> None:
    """Remove the staged rows that are `packed`, and those of `before` that hold the row of their name."""
    unread = [layout.staged_row(uid) for uid in before]
    storage.remove([path for path in unread if _holds(path, _digest([path.stem]))])
    storage.remove([layout.staged_row(uid) for uid in packed])
    storage.remove([layout.pending])
    storage.remove_empty(layout.staging)


def _digest(uids: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(uids).encode()).hexdigest()


def _holds(path: Path, digest: str) -> bool:
    """Whether a file is a shard of the rows with this digest: the proof that it is the one that was meant."""
    try:
        with Shard(path) as shard:
            return _digest(shard.uids()) == digest
    except ShardError:
        return False


def packed_uids(clouds: Path, parts: Sequence[Part]) -> set[str]:
    """The uids that the shards of the manifest hold."""
    return {uid for uids in uids_by_part(clouds, parts) for uid in uids}


def uids_by_part(clouds: Path, parts: Sequence[Part]) -> Iterator[list[str]]:
    """The uids of each shard, in its order; several shards are read at once."""

    def uids(part: Part) -> list[str]:
        with Shard(clouds / part.file) as shard:
            return shard.uids()

    return storage.in_parallel(uids, list(parts))


def shuffle_key(seed: int, uid: str) -> bytes:
    """The sort key of a uid in the global shuffle."""
    return hashlib.sha256(f"{seed}\0{uid}".encode()).digest()


def _tables(plan: Plan, layout: Layout) -> Iterator[pa.Table]:
    paths = [layout.staged_row(uid) for uid in plan.uids]
    if storage.is_local(layout.root):
        yield from map(_table, paths)
    else:  # one request each: many at once
        yield from storage.in_parallel(_table, paths)


def _table(path: Path) -> pa.Table:
    """The one row of a staged file, which its name must be the uid of."""
    with Shard(path) as shard:
        if shard.uids() != [path.stem]:
            raise ShardError(
                f"{path}: does not hold the one row that its name says. Delete it and fuse again."
            )
        return shard.table(0)


def _decided(table: pa.Table, splits: Mapping[str, str]) -> pa.Table:
    """The one row with its split."""
    split = splits.get(table["uid"][0].as_py())
    if split is None:
        return table
    at = table.schema.get_field_index("split")
    return table.set_column(at, table.schema.field(at), pa.array([split]))
