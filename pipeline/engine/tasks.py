"""What a stage is to the runner: a worker module, and tasks with an input and an output file.

Nothing here knows a stage; `pipeline.stages` makes them.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuse.dataset.layout import Layout
from render.job import Job


@dataclass(frozen=True)
class Task:
    """One model in one stage."""

    source: str
    """The model, as the ledger records it."""
    input: Path
    """Its bytes, those of the files that it names, and the configuration make the key."""
    output: Path
    """Where the result is committed."""
    job: Job

    @property
    def uid(self) -> str:
        """The model's uid."""
        return self.job.uid


@dataclass(frozen=True)
class Stage:
    """A kind of work. It travels to Ray's workers with every task, so it is small."""

    name: str
    module: str
    """The worker: its `process(job, place)` runs in the child."""
    config_hash: str
    layout: Layout
    recover: Callable[[Path], tuple[str, str] | None]
    """(input key, config hash) that an output without a ledger row states of itself, or None."""
    models: bool = True
    """Whether its inputs are models, which may name other files or lie in archives."""


class Tasks(Sequence[Task]):
    """Tasks that are built on access: a million of them would fill the memory."""

    def __init__(
        self,
        items: Sequence[Any],
        make: Callable[[Any], Task],
        head: Callable[[Any], tuple[str, str]],
    ):
        self._items, self._make, self._head = items, make, head

    @classmethod
    def of(cls, tasks: Sequence[Task]) -> Tasks:
        """Tasks that exist already."""
        if isinstance(tasks, Tasks):
            return tasks
        return cls(tasks, lambda task: task, lambda task: (task.uid, str(task.input)))

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._make(item) for item in self._items[index]]
        return self._make(self._items[index])

    def __iter__(self) -> Iterator[Task]:
        return map(self._make, self._items)

    def heads(self) -> Iterator[tuple[str, str]]:
        """(uid, path of the input) of each task, without building it."""
        return map(self._head, self._items)

    def among(self, uids: Collection[str]) -> Tasks:
        """The tasks of `uids`."""
        chosen = [item for item in self._items if self._head(item)[0] in uids]
        return Tasks(chosen, self._make, self._head)


class Todo(Sequence[Task]):
    """The tasks that a run has to do, by their indices."""

    def __init__(self, tasks: Tasks, indices: Sequence[int]):
        self._tasks, self._indices = tasks, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> Any:
        return self._tasks[self._indices[index]]


class Queue:
    """First in, first out; tasks that are put back come after all others."""

    def __init__(self, tasks: Sequence[Task]):
        self._fresh, self._left = iter(tasks), len(tasks)
        self._again: collections.deque[Task] = collections.deque()

    def __len__(self) -> int:
        return self._left + len(self._again)

    def take(self, most: int = 1) -> list[Task]:
        """The next tasks; one that was put back comes alone, because it may take down its worker."""
        if not self._left:
            return [self._again.popleft()]
        fresh = list(itertools.islice(self._fresh, most))
        self._left -= len(fresh)
        return fresh

    def put_back(self, *tasks: Task) -> None:
        """To be taken after all others."""
        self._again.extend(tasks)


def input_key(sha256: str | None, companions_sha256: str | None) -> str:
    """The hash of an input and of the files that it names, as one word."""
    return f"{sha256} {companions_sha256}" if companions_sha256 else str(sha256)
