"""Which cores a real child runs on: its own where they can be had, else all of them once it is loaded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine.supervisor import Supervisor
from pipeline.sandbox import cores
from pipeline.sandbox.cores import Cores
from pipeline.sandbox.process import Limits
from render.job import Job, Placement
from tests.helpers.escaping_stage import EscapeJob

EVERY = sorted(os.sched_getaffinity(0))
needs_two = pytest.mark.skipif(len(EVERY) < 2, reason="this machine has one core")


def _limits(threads: int) -> Limits:
    return Limits(timeout=60, start_timeout=60, memory_mib=2048, threads=threads, confine="auto")


def test_no_two_children_share_a_core():
    held = [Cores(1) for _ in range(len(EVERY) + 1)]
    taken = [core for one in held for core in one.numbers]
    assert len(taken) == len(set(taken))
    assert held[-1].numbers == (), "more workers than cores: the last runs anywhere"
    for one in held:
        one.release()
    assert Cores(1).numbers or not taken


def test_a_child_keeps_to_its_cores():
    used = {}
    for threads in (1, 2):
        supervisor = Supervisor("tests.helpers.escaping_stage", _limits(threads))
        try:
            did = _did(supervisor, EscapeJob(places={"do": "spin"}))
        finally:
            supervisor.end()
        if len(did["allowed"]) != threads:
            pytest.skip(f"{threads} cores are not free here: this machine has fewer, or others hold them")
        used[threads] = did["cores"]
    assert used[1] <= 1.05
    assert used[2] <= 2.1


@pytest.fixture(params=["held by others", "shared by time"])
def no_cores(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
    """No core can be reserved: others hold all of them, or the container has a quota of CPU time."""
    held = []
    if request.param == "shared by time":
        quota = tmp_path / "cpu.max"
        quota.write_text("150000 100000\n")
        monkeypatch.setattr(cores, "_QUOTA", quota)
    else:
        held = [Cores(1) for _ in EVERY]
    yield
    for one in held:
        one.release()


@needs_two
@pytest.mark.usefixtures("no_cores")
def test_a_child_without_cores_starts_on_a_few_and_gets_all():
    """A second child, after the first was replaced, like the first."""
    threads = max(1, len(EVERY) // 2)
    supervisor = Supervisor("tests.helpers.cores_stage", _limits(threads))
    try:
        for _ in range(2):
            did = _did(supervisor, Job(uid="cores", config_hash="test"))
            assert len(did["first"]) == threads and set(did["first"]) < set(EVERY)
            assert len(did["now"]) > 3, "the threads of its module"
            assert all(allowed == EVERY for allowed in did["now"])
            supervisor.close()
    finally:
        supervisor.end()


@needs_two
def test_a_child_with_cores_of_its_own_keeps_them():
    supervisor = Supervisor("tests.helpers.cores_stage", _limits(1))
    try:
        did = _did(supervisor, Job(uid="cores", config_hash="test"))
        reserved = list(supervisor._child._cores.numbers) if supervisor._child else []
    finally:
        supervisor.end()
    if not reserved:
        pytest.skip("no core is free here: others hold them")
    assert did["first"] == reserved
    assert all(allowed == reserved for allowed in did["now"])


_THREADS = """
import _thread, os, sys, threading
os.sched_setaffinity(0, {int(sys.argv[1])})
_thread.stack_size(1 << 16)
forever = threading.Event()
def chain(left):
    if left:
        _thread.start_new_thread(chain, (left - 1,))
    else:
        print("all", flush=True)
    forever.wait()
for _ in range(200):
    _thread.start_new_thread(forever.wait, ())
print("most", flush=True)
chain(1000)
"""


@needs_two
@pytest.mark.parametrize("attempt", range(6))
def test_threads_that_start_meanwhile_get_all_cores_too(attempt: int):
    """Each starts the next one while their cores are widened: a single look at them misses some, at times."""
    with _python(_THREADS, str(EVERY[0])) as process:
        assert process.stdout is not None and process.stdout.readline() == "most\n"
        _none().widen(process.pid)
        assert process.stdout.readline() == "all\n"
        threads = [int(name) for name in os.listdir(f"/proc/{process.pid}/task")]
        narrow = [thread for thread in threads if sorted(os.sched_getaffinity(thread)) != EVERY]
        process.kill()
    assert len(threads) > 1200
    assert not narrow


@pytest.mark.parametrize("reaped", [False, True])
def test_a_child_that_has_died_is_left_alone(reaped: bool):
    with _python("import time; time.sleep(600)") as process:
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        if reaped:
            process.wait()
        _none().widen(process.pid)


def _none() -> Cores:
    """More than there are: none are reserved."""
    found = Cores(len(EVERY) + 1)
    assert not found.numbers
    return found


def _did(supervisor: Supervisor, job: Job) -> dict[str, Any]:
    here = supervisor.workspace.work
    outcome = supervisor.run(job, Placement(input=here, output=here / "out", scratch=here))
    assert outcome.ok, outcome
    return json.loads(outcome.record["did"])


def _python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A Python process of our own that prints lines."""
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
