"""Parquet files of a dataset whose checksums are right and whose values are not: one line names the file.

Each attack rewrites a table whole. What reads it must end in a message for people.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuse.dataset.decisions import Decision, read_decisions, write_decisions
from fuse.dataset.layout import Layout, part_name
from fuse.dataset.shard import Shard
from pipeline.curate import measured
from pipeline.ledger import compact
from pipeline.ledger.rows import Row
from render.failures import FailureClass, Status, UserError

Change = Callable[[pa.Table], pa.Table]
DEEP = b"[" * 100_000


def _column(table: pa.Table, name: str, values: pa.Array, nullable: bool = False) -> pa.Table:
    at = table.column_names.index(name)
    return table.set_column(at, table.schema.field(at).with_nullable(nullable), values)


def not_utf8(name: str) -> Change:
    """Bytes that are no text in a column of text, as a foreign writer may leave them."""

    def change(table: pa.Table) -> pa.Table:
        values = pa.array([b"\xff\xfe"] * len(table), pa.binary()).view(pa.string())
        return _column(table, name, values)

    return change


def gap(name: str) -> Change:
    return lambda table: _column(table, name, pa.nulls(len(table), table.schema.field(name).type), True)


def twice(name: str) -> Change:
    return lambda table: table.append_column(table.schema.field(name), table.column(name))


def without(name: str) -> Change:
    return lambda table: table.drop_columns([name])


def footer(key: bytes, value: bytes) -> Change:
    return lambda table: table.replace_schema_metadata({**(table.schema.metadata or {}), key: value})


def rewrite(path: Path, change: Change) -> None:
    table = change(pq.read_table(path))
    pq.write_table(table, path, write_page_checksum=True)


def ends(action: Callable[[], object], name: str) -> None:
    with pytest.raises(UserError, match=name) as error:
        action()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [not_utf8("uid"), not_utf8("caption"), gap("uid"), twice("outside_xyz"), without("interior_03")],
    ids=["uid not UTF-8", "caption not UTF-8", "no uid", "a column twice", "a column less"],
)
def test_a_shard(layout: Layout, change: Change) -> None:
    path = layout.shard(part_name(0))
    rewrite(path, change)

    def read() -> None:
        with Shard(path) as shard:
            list(shard.rows())

    ends(read, path.name)


@pytest.mark.parametrize("text", [b"", b"[1]", b'{"a": {}}', DEEP])
def test_the_versions_in_a_shard(layout: Layout, text: bytes) -> None:
    path = layout.shard(part_name(0))
    rewrite(path, footer(b"insideout.versions", text))
    with Shard(path) as shard:
        ends(lambda: shard.versions, path.name)


@pytest.mark.parametrize(
    "change",
    [
        not_utf8("reason"),
        gap("weight"),
        twice("uid"),
        without("weight"),
        footer(b"insideout.clusters", b'{"x": "y"}'),
        footer(b"insideout.clusters", DEEP),
    ],
)
def test_decisions(layout: Layout, change: Change) -> None:
    one = Decision("cube", 1.0, 1.0, "good", "cluster", "of cluster 0", 0, None)
    write_decisions(layout, [one], {0: "cubes"})
    assert read_decisions(layout) == {"cube": one}
    rewrite(layout.decisions, change)
    ends(lambda: read_decisions(layout), "decisions.parquet")


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger of one model, folded."""
    folder, temporary = tmp_path / "ledger", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    row = Row("cube", "cube.obj", Status.FAILED, FailureClass.CRASH, companions=[["cube.mtl", 5, 1]])
    (folder / "20260101T000000.000000-abc.jsonl").write_text(f"{row.to_json()}\n")
    assert compact.fold(folder, temporary, least=0)
    return folder


@pytest.mark.parametrize(
    "change",
    [
        not_utf8("message"),
        gap("uid"),
        without("ok"),
        footer(b"insideout.ledger", b"{}"),
        footer(b"insideout.ledger", b'{"files": [], "runs": [{"name": "a", "began": "noon"}]}'),
        footer(b"insideout.ledger", DEEP),
        lambda table: _column(table, "companions", pa.array(["["], pa.string()), True),
    ],
)
def test_a_folded_ledger(ledger: Path, change: Change) -> None:
    assert [row.uid for row in compact.read_rows(ledger)] == ["cube"]
    rewrite(ledger / compact.NAME, change)
    ends(lambda: (list(compact.read_rows(ledger)), compact.runs(ledger)), "compact.parquet")


def test_a_folded_ledger_of_text(ledger: Path) -> None:
    (ledger / compact.NAME).write_text("PAR1 and no more")
    ends(lambda: list(compact.read_rows(ledger)), "compact.parquet")


def test_a_ledgers_lines_of_other_types_are_left_out(ledger: Path) -> None:
    good = json.loads(Row("ball", "ball.obj", Status.OK).to_json())
    lines = [good | change for change in ({"status": "maybe"}, {"uid": ["x"]}, {"seconds": "long"}, {})]
    lines.append({"run": 1, "stage": "render", "models": "m", "given": float("inf"), "todo": 0, "time": 1})
    (ledger / "20270101T000000.000000-abc.jsonl").write_text("".join(f"{json.dumps(v)}\n" for v in lines))
    assert [row.uid for row in compact.read_rows(ledger)] == ["cube", "ball"]
    assert [run.given for run in compact.runs(ledger)] == []


@pytest.mark.parametrize("change", [not_utf8("caption"), without("feature"), None])
def test_measures(layout: Layout, change: Change | None) -> None:
    path = layout.measures / part_name(0)
    path.parent.mkdir(parents=True)
    empty = [pa.array([None], field.type) for field in measured.SCHEMA]
    pq.write_table(pa.Table.from_arrays(empty, schema=measured.SCHEMA), path)
    assert len(measured.read_survey(layout, measured.SCHEMA.names)) == 1
    if change:
        rewrite(path, change)
    else:
        path.write_bytes(path.read_bytes()[:-20] + b"\0" * 20)
    ends(lambda: measured.read_survey(layout, measured.SCHEMA.names), path.name)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_no_number(layout: Layout, value: float) -> None:
    write_decisions(layout, [Decision("cube", value, 1.0, None, "flat", "", None, None)], {})
    ends(lambda: read_decisions(layout), "decisions.parquet")
