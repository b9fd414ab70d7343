"""The manifest of a clouds folder: one JSON line per shard, written last.

A shard that the manifest does not name does not belong to the dataset; one that it names is whole, or
`verify` reports it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from fuse.dataset import storage
from fuse.dataset.layout import MANIFEST
from fuse.dataset.shard import Shard, ShardError


@dataclass(frozen=True)
class Part:
    """A line of the manifest: one shard as it was committed."""

    file: str  # name inside the clouds folder
    rows: int
    bytes: int
    sha256: str
    row_groups: int
    first_uid: str
    last_uid: str
    config_hash: str


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
    path = clouds / MANIFEST
    try:
        return [Part(**json.loads(line)) for line in storage.read_bytes(path).splitlines() if line.strip()]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        raise ShardError(f"{path}: not a manifest ({error}). Delete it and fuse again.") from error


def write_manifest(clouds: Path, parts: Iterable[Part]) -> None:
    """Replace the manifest atomically. Called last: the shards that it names are whole."""
    lines = (json.dumps(asdict(part), sort_keys=True) for part in sorted(parts, key=lambda part: part.file))
    storage.publish_bytes("".join(f"{line}\n" for line in lines).encode(), clouds / MANIFEST)
