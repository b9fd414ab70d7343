"""The manifest of a clouds folder: one JSON line per shard, written last.

A shard that the manifest does not name does not belong to the dataset; one that it names is whole, or
`verify` reports it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from fuse.dataset import storage
from fuse.dataset.layout import MANIFEST
from fuse.dataset.names import Name, brief
from fuse.dataset.shard import Shard, ShardError

Count = Annotated[int, Field(ge=0, lt=2**63)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Part:
    """A line of the manifest: one shard as it was committed."""

    file: Name  # inside the clouds folder
    rows: Count
    bytes: Count
    sha256: str
    row_groups: Count
    first_uid: Name
    last_uid: Name
    config_hash: str


_PART = TypeAdapter(Part)


def describe(path: Path) -> Part:
    """The manifest's line for a local shard."""
    with Shard(path) as shard:
        uids = shard.uids()
        return Part(
            file=path.name,
            rows=len(shard),
            bytes=path.stat().st_size,
            sha256=sha256_of(path),
            row_groups=shard.row_groups,
            first_uid=uids[0],
            last_uid=uids[-1],
            config_hash=shard.footer["insideout.config_hash"],
        )


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(clouds: Path) -> list[Part]:
    """The parts of a clouds folder in order; none where there is no manifest yet."""
    path, parts = clouds / MANIFEST, {}
    try:
        lines = storage.read_bytes(path).splitlines()
    except FileNotFoundError:
        return []
    for number, line in enumerate(lines, start=1):
        part = _part(path, number, line) if line.strip() else None
        if part and parts.setdefault(part.file, part) is not part:
            raise ShardError(f"{path}: line {number} names {part.file} again. Delete that line.")
    return list(parts.values())


def _part(path: Path, number: int, line: bytes) -> Part:
    try:
        return _PART.validate_json(line)
    except ValidationError as error:
        reason = f"line {number}: not a manifest ({brief(error)})"
        raise ShardError(f"{path}: {reason}. Delete it and fuse again.") from None


def write_manifest(clouds: Path, parts: Iterable[Part], temporary: Path | None = None) -> None:
    """Replace the manifest atomically. Called last: the shards that it names are whole.

    A local manifest is written in `temporary`, else beside the old one.
    """
    lines = (json.dumps(asdict(part), sort_keys=True) for part in sorted(parts, key=lambda part: part.file))
    storage.publish_bytes("".join(f"{line}\n" for line in lines).encode(), clouds / MANIFEST, temporary)
