"""From one-row staging files to shards: a shuffled plan, then one file a shard, then the manifest.

    parts = read_manifest(clouds)
    plans = plan_shards(staged, parts, packed_uids(clouds, parts), seed=0, shard_rows=256)
    new = [pack_shard(plan, clouds, config_hash, versions, row_group_mib=16) for plan in plans]
    write_manifest(clouds, [*parts, *new])

Rows are ordered by a hash of seed and uid: a global shuffle that does not depend on who finished first.
New models are appended in new parts; parts that exist are never rewritten, so running again with nothing
new plans nothing. A run that dies before the manifest leaves files that the next run replaces.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from fuse.manifest import Part, commit, describe
from fuse.shard import Shard, write_shard


@dataclass(frozen=True)
class Plan:
    """One shard to write: its file name and its rows' staging files, in order."""

    file: str
    uids: tuple[str, ...]
    staged: tuple[str, ...]


def plan_shards(
    staged: Mapping[str, str], parts: Sequence[Part], packed: Collection[str], seed: int, shard_rows: int
) -> list[Plan]:
    """Plan parts for the uids of `staged` (uid -> path of its one-row file) that are not `packed` yet."""
    uids = sorted(set(staged) - set(packed), key=lambda uid: shuffle_key(seed, uid))
    first = 1 + max((part_number(part.file) for part in parts), default=-1)
    chunks = [uids[at : at + shard_rows] for at in range(0, len(uids), shard_rows)]
    return [
        Plan(part_name(first + i), tuple(chunk), tuple(str(staged[uid]) for uid in chunk))
        for i, chunk in enumerate(chunks)
    ]


def pack_shard(
    plan: Plan, clouds: Path, config_hash: str, versions: Mapping[str, str], row_group_mib: float
) -> Part:
    """Write one planned shard into `clouds`, atomically, and return its line for the manifest."""
    clouds.mkdir(parents=True, exist_ok=True)
    temporary = clouds / f".{plan.file}.{os.getpid()}"
    try:
        write_shard(temporary, _tables(plan), config_hash, versions, row_group_mib)
        commit(temporary, clouds / plan.file)
    finally:
        temporary.unlink(missing_ok=True)
    return describe(clouds / plan.file)


def packed_uids(clouds: Path, parts: Sequence[Part]) -> set[str]:
    """The uids that the parts of the manifest hold."""
    uids: set[str] = set()
    for part in parts:
        with Shard(clouds / part.file) as shard:
            uids.update(shard.uids())
    return uids


def shuffle_key(seed: int, uid: str) -> bytes:
    """Where a uid stands in the global shuffle."""
    return hashlib.sha256(f"{seed}\0{uid}".encode()).digest()


def part_name(number: int) -> str:
    """`part-00007.parquet`."""
    return f"part-{number:05d}.parquet"


def part_number(file: str) -> int:
    """The inverse of `part_name`."""
    return int(file.removeprefix("part-").removesuffix(".parquet"))


def _tables(plan: Plan) -> Iterator[pa.Table]:
    for path in plan.staged:
        with Shard(path) as shard:
            yield shard.table(0)
