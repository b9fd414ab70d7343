"""Parquet tables other than shards, which may be a stranger's too: each is what it should be, or one line.

with readable(path, "not a curation's decisions", "Run `insideout curate` again."):
    table = required(pq.read_table(file), SCHEMA)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from render.failures import DAMAGE, UserError, printable

Table = TypeVar("Table", pa.Table, pa.RecordBatch)


@contextlib.contextmanager
def readable(path: Path, problem: str, remedy: str) -> Iterator[None]:
    """Make a UserError, `PATH: PROBLEM (why). REMEDY`, of what is raised for a damaged file, but for one that
    is not there."""
    try:
        yield
    except (FileNotFoundError, UserError):
        raise
    except (pa.ArrowException, OSError, *DAMAGE) as error:
        reason = printable(" ".join(str(error).split()) or type(error).__name__)[:200]
        raise UserError(f"{path}: {problem} ({reason}). {remedy}") from None


def required(table: Table, schema: pa.Schema) -> Table:
    """The table itself. ArrowInvalid where it lacks a column of the schema, or a value in one that may have
    no gaps, or where text is not UTF-8."""
    for field in schema:
        at = table.schema.get_field_index(field.name)  # -1 for a column that is there twice, too
        if at < 0 or table.schema.field(at).type != field.type:
            raise pa.ArrowInvalid(f"no column {field.name} of type {field.type}")
        if not field.nullable and table.column(at).null_count:
            raise pa.ArrowInvalid(f"column {field.name} has gaps")
    table.validate(full=True)
    return table
