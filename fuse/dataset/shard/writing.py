"""Writes shards: tables of one row each, gathered into row groups. The caller commits the file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuse.dataset.shard.schema import CURATED, ShardError, schema_for, version_of, view_count


def table_of(row: Mapping[str, Any]) -> pa.Table:
    """One row as a table. Arrays may be ndarrays (checked against the field's dtype) or bytes."""
    schema = schema_for(sum(name.startswith("image_") for name in row), version_of(row))
    missing, unknown = set(schema.names) - set(row), set(row) - set(schema.names)
    if missing or unknown:
        raise ShardError(
            f"row {row.get('uid')!r}: missing columns {sorted(missing)}, unknown columns {sorted(unknown)}"
        )
    columns = [pa.array([_plain(field, row[field.name])], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def write_shard(
    path: Path | str,
    tables: Iterable[pa.Table],
    config_hash: str,
    versions: Mapping[str, str],
    row_group_mib: float = 16,
    curated: bool = False,
) -> int:
    """Write tables of one schema to `path`, in order; return the number of rows.

    The caller commits the file (temporary name, fsync, rename), and says whether the weights in it are a
    curation's (`Shard.curated`). Raises ShardError if the schemas differ.
    """
    writer, rows = None, 0
    try:
        for group in _row_groups(tables, row_group_mib * 2**20):
            writer = writer or _open_writer(path, group.schema)
            _same_schema(path, writer.schema, group.schema)
            writer.write_table(group, row_group_size=group.num_rows)
            rows += group.num_rows
        if writer is None:
            raise ShardError(f"{path}: no rows to write")
        marks = {CURATED: "true"} if curated else {}
        version = version_of(writer.schema.names)
        writer.add_key_value_metadata(_footer(version, config_hash, versions) | marks)
    finally:
        if writer is not None:
            writer.close()
    return rows


def _same_schema(path: Path | str, first: pa.Schema, other: pa.Schema) -> None:
    if first == other:
        return
    if view_count(first) != view_count(other):
        views = {view_count(first), view_count(other)}
        raise ShardError(f"{path}: its rows have different numbers of views, {views}")
    raise ShardError(
        f"{path}: some of its rows were fused by an older release. Fuse with --on-existing overwrite."
    )


def _plain(field: pa.Field, value: Any) -> Any:
    """A value that pyarrow accepts for the field; arrays become their bytes."""
    if not isinstance(value, np.ndarray):
        return value
    dtype = (field.metadata or {}).get(b"dtype")
    if dtype is None:
        return value.tolist()
    shape = tuple(json.loads(field.metadata[b"shape"]))
    if value.dtype != np.dtype(dtype.decode()) or value.shape[1:] != shape[1:]:
        raise ShardError(f"{field.name} must be {dtype.decode()} {shape}, not {value.dtype} {value.shape}")
    return np.ascontiguousarray(value).tobytes()


def _row_groups(tables: Iterable[pa.Table], target: float) -> Iterator[pa.Table]:
    """Gather tables until they hold `target` bytes."""
    held: list[pa.Table] = []
    size = 0
    for table in tables:
        if held and table.schema != held[0].schema:
            yield pa.concat_tables(held).combine_chunks()
            held, size = [], 0
        held.append(table)
        size += table.nbytes
        if size >= target:
            yield pa.concat_tables(held).combine_chunks()
            held, size = [], 0
    if held:
        yield pa.concat_tables(held).combine_chunks()


def _open_writer(path: Path | str, schema: pa.Schema) -> pq.ParquetWriter:
    options: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": 3,
        "use_dictionary": ["format", "split", "category", "license", "solid_method"],
        "write_statistics": [field.name for field in schema if not pa.types.is_binary(field.type)],
        "write_page_checksum": True,
        "write_page_index": True,
    }
    return pq.ParquetWriter(path, schema, **options)


def _footer(version: int, config_hash: str, versions: Mapping[str, str]) -> dict[str, str]:
    return {
        "insideout.schema_version": str(version),
        "insideout.config_hash": config_hash,
        "insideout.versions": json.dumps(dict(versions), sort_keys=True),
    }
