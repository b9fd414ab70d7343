"""The ledger survives torn lines, and its last word on a model counts. Commits are whole or absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.commit import commit_bytes, commit_file
from pipeline.layout import Layout
from pipeline.ledger import Ledger, Row, latest, read_rows
from pipeline.progress import Progress, clock


def write(folder: Path, run: str, *rows: Row) -> Path:
    ledger = Ledger(folder, run)
    for row in rows:
        ledger.append(row)
    ledger.close()
    return ledger.path


def test_rows_come_back_as_they_were(tmp_path: Path):
    row = Row(
        "u", "ü.glb", "failed", "crash", "line\nline", -11, "SIGSEGV", 1.5, {"import": 0.5}, 300, "tail"
    )
    write(tmp_path, "r1", row, Row("v", "v.glb", "ok", bytes=7))
    assert list(read_rows(tmp_path)) == [row, Row("v", "v.glb", "ok", bytes=7)]


def test_the_last_row_counts_across_runs(tmp_path: Path):
    write(tmp_path, "20260102", Row("u", "s", "ok", attempt=2))
    write(tmp_path, "20260101", Row("u", "s", "failed", "timeout"))
    assert latest(tmp_path) == {"u": Row("u", "s", "ok", attempt=2)}


def test_torn_and_foreign_lines_are_skipped(tmp_path: Path):
    path = write(tmp_path, "r1", Row("a", "s", "ok"), Row("b", "s", "ok"))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert {row.uid for row in read_rows(tmp_path)} <= {"a", "b"}
    path.write_bytes(
        b'{"other": 1}\nnull\n[]\n\xff\xfe\n' + whole + b'{"uid": "c", "source": "s", "status": "ok"}'
    )
    assert [row.uid for row in read_rows(tmp_path)] == ["a", "b"], "c has no line end: it may not be whole"


def test_rows_of_a_later_release_can_be_read(tmp_path: Path):
    (tmp_path / "r.jsonl").write_text('{"uid": "u", "source": "s", "status": "ok", "invented": 1}\n')
    assert [row.uid for row in read_rows(tmp_path)] == ["u"]


def test_no_rows_no_file(tmp_path: Path):
    write(tmp_path / "ledger", "r1")
    assert not (tmp_path / "ledger").exists()


def test_a_commit_replaces_and_leaves_nothing_else(tmp_path: Path):
    layout = Layout(tmp_path)
    target = layout.bundle("u")
    assert commit_bytes(b"old", target, layout) == 3
    (tmp_path / "scratch").write_bytes(b"new!")
    assert commit_file(tmp_path / "scratch", target, layout) == 4
    assert target.read_bytes() == b"new!"
    assert list(layout.temporary.iterdir()) == []


def test_a_failed_commit_leaves_the_old_file(tmp_path: Path):
    layout = Layout(tmp_path)
    commit_bytes(b"old", tmp_path / "x" / "file", layout)
    (tmp_path / "x" / "folder").mkdir()
    with pytest.raises(OSError):
        commit_bytes(b"new", tmp_path / "x" / "folder", layout)
    with pytest.raises(OSError):
        commit_file(tmp_path / "missing", tmp_path / "x" / "file", layout)
    assert (tmp_path / "x" / "file").read_bytes() == b"old"
    assert list(layout.temporary.iterdir()) == []


def test_bundles_spread_over_folders_and_are_listed_by_uid(tmp_path: Path):
    layout = Layout(tmp_path)
    uids = [f"model-{n}.v{n % 3}" for n in range(50)]
    for uid in uids:
        commit_bytes(b"", layout.bundle(uid), layout)
    found = dict(layout.bundles())
    assert sorted(found) == sorted(uids)
    assert len(list(layout.views.iterdir())) > 25
    assert all(layout.views / entry.name == layout.bundle(uid) for uid, entry in found.items())


def test_progress_counts_and_estimates():
    progress = Progress("render", 10)
    assert progress.line().startswith("render 0/10: 0 ok, 0 failed, 10 left")
    progress.add(True)
    progress.add(False)
    assert "2/10: 1 ok, 1 failed, 8 left" in progress.line() and "ETA" in progress.line()
    assert [clock(5), clock(65), clock(3600)] == ["0:05", "1:05", "1:00:00"]
