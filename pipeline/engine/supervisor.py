"""Owns one child process and the one model in flight in it: a crash, hang or bomb costs only that model.

`Supervisor.run(job, place)` always returns an `Outcome`. The child starts with the first job, serves many,
and is replaced after a failure of its own, after `recycle_models`, or when it holds more than `recycle_mib`.

What a model did ends its job. What says nothing about the model is tried once more in a fresh child: a crash
in a child that had served other models, and a signal that only somebody else sends.
"""

from __future__ import annotations

import atexit
import contextlib
import re
import signal
import tempfile
import time
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.inputs.staging import Workspace
from pipeline.sandbox.process import BrokenChild, Child, Limits
from pipeline.sandbox.watchdog import Watchdog
from render.failures import FailureClass, Status
from render.job import Job, Placement

_NO_MEMORY = re.compile("bad_alloc|alloc returns null|[Cc]annot allocate memory|MemoryError")
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}  # no native library's fault
_IN_DOUBT = (FailureClass.CRASH, FailureClass.OUT_OF_MEMORY)  # after other models in the same process


@dataclass(frozen=True)
class Outcome:
    """What became of one job."""

    status: Status
    kind: FailureClass | None = None
    message: str | None = None
    record: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, float] = field(default_factory=dict)
    """Seconds by step."""
    cpu_steps: dict[str, float] = field(default_factory=dict)
    """CPU-seconds by step."""
    returncode: int | None = None
    signal: str | None = None
    seconds: float = 0.0
    peak_rss_mib: int = 0
    log_tail: str | None = None
    by_others: bool = False
    """Somebody else's signal ended the process."""

    @property
    def ok(self) -> bool:
        return self.status is Status.OK


class Supervisor:
    """Runs jobs of one stage's worker module, one at a time."""

    def __init__(self, module: str, limits: Limits, scratch_prefix: str = "insideout-"):
        self.module, self.limits = module, limits
        self.confinement: str | None = None
        """The level that the last child reached."""
        root = Path(tempfile.gettempdir(), f"{scratch_prefix}{uuid.uuid4().hex[:12]}")
        # Ray always kills its workers, and nobody else knows this folder: start what removes it before making
        # it.
        self._watchdog: Watchdog | None = Watchdog(f"TMPDIR={root}/", [root])
        self.workspace = Workspace(root)
        self._child: Child | None = None
        atexit.register(self.end)

    def guarded(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        """Within, this process is killed if it is not done after `seconds`, or if somebody stops it."""
        return self._watchdog.guard(seconds) if self._watchdog else contextlib.nullcontext()

    def run(self, job: Job, place: Placement) -> Outcome:
        """Do one job, twice where the first try says nothing about the model."""
        used = self._child is not None and self._child.served > 0
        outcome = self._run_once(job, place)
        doubtful = outcome.by_others or (used and outcome.kind in _IN_DOUBT)
        if doubtful and self._child is None:
            outcome = self._run_once(job, place)
        return outcome

    def close(self) -> None:
        """End the child: ask first, then kill."""
        child, self._child = self._child, None
        if child is not None:
            child.stop()

    def end(self) -> None:
        """End the child and remove the workspace: no job follows."""
        self.close()
        self.workspace.close()
        if self._watchdog is not None:
            self._watchdog.close()
            self._watchdog = None

    def _run_once(self, job: Job, place: Placement) -> Outcome:
        started, ooms = time.monotonic(), _oom_kills()
        try:
            child = self._ready_child()
            child.peak_mib = 0.0
            answer = child.ask(job, place, self.limits.timeout)
        except BrokenChild as broken:
            return self._autopsy(broken, time.monotonic() - started, _oom_kills() > ooms)
        except OSError as error:  # no process or pipe available
            message = f"The worker process did not start: {error}"
            return Outcome(Status.FAILED, FailureClass.INFRASTRUCTURE, message)
        child.served += 1
        outcome = Outcome(
            status=answer.status,
            kind=answer.kind,
            message=answer.message,
            record=answer.record,
            steps=answer.seconds,
            cpu_steps=answer.cpu_seconds,
            seconds=time.monotonic() - started,
            peak_rss_mib=round(child.peak_mib),
        )
        if not outcome.ok:
            outcome = replace(outcome, log_tail=child.log_tail())
        self._recycle(child)
        return outcome

    def _ready_child(self) -> Child:
        """The child, started if there is none or if it died between two jobs."""
        if self._child is not None and not self._child.alive():
            self.close()
        if self._child is None:
            self._child = Child(self.module, self.limits, self.workspace)
            self._child.greet()
            self.confinement = self._child.confinement
        self._child.forget_log()
        return self._child

    def _recycle(self, child: Child) -> None:
        used_up = child.served >= self.limits.recycle_models or child.resident_mib() > self.limits.recycle_mib
        if used_up or child.has_company():
            self.close()

    def _autopsy(self, broken: BrokenChild, seconds: float, oom: bool) -> Outcome:
        """Kill what is left of the child and describe how it ended."""
        child, self._child = self._child, None
        assert child is not None
        killed = child.alive()
        returncode = child.kill()
        kind, message = broken.kind, broken.message
        if kind is FailureClass.CRASH and not killed:
            kind, message = _cause(returncode, oom, _NO_MEMORY.search(child.log_tail() or "") is not None)
        return Outcome(
            status=Status.FAILED,
            kind=kind,
            message=message,
            returncode=returncode,
            signal=_signal_name(returncode),
            seconds=seconds,
            peak_rss_mib=round(child.peak_mib),
            log_tail=child.log_tail(),
            by_others=not killed and -returncode in _FROM_OUTSIDE,
        )


def _cause(returncode: int, oom: bool, starved: bool) -> tuple[FailureClass, str]:
    """Class and message of a death that we did not cause; `starved`: the end of its log speaks of memory."""
    name = _signal_name(returncode)
    if starved and -returncode not in _FROM_OUTSIDE:
        message = f"The process was refused memory, and died: {name or returncode}."
        return FailureClass.OUT_OF_MEMORY, message
    if -returncode not in _FROM_OUTSIDE:
        return FailureClass.CRASH, f"The process died: {name or f'exit code {returncode}'}."
    if oom and returncode == -signal.SIGKILL:
        message = "The machine ran out of memory, and the kernel killed the process."
        return FailureClass.OUT_OF_MEMORY, message
    return FailureClass.INFRASTRUCTURE, f"Somebody else ended the process: {name}."


def _signal_name(returncode: int) -> str | None:
    if returncode >= 0:
        return None
    return signal.Signals(-returncode).name if -returncode in set(signal.Signals) else f"signal {-returncode}"


def _oom_kills() -> int:
    """How many processes of this machine the kernel has killed for lack of memory."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:  # not every container shows it
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
