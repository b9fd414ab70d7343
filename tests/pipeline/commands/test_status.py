"""Status, failures and retry tell the ledgers' truth, torn lines and changed configurations included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fuse.dataset.layout import Layout
from pipeline.cli import main
from pipeline.config import EngineConfig
from pipeline.ledger.failed import failed_rows
from pipeline.ledger.rows import Row
from pipeline.ledger.status import Pace, Status, Tally, Top
from pipeline.ledger.writer import Ledger
from pipeline.stages.render import render
from pipeline.stages.retry import retry
from render import failures
from render.config import RenderConfig
from render.failures import FailureClass, UserError

RUN = "20260101T000000.000000-aaaaaa"
LATER = "20260102T000000.000000-bbbbbb"
NEW = "c" * 64


@pytest.fixture
def out(tmp_path: Path) -> Path:
    root = tmp_path / "out"
    root.mkdir()
    stages = {"render": {"config": {}, "config_hash": NEW}, "fuse": {"config": {}, "config_hash": NEW}}
    (root / "dataset.json").write_text(json.dumps({"schema_version": 1, "stages": stages}))
    return root


def row(uid: str, kind: failures.FailureClass | None = None, **more) -> Row:
    values = {"config_hash": NEW, "seconds": 1.0, "peak_rss_mib": 100, "message": kind} | more
    return Row(uid, f"{uid}.glb", failures.Status.FAILED if kind else failures.Status.OK, kind, **values)


def write(out: Path, run: str, *rows: Row, stage: str = "render") -> Path:
    ledger = Ledger(Layout(out).ledger(stage), run)
    for entry in rows:
        ledger.append(entry)
    ledger.close()
    return ledger.path


def text(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    captured = capsys.readouterr()
    assert ended.value.code == code, captured.err
    return captured.out + captured.err


def test_a_models_last_row_counts_and_older_configurations_do_not(out: Path, capsys):
    write(
        out,
        RUN,
        row("a"),
        row("b", failures.FailureClass.CRASH),
        row("c", failures.FailureClass.TIMEOUT),
        row("d", config_hash="old"),
    )
    write(out, LATER, row("b"), row("e", failures.FailureClass.TIMEOUT))
    write(out, RUN, row("a"), stage="fuse")
    shown = text(capsys, "status", out)
    assert "render  2 ok, 2 failed, left: unknown, give --models" in shown
    assert " 2 timeout" in shown and "crash" not in shown
    assert " 1 judged under an older configuration" in shown
    assert "fuse    1 ok, 0 failed, 1 left of 2" in shown
    assert "clouds  no shard yet" in shown


def test_with_the_models_what_is_left_is_known(out: Path, tmp_path: Path, capsys):
    listing = tmp_path / "models.csv"
    listing.write_text("path,uid\na.glb,a\nb.glb,b\nc.glb,c\nd.glb,d\n,e\n")
    write(out, RUN, row("a"), row("b", failures.FailureClass.EMPTY), row("gone"), row("d", config_hash="old"))
    shown = text(capsys, "status", out, "--models", listing)
    assert "3 left of 5" in shown, "c, d (older) and the list's row without a path"


def test_watching_reads_on_where_it_stopped(out: Path):
    path = write(out, RUN, row("a"), row("b", failures.FailureClass.CRASH))
    status = Status(out)
    assert "1 ok, 1 failed" in status.refresh()[0]
    whole = row("c").to_json() + "\n"
    with path.open("a") as file:
        file.write(whole[:20])
    assert "1 ok, 1 failed" in status.refresh()[0], "a torn line is no row yet"
    with path.open("a") as file:
        file.write(whole[20:])
    assert "2 ok, 1 failed" in status.refresh()[0]
    write(out, LATER, row("b"))
    assert "3 ok, 0 failed" in status.refresh()[0]
    assert status.tallies["render"].run_rows == 1, "of the newest run"


def test_the_rate_is_that_of_the_rows_last_minutes(out: Path):
    layout, start, step = Layout(out), 1767225600, 2  # RUN's time; a model every 2 s, after a slow hour
    rows = [row(f"m{number}", time=start + 3600.0 + number * step) for number in range(400)]
    folder = layout.ledger("render")
    folder.mkdir(parents=True)
    (folder / f"{RUN}.jsonl").write_text("".join(entry.to_json() + "\n" for entry in rows))
    tally = Tally(layout, "render", NEW)
    tally.update()
    pace = tally.pace()
    assert pace is not None and pace.rate == pytest.approx(0.5)
    assert pace.recent_seconds == 600 and pace.rows / pace.seconds == pytest.approx(400 / (3600 + 798))


def test_the_ledger_says_what_its_run_is_about(out: Path, capsys):
    ledger = Ledger(Layout(out).ledger("render"), RUN)
    ledger.begin("render", "../my models", given=10, todo=4)
    assert "nothing yet" in text(capsys, "status", out) and "4 of 10 to do" in text(capsys, "status", out)
    for name, kind in (("a", None), ("b", failures.FailureClass.CRASH)):
        ledger.append(row(name, kind))
    shown = text(capsys, "status", out)
    assert "render  1 ok, 1 failed, 2 left of 10" in shown and "ETA" in shown, shown
    assert "../my models" in shown and "exit code" not in shown
    ledger.end(130)
    ledger.close()
    assert "exit code 130" in text(capsys, "status", out)


def test_no_end_is_foretold_for_a_run_that_has_gone_silent():
    moving, silent = (Pace("r", 100, 100.0, 50, 25.0, idle) for idle in (5.0, 7200.0))
    assert moving.line(120) == (
        "120.0/min over the last 0:25, 60.0/min over the run's 100 rows in 1:40; last row 0:05 ago; ETA 1:00"
    )
    assert "ETA" not in silent.line(120) and "stuck" in silent.line(120)
    assert "ETA" not in moving.line(0) and "ETA" not in moving.line(None)


def test_the_largest_are_kept_and_a_later_row_replaces():
    top = Top(2)
    for uid, value in (("a", 9.0), ("b", 1.0), ("c", 5.0), ("a", 2.0)):
        top.add(uid, value, uid)
    assert top.items() == [(5.0, "c"), (2.0, "a")]


def test_failures_by_class_with_reason_and_log(out: Path, capsys):
    write(
        out,
        RUN,
        row("z", failures.FailureClass.TIMEOUT, message="took\nlong", seconds=900.0),
        row(
            "b",
            failures.FailureClass.CRASH,
            signal="SIGSEGV",
            returncode=-11,
            log_tail="one\ntwo\n",
            attempt=2,
        ),
        row("fixed", failures.FailureClass.CRASH),
    )
    write(out, LATER, row("fixed"))
    shown = text(capsys, "failures", out)
    assert shown.splitlines() == [
        "render, crash: 1",
        "  b.glb: crash [SIGSEGV, 1.0 s, 100 MiB, attempt 2]",
        "render, timeout: 1",
        "  z.glb: took long [900.0 s, 100 MiB, attempt 1]",
    ]
    assert "    | one\n    | two\n" in text(capsys, "failures", out, "--class", "crash", "--log")
    assert "z.glb" not in text(capsys, "failures", out, "--class", "crash")
    write(out, RUN, row("f", FailureClass.FUSE_ERROR), stage="fuse")
    assert "fuse, fuse_error: 1" in text(capsys, "failures", out), "without --stage, every stage's"
    assert "fuse_error" not in text(capsys, "failures", out, "--stage", "render")
    assert text(capsys, "failures", out, "--class", "fuse_error").startswith("fuse, fuse_error: 1")
    wrong = text(capsys, "failures", out, "--class", "crush", code=2)
    assert "no render and fuse failure of class crush" in wrong
    assert "There are: crash (1), timeout (1), fuse_error (1)" in wrong


def test_where_nothing_ran_is_said(out: Path, tmp_path: Path, capsys):
    assert "no such folder" in text(capsys, "status", tmp_path / "nowhere", code=2)
    assert "no stage has run here" in text(capsys, "status", tmp_path, code=2)
    assert "not a dataset" in text(capsys, "failures", tmp_path, code=2)
    assert "no ledger of fuse" in text(capsys, "failures", out, "--stage", "fuse", code=2)
    write(out, RUN, row("a"))
    assert "no failure in render" in text(capsys, "retry", out, "--models", tmp_path)
    assert "No failure in render" in text(capsys, "failures", out)


def test_a_retry_needs_the_models_and_finds_them_among_them(out: Path, tmp_path: Path):
    write(out, RUN, row("a", failures.FailureClass.CRASH))
    stages = {"render": {"config": RenderConfig().model_dump(mode="json"), "config_hash": NEW}}
    (out / "dataset.json").write_text(json.dumps({"schema_version": 1, "stages": stages}))
    with pytest.raises(UserError, match="needs --models"):
        retry(out, "render", None, (), EngineConfig())
    (tmp_path / "other.csv").write_text("path\nother.glb\n")
    with pytest.raises(UserError, match="None of the 1 models"):
        retry(out, "render", tmp_path / "other.csv", (), EngineConfig())


def test_a_retry_looks_for_the_models_where_the_last_run_had_them(out: Path, tmp_path: Path):
    stages = {"render": {"config": RenderConfig().model_dump(mode="json"), "config_hash": NEW}}
    (out / "dataset.json").write_text(json.dumps({"schema_version": 1, "stages": stages}))
    listing = tmp_path / "models.csv"
    ledger = Ledger(Layout(out).ledger("render"), RUN)
    ledger.begin("render", str(listing), given=1, todo=1)
    ledger.append(row("a", failures.FailureClass.CRASH))
    ledger.close()
    with pytest.raises(UserError, match=r"is not there. Give --models"):
        retry(out, "render", None, (), EngineConfig())
    listing.write_text("path\nother.glb\n")
    with pytest.raises(UserError, match=r"None of the 1 models is in .*models.csv"):
        retry(out, "render", None, (), EngineConfig())


@pytest.mark.soak
def test_a_retry_does_only_the_class_asked_for(tmp_path: Path):
    """Two models fail for two reasons; both are fixed; the requested class is retried."""
    models, out = tmp_path / "models", tmp_path / "out"
    models.mkdir()
    (models / "broken.glb").write_bytes(b"glTF but no more")
    (models / "points.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
        "end_header\n0 0 0\n"
    )
    config = RenderConfig(views=1, resolution=32, samples=1)
    before = render(models, out, config, EngineConfig(workers=1))
    assert before.failed.total() == 2 and len(before.failed) == 2, before.failed
    layout = Layout(out)
    kinds = {entry.source: entry.kind for entry in failed_rows(layout, "render")}

    tetrahedron = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
    (models / "points.ply").write_text(tetrahedron)  # the content decides, not the name
    (models / "broken.glb").write_text(tetrahedron)
    summary = retry(out, "render", models, [kinds["points.ply"] or ""], EngineConfig(workers=1))
    assert summary is not None and (summary.ok, summary.failed.total()) == (1, 0), summary
    left = failed_rows(layout, "render")
    assert [(entry.source, entry.attempt) for entry in left] == [("broken.glb", 1)]
    stages = json.loads((out / "dataset.json").read_text())["stages"]
    assert stages["render"]["config"]["resolution"] == 32, "the dataset's own configuration"
