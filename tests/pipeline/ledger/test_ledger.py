"""The ledger survives torn lines, and its last word on a model counts. Commits are whole or absent."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fuse.dataset.layout import Layout
from pipeline.engine.progress import Progress, clock
from pipeline.engine.resume import Resume
from pipeline.engine.tasks import Queue, Task, Tasks
from pipeline.inputs.file_stats import ABSENT, LocalStamps, Stamps
from pipeline.ledger.compact import NAME, fold, latest, read_rows, run_files, runs
from pipeline.ledger.failed import failed_rows
from pipeline.ledger.known import Known
from pipeline.ledger.rows import Row
from pipeline.ledger.writer import Ledger, new_run
from pipeline.output.commit import commit_bytes, commit_file
from render.failures import FailureClass, Status
from render.job import Job
from tests.helpers.places import ROOT


def write(folder: Path, run: str, *rows: Row) -> Path:
    ledger = Ledger(folder, run)
    for row in rows:
        ledger.append(row)
    ledger.close()
    return ledger.path


def test_rows_come_back_as_they_were(tmp_path: Path):
    row = Row(
        "u",
        "ü.glb",
        Status.FAILED,
        FailureClass.CRASH,
        "line\nline",
        -11,
        "SIGSEGV",
        1.5,
        {"import": 0.5},
        300,
        "tail",
    )
    write(tmp_path, "r1", row, Row("v", "v.glb", Status.OK, bytes=7))
    assert list(read_rows(tmp_path)) == [row, Row("v", "v.glb", Status.OK, bytes=7)]


def test_the_last_row_counts_across_runs(tmp_path: Path):
    write(tmp_path, "20260102", Row("u", "s", Status.OK, attempt=2))
    write(tmp_path, "20260101", Row("u", "s", Status.FAILED, FailureClass.TIMEOUT))
    assert latest(tmp_path) == {"u": Row("u", "s", Status.OK, attempt=2)}


def test_torn_and_foreign_lines_are_skipped(tmp_path: Path):
    path = write(tmp_path, "r1", Row("a", "s", Status.OK), Row("b", "s", Status.OK))
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
    assert not list(layout.temporary.glob("*.unfinished"))


def test_a_failed_commit_leaves_the_old_file(tmp_path: Path):
    layout = Layout(tmp_path)
    commit_bytes(b"old", tmp_path / "x" / "file", layout)
    (tmp_path / "x" / "folder").mkdir()
    with pytest.raises(OSError):
        commit_bytes(b"new", tmp_path / "x" / "folder", layout)
    with pytest.raises(OSError):
        commit_file(tmp_path / "missing", tmp_path / "x" / "file", layout)
    assert (tmp_path / "x" / "file").read_bytes() == b"old"
    assert not list(layout.temporary.glob("*.unfinished"))


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


def two_runs(folder: Path) -> None:
    """1,000 models; the second run repeats every third, and the crashed ones succeed."""
    first = [
        Row(
            f"m{n}",
            f"m{n}.glb",
            Status.FAILED if n % 3 == 0 else Status.OK,
            FailureClass.CRASH if n % 3 == 0 else None,
            **more(n),
        )
        for n in range(1000)
    ]
    write(folder, "20260101T000000.000000-aaaaaa", *first)
    again = [Row(f"m{n}", f"m{n}.glb", Status.OK, attempt=2, **more(n)) for n in range(0, 990, 3)]
    write(folder, "20260102T000000.000000-bbbbbb", *again)


def more(n: int) -> dict:
    tail = "".join(f"line {line}\n" for line in range(600))
    values = {"config_hash": "c" * 64, "input_size": n, "input_mtime_ns": n * 10**9 + 1, "bytes": n + 5}
    return {"log_tail": tail, "message": f"it is {n}", "companions": [["tex.png", n, 7]], **values}


def kept(rows: dict[str, Row]) -> dict[str, tuple]:
    """What resuming, status and failures look at."""
    return {
        uid: (
            row.ok,
            row.kind,
            row.message,
            row.config_hash,
            row.attempt,
            row.seconds,
            row.time,
            *stored(row),
        )
        for uid, row in rows.items()
    }


def stored(row: Row) -> tuple:
    return row.input_size, row.input_mtime_ns, row.companions, row.bytes


def test_folding_keeps_the_last_word_on_every_model(tmp_path: Path):
    layout = Layout(tmp_path)
    folder = layout.ledger("render")
    two_runs(folder)
    before = latest(folder)
    assert not fold(folder, layout.temporary, least=1 << 40), "too little to be worth it"
    assert fold(folder, layout.temporary, least=1)
    assert [path.name for path in folder.iterdir()] == [NAME]
    assert kept(latest(folder)) == kept(before)
    failed = failed_rows(layout, "render", log=True)
    assert [row.uid for row in failed] == sorted(f"m{n}" for n in range(990, 1000, 3))
    assert all(row.log_tail and row.log_tail.endswith("line 599\n") for row in failed)
    assert all(len(row.log_tail or "") <= 2000 for row in failed)
    assert not any(row.log_tail for row in read_rows(folder) if row.ok), "nobody asks for them"

    write(
        folder,
        "20260103T000000.000000-cccccc",
        Row("m990", "m990.glb", Status.OK),
        Row("new", "n", Status.OK),
    )
    assert latest(folder)["m990"].ok and len(latest(folder)) == 1001
    assert fold(folder, layout.temporary, least=1) is False, "a few rows do not rewrite a thousand"
    assert len(failed_rows(layout, "render")) == 3


def test_a_fold_that_dies_loses_and_doubles_nothing(tmp_path: Path):
    """Killed at ten random moments, among them between the new file and the removal of the old ones."""
    layout = Layout(tmp_path)
    folder = layout.ledger("render")
    two_runs(folder)
    expected = kept(latest(folder))
    code = "from tests.pipeline.ledger.test_ledger import *; layout = Layout(Path(sys.argv[1])); "
    code += "print('ready', flush=True); "
    code += "fold(layout.ledger('render'), layout.temporary, 1)"
    temporary = tmp_path / "elsewhere"
    temporary.mkdir()
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/bin", "TMPDIR": str(temporary)}
    for delay in sorted(random.Random(7).uniform(0, 0.4) for _ in range(10)):
        command = [sys.executable, "-c", code, str(tmp_path)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
            assert process.stdout and process.stdout.readline() == b"ready\n"
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        assert kept(latest(folder)) == expected
        assert not any(temporary.iterdir())
        if not run_files(folder):
            two_runs(folder)
    run_file = folder / "20260102T000000.000000-bbbbbb.jsonl"
    fold(folder, layout.temporary, least=1)
    run_file.write_text('{"uid": "m0", "source": "s", "status": "failed"}\n')  # as if its removal never came
    names = {path.name for path in run_files(folder)}
    assert names == set() and kept(latest(folder)) == expected, "what the footer names is not read again"
    fold(folder, layout.temporary, least=1)
    assert not run_file.exists()


def test_what_runs_said_of_themselves_outlives_the_fold(tmp_path: Path):
    ledger = Ledger(tmp_path, "20260101T000000.000000-aaaaaa")
    ledger.begin("render", "../models", given=5, todo=2)
    ledger.append(Row("u", "s", Status.OK))
    ledger.end(130)
    ledger.close()
    assert fold(tmp_path, tmp_path, least=1)
    (run,) = runs(tmp_path)
    assert (run.models, run.given, run.todo, run.exit) == ("../models", 5, 2, 130)
    assert run.began <= (run.ended or 0)


def test_known_is_the_ledger_in_columns(tmp_path: Path):
    two_runs(tmp_path)
    for folded in (False, True):
        known, rows = Known.load(tmp_path), latest(tmp_path)
        assert len(known) == len(rows) == 1000
        for uid, row in rows.items():
            seen = known.get(uid)
            assert seen is not None
            assert (seen.ok, seen.kind, seen.attempt, seen.bytes) == (
                row.ok,
                row.kind or "",
                row.attempt,
                row.bytes,
            )
            assert (seen.input_size, seen.input_mtime_ns) == (row.input_size, row.input_mtime_ns)
        assert known.totals() == (996, {"crash": 4}) and known.get("stranger") is None
        assert folded or fold(tmp_path, tmp_path, least=1)


def test_a_model_is_settled_until_it_or_what_it_names_changes(tmp_path: Path):
    model, texture = tmp_path / "m.gltf", tmp_path / "tex" / "red.png"
    texture.parent.mkdir()
    model.write_text("model")
    texture.write_text("red")

    def row() -> Row:
        stat, other = model.stat(), texture.stat()
        named = [["tex/red.png", other.st_size, other.st_mtime_ns]]
        stamp = (stat.st_size, stat.st_mtime_ns)
        row = Row("u", "m.gltf", Status.OK, config_hash="c", bytes=1, companions=named)
        return replace(row, input_size=stamp[0], input_mtime_ns=stamp[1])

    def left(stamps: Stamps | None = None) -> int:
        known = Known.load(tmp_path / "ledger")
        resume = Resume("c", known, "skip", lambda *_: True, stamps or LocalStamps())
        return len(
            resume.todo(
                Tasks.of([Task("m.gltf", model, tmp_path / "out.zip", Job(uid="u", config_hash="c"))])
            )
        )

    write(tmp_path / "ledger", "r1", row())
    assert left() == 0
    listed = Stamps()
    for path in (model, texture):
        listed.add(str(path), path.stat().st_size, path.stat().st_mtime_ns)
    assert left(listed) == 0
    assert left(Stamps()) == 1, "a listing without the model"
    texture.write_text("green")
    assert left() == 1
    write(tmp_path / "ledger", "r2", row())
    assert left() == 0 and left(listed) == 1
    texture.unlink()
    assert left() == 1
    write(tmp_path / "ledger", "r3", replace(row_of_absent(model), config_hash="c", bytes=1))
    assert left() == 0
    texture.write_text("it has come")
    assert left() == 1 and left(listed) == 1


def row_of_absent(model: Path) -> Row:
    """A model that names a texture which is not there."""
    stat = model.stat()
    row = Row("u", "m.gltf", Status.OK, companions=[["tex/red.png", ABSENT, 0], ["../no.png", ABSENT, 0]])
    return replace(row, input_size=stat.st_size, input_mtime_ns=stat.st_mtime_ns)


def test_tasks_are_made_when_their_turn_comes():
    made: list[int] = []

    def make(number: int) -> Task:
        made.append(number)
        return Task("s", Path("i"), Path("o"), Job(uid=f"u{number}", config_hash="c"))

    tasks = Tasks(range(1000), make, lambda number: (f"u{number}", "i"))
    resume = Resume("c", Known(), "skip", lambda *_: True)
    todo = resume.todo(tasks.among({"u3", "u5", "u900"}))
    assert len(todo) == 3 and made == []
    queue = Queue(todo)
    first = queue.take()
    assert made == [3]
    queue.put_back(*first, *queue.take(2))
    again = [queue.take(2) for _ in range(3)]
    assert [[task.uid for task in taken] for taken in again] == [["u3"], ["u5"], ["u900"]]
    assert made == [3, 5, 900] and not queue


def test_a_run_is_the_newest_though_the_clock_went_back(tmp_path: Path):
    write(tmp_path, "20990101T000000.000000-aaaaaa", Row("u", "s", Status.FAILED, FailureClass.CRASH))
    run = new_run(tmp_path)
    write(tmp_path, run, Row("u", "s", Status.OK))
    assert run.startswith("20990101T000000.000001-") and latest(tmp_path)["u"].ok


def test_odd_rows_do_not_take_others_along(tmp_path: Path):
    """A file name that is no UTF-8, and values of wrong types, among good rows."""
    rows = [Row(f"m{n}", f"m{n}.glb", Status.OK, bytes=n) for n in range(5)]
    path = write(
        tmp_path, "r1", *rows, Row("odd", "n\udcff.glb", Status.FAILED, FailureClass.CRASH, "no \udcff")
    )
    with path.open("a") as file:
        file.write('{"uid": "w", "source": "w.glb", "status": "ok", "attempt": "many"}\n')
        file.write('{"uid": 7, "source": [], "status": {}}\n')
    assert len(Known.load(tmp_path)) == 6 and fold(tmp_path, tmp_path, least=1)
    folded = latest(tmp_path)
    (tmp_path / "r2.jsonl").write_text('{"uid": "w", "source": "w.glb", "status": "ok", "attempt": "many"}\n')
    assert len(Known.load(tmp_path)) == 6, "no good row at all in the newest file"
    assert set(folded) == {"odd", *(f"m{n}" for n in range(5))}
    assert folded["odd"].source == "n\\udcff.glb" and folded["m4"].bytes == 4
