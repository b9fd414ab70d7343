"""The one runner of every stage: a bounded window of Ray tasks, a ledger row a model, resume, a clean stop.

`pipeline.engine.dispatch` has the window and what is tried again, `pipeline.engine.task` one model in a worker.
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
from pipeline.engine.resume import Known, Resume
from pipeline.engine.session import ray_session
from pipeline.engine.tasks import Stage, Task, Tasks, bundle_stored
from pipeline.inputs.discovery import Rejection
from pipeline.ledger.rows import Ledger, Row, new_run


@dataclass
class Summary:
    """How a run ended."""

    ok: int = 0
    kept: int = 0  # done by an earlier run
    left_failed: int = 0  # failed in an earlier run, and left alone
    failed: collections.Counter[str] = field(default_factory=collections.Counter)
    unfinished: int = 0  # of those that failed: the machinery's fault, so the run is not complete
    interrupted: bool = False
    broken: str | None = None
    ledger: Path | None = None

    @property
    def exit_code(self) -> int:
        """130 interrupted; 1 not complete, or nothing at all succeeded; else 0: failed models are rows."""
        if self.interrupted:
            return 130
        return int(bool(self.broken) or bool(self.unfinished) or not (self.ok or self.kept))

    def lines(self, verb: str) -> list[str]:
        """The summary as text."""
        lines = [f"{verb}: {self.ok} ok, {self.kept} done before, {self.failed.total()} failed"]
        lines += [f"  {count:6d} {kind}" for kind, count in self.failed.most_common()]
        if self.left_failed:
            lines.append(f"  {self.left_failed} failed before; --on-existing retry-failed does them again")
        if self.ledger is not None:
            lines.append(f"  what happened to each: {self.ledger}")
        if self.interrupted:
            lines.append("Interrupted. The same command goes on where this stopped.")
        if self.broken:
            lines.append(f"Stopped: {self.broken}")
        if self.broken or self.unfinished:
            lines.append("Not complete: the same command tries again what the machinery failed.")
        return lines


def run_stage(
    stage: Stage,
    tasks: Sequence[Task],
    engine: EngineConfig,
    rejections: Sequence[Rejection] = (),
    resume: Resume | None = None,
    models: str = "",
) -> Summary:
    """Do every task that is not done; stop early at SIGINT or SIGTERM. The caller holds OUT's lock.

    `models` is what the user named, for the ledger.
    """
    folder = stage.layout.ledger(stage.name)
    ledger = Ledger(folder, new_run(folder))
    if resume is None:
        known, stored = Known.load(ledger.folder), bundle_stored(stage.layout)
        resume = Resume(stage.config_hash, known, engine.on_existing, stored)
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
        """Hear signals. One that Ray's processes got too makes anything fail: it is a stop all the same."""
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
        """A list's unusable row is a failure like any other; written again only when it changed."""
        self.summary.failed["invalid"] += 1
        row = Row(rejection.uid, rejection.source, "failed", "invalid", rejection.message)
        before = self.resume.known.get(row.uid)
        if before is None or before.message != row.message:
            self.ledger.append(row)

    def _record(self, rows: Iterator[Row], progress: Progress) -> None:
        """Write rows as they come."""
        for row in rows:
            self.ledger.append(row)
            self.summary.ok += row.ok
            if not row.ok:
                self.summary.failed[row.kind or "error"] += 1
                progress.say(f"  {row.source}: {row.kind}: {_headline(row.message)}")
            self._warn(row.confinement, progress)
            progress.add(row.ok)

    def _warn(self, level: str | None, progress: Progress) -> None:
        """Say once a run what protection a node's kernel could not give."""
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
    """SIGINT and SIGTERM ask for a clean stop; a second one is no longer ours."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous: dict[int, Any] = {}

    def ask(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, previous[number] or signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler or signal.SIG_DFL)
