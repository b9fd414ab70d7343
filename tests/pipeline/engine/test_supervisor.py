"""Real children, real signals: each fault costs one job, is named rightly, and leaves no process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipeline.engine.supervisor import Outcome, Supervisor
from pipeline.sandbox.process import Limits
from render.job import Job, Placement
from tests.helpers.commands_under_fire import below

LIMITS = Limits(timeout=20, start_timeout=30, memory_mib=300)
Do = Callable[..., Outcome]
JOB = Job(uid="model", config_hash="test")


def placement(order: Path) -> Placement:
    """Beside the order that the faulty stage reads."""
    return Placement(input=order, output=order.with_name("out.json"), scratch=order.parent)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor("tests.helpers.faulty_stage", LIMITS)
    yield supervisor
    supervisor.close()
    assert not below(os.getpid(), "pipeline.sandbox.child"), "a child outlived its supervisor"


@pytest.fixture
def do(supervisor: Supervisor, tmp_path: Path) -> Do:
    def run(deed: str = "ok", **order: object) -> Outcome:
        path = tmp_path / "order.json"
        path.write_text(json.dumps({"do": deed, **order}))
        return supervisor.run(JOB, placement(path))

    return run


def test_one_child_serves_many_jobs(do: Do):
    first, second = do(), do()
    assert first.status == second.status == "ok"
    assert first.record["pid"] == second.record["pid"] != os.getpid()
    assert second.record["served"] == 2
    assert second.peak_rss_mib > 0


@pytest.mark.parametrize(
    ("deed", "kind", "signal_name", "returncode"),
    [
        ("segfault", "crash", "SIGSEGV", -11),
        ("abort", "crash", "SIGABRT", -6),
        ("leave", "crash", None, 3),
        ("allocate", "out_of_memory", "SIGKILL", -9),
        ("allocate_below", "out_of_memory", "SIGKILL", -9),
        ("garbage", "crash", "SIGKILL", -9),
    ],
)
def test_a_fault_costs_one_job(do: Do, deed: str, kind: str, signal_name: str | None, returncode: int):
    outcome = do(deed)
    assert (outcome.status, outcome.kind) == ("failed", kind)
    assert (outcome.signal, outcome.returncode) == (signal_name, returncode)
    assert do().status == "ok"


@pytest.mark.parametrize("deed", ["hang", "spin"])
def test_the_deadline_kills(supervisor: Supervisor, do: Do, deed: str):
    do()
    supervisor.limits = replace(LIMITS, timeout=0.5)
    supervisor.close()
    outcome = do(deed)
    assert (outcome.kind, outcome.signal) == ("timeout", "SIGKILL")
    assert outcome.message and "0.5 s" in outcome.message
    assert do().status == "ok"


def test_failures_that_the_worker_names(do: Do):
    refused, blundered, left = do("refuse"), do("blunder"), do("quit_python")
    assert (refused.kind, refused.message) == ("empty", "no face in it")
    assert blundered.kind == "error" and "ZeroDivisionError" in str(blundered.message)
    assert blundered.log_tail and "of our own making" in blundered.log_tail
    assert left.kind == "error" and "SystemExit" in str(left.message)
    assert do().record["served"] == 4, "none of these needs a new process"


def test_the_log_tail_holds_the_last_words(do: Do):
    shouted = do("shout")
    assert shouted.status == "ok", "100 MB of output are no reason to fail"
    crashed = do("segfault")
    assert crashed.log_tail and "about to read address 0" in crashed.log_tail
    assert "the last words" not in crashed.log_tail, "that was the model before"
    assert "process" in crashed.log_tail, "faulthandler says where"


def test_a_child_that_dies_between_two_jobs_costs_none(do: Do):
    first = do("die_later")
    time.sleep(0.6)
    second = do()
    assert (first.status, second.status) == ("ok", "ok")
    assert first.record["pid"] != second.record["pid"]


def test_a_crash_in_a_used_child_is_tried_again_in_a_fresh_one(supervisor: Supervisor, do: Do):
    first = do()
    os.kill(first.record["pid"], signal.SIGSTOP)
    threading.Timer(0.3, os.kill, (first.record["pid"], signal.SIGKILL)).start()
    second = do()
    assert second.status == "ok"
    assert second.record["pid"] != first.record["pid"]


def test_recycling_by_count_and_by_memory(supervisor: Supervisor, do: Do):
    supervisor.limits = replace(LIMITS, recycle_models=2)
    pids = [do().record["pid"] for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]
    supervisor.limits = replace(LIMITS, recycle_mib=1)
    assert do().record["pid"] != do().record["pid"]


def test_a_stage_that_cannot_be_loaded_is_the_infrastructures_fault(tmp_path: Path):
    outcome = Supervisor("tests.helpers.broken_stage", LIMITS).run(JOB, placement(tmp_path / "none"))
    assert outcome.kind == "infrastructure"
    assert outcome.message and "libMissing.so.1" in outcome.message


def test_a_child_that_cannot_load_its_own_code_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "pydantic.py").write_text('raise ImportError("half a library")')
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    outcome = Supervisor("tests.helpers.faulty_stage", LIMITS).run(JOB, placement(tmp_path / "none"))
    assert outcome.kind == "infrastructure"
    assert outcome.message and outcome.message.endswith(" ImportError: half a library")


def test_children_started_from_short_lived_threads_live_on(do: Do):
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(do()))
    thread.start()
    thread.join()
    time.sleep(0.3)
    assert do().record["pid"] == outcomes[0].record["pid"], "PR_SET_PDEATHSIG follows the spawning thread"


def test_the_child_dies_with_its_killed_parent(tmp_path: Path):
    order = tmp_path / "order.json"
    order.write_text('{"do": "hang"}')
    code = (
        "from pathlib import Path; from tests.pipeline.engine.test_supervisor import *\n"
        "s = Supervisor('tests.helpers.faulty_stage', Limits())\n"
        "print(s._ready_child().process.pid, flush=True)\n"
        f"s.run(JOB, placement(Path({str(order)!r})))"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs([child], timeout=5)
    assert not alive
