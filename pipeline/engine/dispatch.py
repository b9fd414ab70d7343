"""A stage's tasks through Ray: a bounded window in flight, rows as they arrive, retries of faults.

The supervisor (`pipeline.engine.supervisor`) catches what a model does to its process; that is a row like any
other. An infrastructure failure (a lost node, a dead worker, a full disk) says nothing about the model: the
model goes to the end of the queue, a few times, and its row is written if that did not help. Ray itself
retries nothing: it would not report it, and would retry forever what runs a node out of memory.

A Ray task is a portion of models, so that its worker has a next model while it commits one; their rows arrive
one by one.
"""

from __future__ import annotations

import collections
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.config import EngineConfig
from pipeline.engine.progress import Progress
from pipeline.engine.session import Session
from pipeline.engine.task import execute
from pipeline.engine.tasks import Queue, Stage, Task
from pipeline.ledger.rows import Row
from pipeline.sandbox.process import Limits
from render.failures import FailureClass, Status

_TRIES = 3  # of a model in one run, after infrastructure failures: the model may be what kills its worker
_TRIES_ON_LOST_NODES = 10  # where nodes come and go, a model may be unlucky more often
_BROKEN_AFTER = 5  # models in a row, or twice the workers if that is more: on a full disk all fail alike
_STUCK_AFTER = 600.0  # seconds beyond a model's own limits, to hash its input and to store its output
_PORTION = 8  # models that a worker gets at once
_SPARED = 4  # portions per worker that stay in the queue; then they get smaller, so that all end together

_COLORS = re.compile(r"\x1b\[\d*m")  # in Ray's messages


@dataclass
class Dispatch:
    """One run's way through Ray."""

    stage: Stage
    engine: EngineConfig
    run: str
    session: Session
    attempt: Callable[[Task], int]  # the number of this attempt at a task, over all runs
    stop: threading.Event  # requests a clean end
    broken: str | None = None  # why the run ended early
    unfinished: int = 0  # rows that say nothing about their model
    _tries: collections.Counter[tuple[str, bool]] = field(default_factory=collections.Counter)
    _held: dict[str, Row] = field(default_factory=dict)  # rows of tasks that wait for another try
    _unlucky: set[str] = field(default_factory=set)  # models failed by infrastructure since its last success

    def rows(self, todo: Sequence[Task], progress: Progress) -> Iterator[Row]:
        """Keep the window full and yield rows as they arrive, until all have or the run has to end."""
        import ray

        launch = self._launcher()
        waiting = Queue(todo)
        flying: dict[Any, collections.deque[Task]] = {}  # by the stream of their rows
        if self.session.too_small():
            progress.say(
                f"  no node has the {self.session.threads} cores that --threads asks for: waiting for one"
            )
        try:
            while (waiting or flying) and not self._ends():
                while waiting and len(flying) < self.session.window():
                    portion = waiting.take(self._portion(len(waiting)))
                    flying[launch(portion)] = collections.deque(portion)
                progress.tick()
                for stream in _landed(list(flying)):
                    row, again = self._next(stream, flying[stream])
                    if not flying[stream]:
                        del flying[stream]
                    waiting.put_back(*again)
                    if row is not None:
                        yield row
            self.unfinished += len(self._held)
            yield from self._held.values()
        finally:
            for stream in flying:
                ray.cancel(stream, force=True)

    def _portion(self, waiting: int) -> int:
        """How many of the waiting models a worker gets now."""
        return max(1, min(_PORTION, waiting // (_SPARED * max(1, self.session.workers))))

    def _next(self, stream: Any, left: collections.deque[Task]) -> tuple[Row | None, list[Task]]:
        """A portion's next row, if it is its task's last in this run, and the tasks to be tried again.

        What ends a portion may be the fault of the first without a row or of the one after it: from then on,
        each comes alone.
        """
        task = left.popleft()
        row, error = self._row(stream, task)
        again = [] if error is None else list(left)
        if error is not None:
            left.clear()
        judged = self._judge(task, row, error)
        return judged, again if judged is not None else [*again, task]

    def _ends(self) -> bool:
        self.broken = self.broken or self.session.lost()
        return self.stop.is_set() or self.broken is not None

    def _launcher(self) -> Callable[[Sequence[Task]], Any]:
        import ray

        engine, threads = self.engine, self.session.threads
        limits = Limits(
            timeout=engine.timeout,
            start_timeout=engine.start_timeout,
            memory_mib=engine.memory_mib,
            recycle_models=engine.recycle_models,
            recycle_mib=engine.recycle_mib,
            threads=threads,
            confine=engine.confine,
        )
        # A crash in a used child is tried once more in a fresh one.
        within = engine.start_timeout + 2 * engine.timeout + _STUCK_AFTER
        recover = engine.on_existing != "overwrite"
        remote: Any = ray.remote(execute).options(num_cpus=threads, max_retries=0, num_returns="streaming")

        def launch(portion: Sequence[Task]) -> Any:
            attempts = [(task, self.attempt(task)) for task in portion]
            return remote.remote(self.stage, attempts, limits, self.run, recover, within)

        return launch

    def _row(self, stream: Any, task: Task) -> tuple[Row, Exception | None]:
        """A task's row; a result that Ray could not deliver is an infrastructure failure."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            delivered: Any = ray.get(next(stream))
            return delivered, None
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            message = f"{type(cause).__name__}: {' '.join(str(cause).split())[:1000]}"
            row = Row(
                task.uid,
                task.source,
                Status.FAILED,
                FailureClass.INFRASTRUCTURE,
                message,
                log_tail=_COLORS.sub("", str(error))[-4000:],
                config_hash=self.stage.config_hash,
                attempt=self.attempt(task),
            )
            return row, error

    def _judge(self, task: Task, row: Row, error: Exception | None) -> Row | None:
        """The row, if it is the task's last in this run; None if the task is to be tried again."""
        from ray.exceptions import NodeDiedError, WorkerCrashedError

        self._held.pop(task.uid, None)
        if row.kind is not FailureClass.INFRASTRUCTURE:
            self._unlucky.clear()
            return row
        node_lost = isinstance(error, NodeDiedError)
        self._tries[task.uid, node_lost] += 1
        if not node_lost:
            self._unlucky.add(task.uid)
        if len(self._unlucky) >= max(_BROKEN_AFTER, 2 * self.session.workers):
            self.broken = f"{len(self._unlucky)} infrastructure failures in a row. The last: {row.message}"
        elif self._tries[task.uid, node_lost] < (_TRIES_ON_LOST_NODES if node_lost else _TRIES):
            self._held[task.uid] = row
            return None
        # A model that kills every worker that touches it is itself to blame: the run is complete without it.
        self.unfinished += not isinstance(error, WorkerCrashedError)
        return row


def _landed(flying: list[Any]) -> list[Any]:
    """Those of them that have a row, after at most half a second."""
    import ray

    ready, _ = ray.wait(flying, num_returns=1, timeout=0.5)
    if ready and len(flying) > 1:  # all there are: a big cluster finishes more than one model per call
        ready, _ = ray.wait(flying, num_returns=len(flying), timeout=0)
    return ready
