"""Reads shards, which may be a stranger's: whatever is wrong with one is a ShardError."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from fuse.dataset import storage
from fuse.dataset.names import brief, is_name
from fuse.dataset.shard.schema import (
    CURATED,
    READABLE,
    REMEDY,
    Row,
    ShardError,
    one_line,
    schema_for,
    view_count,
)
from render.failures import printable
from render.files import NotAFileError

_VERSIONS = TypeAdapter(dict[str, str])
_FOOTER = 1 << 26  # bytes of a string, or items of a list, in a shard's footer
_MOST_ROWS = 1 << 20  # of a row group
_MOST_BYTES = 1 << 31  # of a row group, decompressed; ours hold 16 MiB, or one row


class Shard:
    """A shard opened for reading: schema and version checked, checksums verified, one row group at a time."""

    def __init__(self, path: Path | str):
        self.path = Path(path) if isinstance(path, str) else path  # a remote path keeps its type
        try:
            self.file = pq.ParquetFile(
                storage.readable(self.path),
                page_checksum_verification=True,
                thrift_string_size_limit=_FOOTER,
                thrift_container_size_limit=_FOOTER,
            )
            self.schema: pa.Schema = self.file.schema_arrow
        except FileNotFoundError:
            raise ShardError(f"{path}: no such shard. Run `insideout fuse` first.") from None
        except NotAFileError as error:
            raise ShardError(str(error)) from None
        except (pa.ArrowException, OSError) as error:
            raise ShardError(f"{path}: not a whole Parquet file ({one_line(error)}). {REMEDY}") from error
        self.footer: dict[str, str] = {
            key.decode(): value.decode(errors="replace")
            for key, value in (self.file.metadata.metadata or {}).items()
            if key.startswith(b"insideout.") and key.isascii()
        }
        _check_schema(self.path, self.schema, self.footer.get("insideout.schema_version"))
        self._check_sizes()

    def __enter__(self) -> Shard:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close(force=True)

    def __len__(self) -> int:
        return self.file.metadata.num_rows

    @property
    def row_groups(self) -> int:
        """Number of row groups."""
        return self.file.metadata.num_row_groups

    @property
    def views(self) -> int:
        """Number of views that its columns have room for."""
        return view_count(self.schema)

    @property
    def curated(self) -> bool:
        """Whether a curation was written into its rows: their weights are what it decided, not their own."""
        return CURATED in self.footer

    @property
    def versions(self) -> dict[str, str]:
        """The versions of what made its rows."""
        try:
            return _VERSIONS.validate_json(self.footer.get("insideout.versions", "{}"))
        except ValidationError as error:
            raise ShardError(f"{self.path}: versions in its footer: {brief(error)}. {REMEDY}") from None

    def uids(self) -> list[str]:
        """The uid of every row, without reading anything else."""
        return [
            uid for group in range(self.row_groups) for uid in self.table(group, ["uid"])["uid"].to_pylist()
        ]

    def table(self, group: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One row group. `columns` in any order; None means all."""
        unknown = set(columns or ()) - set(self.schema.names)
        if unknown:
            raise ShardError(f"{self.path}: no column {sorted(unknown)}; it has {self.schema.names}")
        try:
            table = self.file.read_row_group(group, columns=None if columns is None else list(columns))
            table.validate(full=True)  # that text is UTF-8
        except (pa.ArrowException, OSError) as error:
            raise ShardError(
                f"{self.path}: row group {group} is damaged ({one_line(error)}). {REMEDY}"
            ) from error
        for uid in table["uid"].to_pylist() if "uid" in table.column_names else ():
            if not is_name(uid):
                raise ShardError(f"{self.path}: the uid {uid[:99]!r} cannot name a file. {REMEDY}")
        return table

    def _check_sizes(self) -> None:
        """ShardError where a row group claims more than a machine can hold, or more rows than bytes."""
        for group in range(self.row_groups):
            found = self.file.metadata.row_group(group)
            if not 0 <= found.num_rows <= _MOST_ROWS or not 0 <= found.total_byte_size <= _MOST_BYTES:
                raise ShardError(
                    f"{self.path}: row group {group} claims {found.num_rows} rows of {found.total_byte_size} "
                    f"bytes; at most {_MOST_ROWS} and {_MOST_BYTES} are read. {REMEDY}"
                )

    def rows(
        self, columns: Sequence[str] | None = None, groups: Iterable[int] | None = None
    ) -> Iterator[Row]:
        """The rows of all or of the given row groups, as dictionaries; arrays are bytes (see `decode`)."""
        for group in range(self.row_groups) if groups is None else groups:
            for batch in self.table(group, columns).to_batches(max_chunksize=16):
                yield from batch.to_pylist()


def read_rows(path: Path | str, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Every row of a shard, in order; arrays are bytes (see `decode`)."""
    with Shard(path) as shard:
        yield from shard.rows(columns)


def _check_schema(path: Path, schema: pa.Schema, version: str | None) -> None:
    if version is None or version not in map(str, READABLE):
        known = " and ".join(map(str, READABLE))
        raise ShardError(
            f"{path}: shard schema {printable(str(version))[:20]}, this release reads {known}. "
            "Read it with the release that wrote it, or run `insideout fuse` with --on-existing overwrite."
        )
    for field in schema_for(view_count(schema), int(version)):
        at = schema.get_field_index(field.name)  # -1 for a column that is there twice, too
        found = schema.field(at) if at >= 0 else None
        if found is None or not found.equals(field, check_metadata=True):
            raise ShardError(
                f"{path}: column {field.name} is {printable(str(found))[:200]}, expected {field}. {REMEDY}"
            )
