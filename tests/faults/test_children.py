"""What a child can do to its supervisor, through a whole run: each fault costs its own model and no other.

Real processes and real signals on a local Ray with two workers. Between the faulty models stand good ones,
and all of them must be done. The last test does it with Blender itself.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from fuse.dataset.layout import Layout
from pipeline.config import EngineConfig
from pipeline.engine import dispatch
from pipeline.engine.runner import Summary
from pipeline.engine.tasks import Stage, Task
from pipeline.ledger.compact import latest
from pipeline.ledger.rows import Row
from tests.helpers.commands_under_fire import Command, cube, nothing_left, using, words
from tests.helpers.faulty_stage import DEEDS
from tests.pipeline.engine.test_runner import make_stage, make_tasks, outputs, run

ENGINE = EngineConfig(workers=2, timeout=10, start_timeout=60, memory_mib=300, confine="off")
# Confined, the child could neither fork nor signal: here the supervisor has to cope without.
VERDICTS = {
    "segfault": ("crash", "SIGSEGV"),
    "abort": ("crash", "SIGABRT"),
    "leave": ("crash", None),
    "leave_well": ("crash", None),
    "hang": ("timeout", "SIGKILL"),
    "spin": ("timeout", "SIGKILL"),
    "stop_itself": ("timeout", "SIGKILL"),
    "promise_much": ("timeout", "SIGKILL"),
    "allocate": ("out_of_memory", "SIGKILL"),
    "allocate_below": ("out_of_memory", "SIGKILL"),
    "garbage": ("crash", "SIGKILL"),
    "close_pipes": ("crash", "SIGKILL"),
    "no_output": ("error", None),
    "refuse": ("empty", None),
    "blunder": ("error", None),
    "quit_python": ("error", None),
    "daemonize_and_crash": ("crash", "SIGSEGV"),
    "end_itself": ("infrastructure", "SIGKILL"),
    "kill_the_supervisor": ("infrastructure", None),
    "shout": None,
    "die_later": None,
    "daemonize": None,
}
DEEDS_AND_GOOD = [deed for fault in VERDICTS for deed in (fault, "ok")]


@dataclass
class Ended:
    """A run that has ended."""

    out: Path
    temporary: Path
    summary: Summary
    rows: dict[str, Row]

    def row(self, deed: str) -> Row:
        return self.rows[f"model-{DEEDS_AND_GOOD.index(deed):02d}"]


@pytest.fixture(scope="module")
def ended() -> Iterator[Ended]:
    with (
        tempfile.TemporaryDirectory(prefix="io-c", dir="/tmp") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        base = Path(folder)
        (base / "t").mkdir()
        patch.setenv("TMPDIR", str(base / "t"))
        patch.setattr(tempfile, "tempdir", None)
        tasks = make_tasks(base / "models", base / "out", DEEDS_AND_GOOD)
        summary = run(make_stage(base / "out"), tasks, ENGINE)
        yield Ended(base / "out", base / "t", summary, latest(base / "out" / "ledger" / "faulty"))


def test_every_deed_has_a_verdict():
    assert set(VERDICTS) == set(DEEDS) | {"no_output"}


@pytest.mark.soak
@pytest.mark.parametrize("deed", VERDICTS)
def test_a_fault_ends_in_its_class(ended: Ended, deed: str):
    row = ended.row(deed)
    if VERDICTS[deed] is None:
        assert row.ok, row
    else:
        assert (row.kind, row.signal) == VERDICTS[deed], row
        assert row.message and row.attempt == 1


@pytest.mark.soak
def test_all_other_models_are_done(ended: Ended):
    good = {uid for uid, row in ended.rows.items() if row.ok}
    failed = [deed for deed, verdict in VERDICTS.items() if verdict]
    assert len(ended.rows) == len(DEEDS_AND_GOOD) == len(good) + len(failed)
    assert set(outputs(ended.out)) == good
    assert ended.summary.ok == len(good)


@pytest.mark.soak
def test_the_verdicts_tell_what_happened(ended: Ended):
    assert ended.row("leave").returncode == 3 and "exit code 3" in str(ended.row("leave").message)
    assert ended.row("no_output").message == "The worker wrote no output."
    assert "protocol" in str(ended.row("garbage").message)
    assert "Somebody else ended the process: SIGKILL" in str(ended.row("end_itself").message)
    assert "address 0" in str(ended.row("segfault").log_tail)
    assert 300 < ended.row("allocate").peak_rss_mib < 1000, "seen in time"
    assert 300 < ended.row("allocate_below").peak_rss_mib < 1000, "grandchildren count"


@pytest.mark.soak
def test_nothing_is_left(ended: Ended):
    assert not list(using(ended.temporary))
    assert not list(ended.temporary.iterdir())
    said = re.search(r"daemon (\d+)", str(ended.row("daemonize_and_crash").log_tail))
    assert said
    for pid in (int(said[1]), int(ended.row("daemonize").record["daemon"])):
        assert not psutil.pid_exists(pid) or "pipeline.sandbox.child" not in words(psutil.Process(pid))


@pytest.mark.soak
def test_what_says_nothing_about_the_model_makes_the_run_incomplete(ended: Ended):
    """The child that somebody killed thrice does; the model that killed every worker has had its say."""
    assert ended.summary.failed["infrastructure"] == 2
    assert ended.summary.unfinished == 1 and ended.summary.exit_code == 1
    assert not ended.summary.broken


@pytest.mark.soak
@pytest.mark.parametrize("stuck", ["waiting", "holding the interpreter"])
def test_a_supervisor_that_is_stuck_costs_its_model_only(
    stuck: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Not its child: the Ray worker itself, as in a read from a network disk that is gone."""
    monkeypatch.setattr(dispatch, "_STUCK_AFTER", 0.0)  # beyond the limits of child and model
    monkeypatch.setattr(dispatch, "_TRIES", 2)
    out = tmp_path / "out"
    recover = wait_forever if stuck == "waiting" else hold_the_interpreter
    engine = ENGINE.model_copy(update={"start_timeout": 10, "timeout": 2})
    summary = run(*stage_that_looks_at_an_output(tmp_path, recover), engine)
    assert (summary.ok, summary.failed["infrastructure"]) == (2, 1)
    assert "worker" in str(latest(Layout(out).ledger("faulty"))["model-00"].message)
    assert not summary.broken


@pytest.mark.soak
def test_a_worker_that_somebody_stops_is_replaced(tmp_path: Path):
    """SIGSTOP of a Ray worker, as by a frozen container: its model is done by another one."""
    summary = run(*stage_that_looks_at_an_output(tmp_path, stop_once), ENGINE)
    assert (summary.ok, summary.failed.total()) == (3, 0)


def stage_that_looks_at_an_output(folder: Path, recover: Callable[[Path], None]) -> tuple[Stage, list[Task]]:
    """Three good models, of which the first has an output that no ledger row speaks of."""
    tasks = make_tasks(folder / "models", folder / "out", ["ok", "ok", "ok"])
    tasks[0].output.parent.mkdir(parents=True)
    tasks[0].output.write_text("an output to be looked at")
    return replace(make_stage(folder / "out"), recover=recover), tasks


def wait_forever(_: Path) -> None:
    time.sleep(3600)


def hold_the_interpreter(_: Path) -> None:
    """Native code that never lets another thread run."""
    ctypes.PyDLL(None).sleep(3600)


def stop_once(output: Path) -> None:
    if not (mark := output.with_suffix(".stopped")).exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGSTOP)


def test_a_crashing_blender_costs_its_model_only(tmp_path: Path):
    with tempfile.TemporaryDirectory(prefix="io-b", dir="/tmp") as folder:
        models, out = Path(folder, "models"), Path(folder, "out")
        models.mkdir()
        for number in range(4):
            cube(models / f"box{number}.obj", 1 + number)
        flags = ("--views", "2", "--resolution", "32", "--samples", "1", "--workers", "2")
        command = Command(("render", str(models), str(out), *flags), Path(folder, "t"))
        assert command.kill(command.child, 11)
        assert command.ended() == 0, command.text()
        rows = latest(out / "ledger" / "render").values()
        crashed = [row for row in rows if not row.ok]
        assert len(rows) == 4 and len(crashed) <= 1, "none if it was before its first model"
        assert all((row.kind, row.signal) == ("crash", "SIGSEGV") for row in crashed)
        assert not nothing_left([command])
