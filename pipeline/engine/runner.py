"""The one runner of every stage: a bounded window of Ray tasks, a ledger row per model, resume, a clean stop.

`pipeline.engine.dispatch` holds the window and the retries, `pipeline.engine.task` the models in a worker.
"""

from __future__ import annotations

import collections
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import EngineConfig
from pipeline.engine.dispatch import Dispatch
from pipeline.engine.progress import Progress
from pipeline.engine.resume import Resume
from pipeline.engine.session import ray_session
from pipeline.engine.tasks import Stage, Task, Tasks
from pipeline.inputs.discovery import Rejection
from pipeline.ledger.rows import Row
from pipeline.ledger.writer import Ledger, new_run
from render.failures import FailureClass, Status


@dataclass
class Summary:
    """How a run ended."""

    ok: int = 0
    kept: int = 0  # done by an earlier run
    left_failed: int = 0  # failed in an earlier run; not tried again
    failed: collections.Counter[str] = field(default_factory=collections.Counter)
    unfinished: int = 0  # of those that failed: infrastructure failures, so the run is not complete
    interrupted: bool = False
    broken: str | None = None
    ledger: Path | None = None

    @property
    def exit_code(self) -> int:
        """130: interrupted; 1: not complete, or nothing succeeded; else 0: failed models are rows."""
        if self.interrupted:
            return 130
        return int(bool(self.broken) or bool(self.unfinished) or not (self.ok or self.kept))

    def lines(self, verb: str) -> list[str]:
        """The summary as text."""
        lines = [f"{verb}: {self.ok} ok, {self.kept} done before, {self.failed.total()} failed"]
        lines += [f"  {count:6d} {kind}" for kind, count in self.failed.most_common()]
        if self.left_failed:
            lines.append(f"  {self.left_failed} failed before; --on-existing retry-failed tries them again")
        if self.ledger is not None:
            lines.append(f"  ledger: {self.ledger}")
        if self.interrupted:
            lines.append("Interrupted. Run the same command again to continue.")
        if self.broken:
            lines.append(f"Stopped: {self.broken}")
        if self.broken or self.unfinished:
            lines.append("Not complete: run the same command again to retry the infrastructure failures.")
        return lines


def run_stage(
    stage: Stage,
    tasks: Sequence[Task],
    engine: EngineConfig,
    resume: Resume,
    rejections: Sequence[Rejection] = (),
    models: str = "",
) -> Summary:
    """Do every task that is not done; stop early at SIGINT or SIGTERM. The caller holds the dataset's lock.

    `models` is what the user named, for the ledger.
    """
    folder = stage.layout.ledger(stage.name)
    ledger = Ledger(folder, new_run(folder))
    try:
        summary = _Run(stage, engine, ledger, resume, models).do(Tasks.of(tasks), rejections)
        ledger.end(summary.exit_code)
        return summary
    finally:
        ledger.close()


@dataclass
class _Run:
    """One pass of a stage over its tasks."""

    stage: Stage
    engine: EngineConfig
    ledger: Ledger
    resume: Resume
    models: str
    summary: Summary = field(default_factory=Summary)
    stop: threading.Event = field(default_factory=threading.Event)
    warned: set[str] = field(default_factory=set)  # levels of confinement

    def do(self, tasks: Tasks, rejections: Sequence[Rejection]) -> Summary:
        self.summary.ledger = self.ledger.folder
        todo = self.resume.todo(tasks)
        self.summary.kept, self.summary.left_failed = self.resume.kept, self.resume.left_failed
        if todo:
            self.ledger.begin(self.stage.name, self.models, len(tasks) + len(rejections), len(todo))
        for rejection in rejections:
            self._reject(rejection)
        if todo:
            progress = Progress(self.stage.name, len(todo))
            with self._interruptible(progress), ray_session(self.engine) as session:
                dispatch = Dispatch(
                    self.stage, self.engine, self.ledger.run, session, self._attempt, self.stop
                )
                self._record(dispatch.rows(todo, progress), progress)
                self.summary.broken, self.summary.unfinished = dispatch.broken, dispatch.unfinished
            progress.close()
        return self.summary

    @contextmanager
    def _interruptible(self, progress: Progress) -> Iterator[None]:
        """Handle signals. One that also reached Ray can make anything fail, and is still a stop."""
        try:
            with _stop_signals(self.stop):
                yield
        except Exception as error:
            if not self.stop.is_set():
                raise
            progress.say(f"  while stopping: {type(error).__name__}: {_headline(str(error))}")
        finally:
            self.summary.interrupted = self.stop.is_set()

    def _reject(self, rejection: Rejection) -> None:
        """Record a list's unusable row as a failure; rewrite it only if it changed."""
        self.summary.failed[FailureClass.INVALID] += 1
        invalid = (Status.FAILED, FailureClass.INVALID, rejection.message)
        row = Row(rejection.uid, rejection.source, *invalid)
        before = self.resume.known.get(row.uid)
        if before is None or before.message != row.message:
            self.ledger.append(row)

    def _record(self, rows: Iterator[Row], progress: Progress) -> None:
        """Write rows as they arrive."""
        for row in rows:
            self.ledger.append(row)
            self.summary.ok += row.ok
            if not row.ok:
                self.summary.failed[row.kind or FailureClass.ERROR] += 1
                progress.say(f"  {row.source}: {row.kind}: {_headline(row.message)}")
            self._warn(row.confinement, progress)
            progress.add(row.ok)

    def _warn(self, level: str | None, progress: Progress) -> None:
        """Say once per run which protection a node's kernel could not give."""
        if level is not None and level.startswith("partial") and level not in self.warned:
            self.warned.add(level)
            progress.say(f"  Confinement of the models' processes is {level}. See docs/security.md.")

    def _attempt(self, task: Task) -> int:
        before = self.resume.known.get(task.uid)
        return before.attempt + 1 if before and before.config_hash == self.stage.config_hash else 1


def _headline(message: str | None) -> str:
    return (message or "no message").strip().splitlines()[0][:200]


@contextmanager
def _stop_signals(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM request a clean stop; a second one has its usual effect."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous: dict[int, Any] = {}

    def ask(number: int, _: object) -> None:
        signal.alarm(0)  # Ray's own handler, before this one, would abort the process after three seconds
        stop.set()
        signal.signal(number, previous[number] or signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler or signal.SIG_DFL)
