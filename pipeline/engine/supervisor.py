"""Owns one child process and the one model in flight in it: a crash, hang or bomb costs only that model.

    with supervisor.turn() as turn:             # one model's
        turn.scan(placed)                       # orders that read its bytes raise `Failed`
        outcome = turn.run(job, place)          # its job always has an outcome

The child starts with the first model, serves many, and is replaced after a failure of its own, after
`recycle_models`, or when it holds more than `recycle_mib`.

What a model did ends its turn. What says nothing about the model is tried once more in a fresh child: a crash
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pipeline.inputs.workspace import Workspace
from pipeline.sandbox.confine import seals_input
from pipeline.sandbox.process import BrokenChild, Child, Limits
from pipeline.sandbox.protocol import Answer, AnyResult, Message, Obeyed, Verdict, encode_job, encode_order
from pipeline.sandbox.watchdog import Watchdog
from render.failures import FailureClass, ModelFailure, Status
from render.job import Job, Placement
from render.references.link_scan import Scan
from render.references.orders import Order, RewriteOrder, Rewritten, Scanned, ScanOrder, Unpacked, UnpackOrder

_NO_MEMORY = re.compile("bad_alloc|alloc returns null|[Cc]annot allocate memory|MemoryError")
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}  # no native library's fault
_IN_DOUBT = (FailureClass.CRASH, FailureClass.OUT_OF_MEMORY)  # after other models in the same process

Value = TypeVar("Value")


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
        """Whether the job succeeded."""
        return self.status is Status.OK


class Failed(ModelFailure):
    """What was asked of the child had no result."""

    def __init__(self, outcome: Outcome):
        super().__init__(outcome.kind or FailureClass.ERROR, outcome.message or "")
        self.outcome = outcome


class Supervisor:
    """Serves models of one stage's worker module, one at a time."""

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

    @contextlib.contextmanager
    def turn(self) -> Iterator[Turn]:
        """One model's: what it may ask of the child."""
        if self._child is not None:
            self._child.forget_log()
            self._child.peak_mib = 0.0
        try:
            yield Turn(self)
        except ModelFailure as failure:
            if failure.kind is FailureClass.CRASH:  # a living child that broke the rules serves nobody else
                self.close()
            raise
        finally:
            if self._child is not None:
                self._child.served += 1
                self._recycle(self._child)

    def run(self, job: Job, place: Placement) -> Outcome:
        """The turn of a model whose input is in place."""
        with self.turn() as turn:
            return turn.run(job, place)

    @property
    def has_served(self) -> bool:
        """Whether the child has had other models, which may be why it fails."""
        return self._child is not None and self._child.served > 0

    def use(self, action: Callable[[Child], Value], began: float) -> Value:
        """Do something with the child, started if need be; Failed where that ends it."""
        ooms = _oom_kills()
        try:
            return action(self._ready_child())
        except BrokenChild as broken:
            outcome = self._autopsy(broken, time.monotonic() - began, _oom_kills() > ooms)
        except OSError as error:  # no process or pipe available
            message = f"The worker process did not start: {error}"
            outcome = Outcome(Status.FAILED, FailureClass.INFRASTRUCTURE, message)
        raise Failed(outcome)

    def outcome(self, verdict: Verdict, began: float) -> Outcome:
        """What an answer of the living child means."""
        assert self._child is not None
        answer = verdict if isinstance(verdict, Answer) else Answer(status=verdict.status, kind=verdict.kind)
        return Outcome(
            status=verdict.status,
            kind=verdict.kind,
            message=verdict.message,
            record=answer.record,
            steps=answer.seconds,
            cpu_steps=answer.cpu_seconds,
            seconds=time.monotonic() - began,
            peak_rss_mib=round(self._child.peak_mib),
            log_tail=None if verdict.status is Status.OK else self._child.log_tail(),
        )

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

    def _ready_child(self) -> Child:
        """The child, started if there is none or if it died between two jobs."""
        if self._child is not None and not self._child.alive():
            self.close()
        if self._child is None:
            self._child = Child(self.module, self.limits, self.workspace)
            self._child.greet()
            self.confinement = self._child.confinement
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


class Turn:
    """One model's time with the child: in one deadline, with one second chance."""

    def __init__(self, supervisor: Supervisor):
        self._supervisor = supervisor
        self._began = time.monotonic()
        self._until: float | None = None
        self._retried = False

    def seals_input(self) -> bool:
        """Whether the child cannot change what it may read."""
        self._use(lambda child: None)
        return seals_input(self._supervisor.confinement or "")

    def scan(self, path: Path) -> Scan:
        """The names in a placed file."""
        return self._obeyed(ScanOrder(path=path), Obeyed[Scanned]).scan()

    def unpack(self, order: UnpackOrder) -> Unpacked:
        """See `UnpackOrder`."""
        return self._obeyed(order, Obeyed[Unpacked])

    def rewrite(self, order: RewriteOrder) -> Rewritten:
        """See `RewriteOrder`."""
        return self._obeyed(order, Obeyed[Rewritten])

    def run(self, job: Job, place: Placement) -> Outcome:
        """Do the job."""
        try:
            return self._supervisor.outcome(self._ask(encode_job(job, place), Answer), self._began)
        except Failed as failed:
            return failed.outcome

    def check(self) -> None:
        """Raise ModelFailure `timeout` where the model's time is over."""
        if time.monotonic() > self._deadline():
            allowed = self._supervisor.limits.timeout
            raise ModelFailure(FailureClass.TIMEOUT, f"Its files were not found within {allowed:g} s.")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The clock stands while a disk or a network works: its time says nothing about the model."""
        began = time.monotonic()
        try:
            yield
        finally:
            if self._until is not None:
                self._until += time.monotonic() - began

    def _obeyed(self, order: Order, kind: type[Obeyed[AnyResult]]) -> AnyResult:
        answer = self._ask(encode_order(order), kind)
        if answer.result is None:
            raise Failed(self._supervisor.outcome(answer, self._began))
        return answer.result

    def _ask(self, frame: bytes, kind: type[Message]) -> Message:
        return self._use(lambda child: child.ask(frame, kind, self._deadline()))

    def _deadline(self) -> float:
        """The end of the model's time, which begins when the child is ready."""
        if self._until is None:
            self._until = time.monotonic() + self._supervisor.limits.timeout
        return self._until

    def _use(self, action: Callable[[Child], Value]) -> Value:
        """Do something with the child, twice where the first failure says nothing about the model."""
        used = self._supervisor.has_served
        try:
            return self._supervisor.use(action, self._began)
        except Failed as failed:
            doubtful = failed.outcome.by_others or (used and failed.kind in _IN_DOUBT)
            if self._retried or not doubtful:
                raise
        self._retried, self._began, self._until = True, time.monotonic(), None
        return self._supervisor.use(action, self._began)


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
        counters = Path("/proc/vmstat").read_text()
    except OSError:  # not every container shows it
        return 0
    _, _, found = counters.partition("\noom_kill ")  # thrice per model: no line is looked at but this one
    return int(found.split(maxsplit=1)[0]) if found else 0
