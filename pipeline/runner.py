"""The one runner of every stage: a bounded window of Ray tasks, a ledger row a model, resume, and a clean stop.

Ray retries only what a lost node or worker took with it. What a model does to its process is the supervisor's to
catch (`pipeline.supervisor`), and comes back as a row like any other.
"""

from __future__ import annotations

import collections
import datetime
import signal
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.commit import sweep
from pipeline.config import EngineConfig
from pipeline.discovery import Rejection
from pipeline.ledger import Ledger, Row, latest
from pipeline.process import Limits
from pipeline.progress import Progress
from pipeline.session import ray_session
from pipeline.stages import Stage, Task
from pipeline.task import clear_scratch, execute

_WINDOW = 2  # tasks in flight a worker: one runs, one waits, so no worker idles and an autoscaler sees demand
_BROKEN_AFTER = (
    5  # infrastructure failures in a row: the disk is full, say, and every further model would fail alike
)
_AGAIN = {"infrastructure", "missing"}  # kinds that say nothing about the model: every run tries them again


@dataclass
class Summary:
    """How a run ended."""

    ok: int = 0
    kept: int = 0  # done by an earlier run
    left_failed: int = 0  # failed in an earlier run, and left alone
    failed: collections.Counter[str] = field(default_factory=collections.Counter)
    interrupted: bool = False
    broken: str | None = None
    ledger: Path | None = None

    @property
    def exit_code(self) -> int:
        """130 interrupted; 1 broken, or nothing at all succeeded; else 0: failed models are rows, not errors."""
        if self.interrupted:
            return 130
        return int(bool(self.broken) or not (self.ok or self.kept))

    def lines(self, verb: str) -> list[str]:
        """The summary as text."""
        lines = [f"{verb}: {self.ok} ok, {self.kept} done before, {self.failed.total()} failed"]
        lines += [f"  {count:6d} {kind}" for kind, count in self.failed.most_common()]
        if self.left_failed:
            lines.append(
                f"  {self.left_failed} failed before and were left; --on-existing retry-failed does them again"
            )
        if self.ledger is not None:
            lines.append(f"  what happened to each: {self.ledger}")
        if self.interrupted:
            lines.append("Interrupted. The same command goes on where this stopped.")
        if self.broken:
            lines.append(f"Stopped: {self.broken}")
        return lines


def run_stage(
    stage: Stage, tasks: Sequence[Task], engine: EngineConfig, rejections: Sequence[Rejection] = ()
) -> Summary:
    """Do every task that is not done. Blocks until all are, or until SIGINT or SIGTERM."""
    run = new_run()
    ledger = Ledger(stage.layout.ledger(stage.name), run)
    summary = Summary(ledger=ledger.path.parent)
    try:
        sweep(stage.layout)
        known = latest(ledger.path.parent)
        for rejection in rejections:
            _reject(rejection, stage, known, ledger, summary)
        todo = _undone(stage, tasks, known, engine, summary)
        if todo:
            _run(stage, todo, known, engine, run, ledger, summary)
    finally:
        sweep(stage.layout)
        clear_scratch(run)
        ledger.close()
    return summary


def new_run() -> str:
    """A run's name; names sort by time."""
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:6]}"


def is_done(stage: Stage, task: Task, row: Row, on_existing: str) -> bool:
    """Whether `row`, the task's last, still settles it: same configuration, same input, output in place."""
    if on_existing == "overwrite" or row.config_hash != stage.config_hash or row.kind in _AGAIN:
        return False
    try:
        stat = task.input.stat()
    except OSError:
        return False
    if (stat.st_size, stat.st_mtime_ns) != (row.input_size, row.input_mtime_ns):
        return False
    return stage.stored(task, row) if row.ok else on_existing == "skip"


def _undone(
    stage: Stage, tasks: Sequence[Task], known: dict[str, Row], engine: EngineConfig, summary: Summary
) -> list[Task]:
    todo = []
    for task in tasks:
        row = known.get(task.uid)
        if row is None or not is_done(stage, task, row, engine.on_existing):
            todo.append(task)
        elif row.ok:
            summary.kept += 1
        else:
            summary.left_failed += 1
    return todo


def _reject(
    rejection: Rejection, stage: Stage, known: dict[str, Row], ledger: Ledger, summary: Summary
) -> None:
    """A list's unusable row is a failure like any other; said again only when it changed."""
    row = Row(
        rejection.uid, rejection.source, "failed", "invalid", rejection.message, config_hash=stage.config_hash
    )
    summary.failed["invalid"] += 1
    before = known.get(row.uid)
    if before is None or before.message != row.message:
        ledger.append(row)


def _run(
    stage: Stage,
    todo: list[Task],
    known: dict[str, Row],
    engine: EngineConfig,
    run: str,
    ledger: Ledger,
    summary: Summary,
) -> None:
    progress = Progress(stage.name, len(todo))
    attempts = {uid: row.attempt for uid, row in known.items() if row.config_hash == stage.config_hash}
    with ray_session(engine) as (workers, threads), _stop_signals() as stop:
        limits = Limits(
            timeout=engine.timeout,
            start_timeout=engine.start_timeout,
            memory_mib=engine.memory_mib,
            recycle_models=engine.recycle_models,
            recycle_mib=engine.recycle_mib,
            threads=threads,
        )
        common: dict[str, Any] = {"limits": limits, "run": run, "recover": engine.on_existing != "overwrite"}
        unlucky = 0
        for row in _rows(stage, todo, attempts, common, workers, threads, stop, progress):
            ledger.append(row)
            progress.add(row.ok)
            summary.ok += row.ok
            if not row.ok:
                summary.failed[row.kind or "error"] += 1
                progress.say(f"  {row.source}: {row.kind}: {(row.message or '').splitlines()[0][:200]}")
            unlucky = unlucky + 1 if row.kind == "infrastructure" else 0
            if unlucky >= _BROKEN_AFTER:
                summary.broken = f"{unlucky} infrastructure failures in a row; the last: {row.message}"
                break
        summary.interrupted = stop.is_set()
    progress.close()


def _rows(
    stage: Stage,
    todo: list[Task],
    attempts: dict[str, int],
    common: dict[str, Any],
    workers: int,
    threads: int,
    stop: threading.Event,
    progress: Progress,
) -> Iterator[Row]:
    """Keep the window full and yield rows as they come, until all are in or `stop` is set."""
    import ray

    remote = ray.remote(execute).options(num_cpus=threads, max_retries=3, retry_exceptions=False)
    waiting = collections.deque(todo)
    flying: dict[Any, Task] = {}
    try:
        while (waiting or flying) and not stop.is_set():
            while waiting and len(flying) < _WINDOW * workers:
                task = waiting.popleft()
                flying[remote.remote(stage, task, attempt=attempts.get(task.uid, 0) + 1, **common)] = task
            ready, _ = ray.wait(list(flying), num_returns=1, timeout=0.5)
            progress.tick()
            for reference in ready:
                yield _landed(reference, flying.pop(reference), stage)
    finally:
        for reference in flying:
            ray.cancel(reference, force=True)


def _landed(reference: Any, task: Task, stage: Stage) -> Row:
    """A task's row; what Ray could not bring home is the infrastructure's failure."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        message = " ".join(str(error).split())[:1000]
        return Row(task.uid, task.source, "failed", "infrastructure", message, config_hash=stage.config_hash)


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM ask for a clean stop; a second one is no longer ours and ends the process."""
    stop = threading.Event()
    previous = {}

    def ask(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, previous[number] or signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler or signal.SIG_DFL)
