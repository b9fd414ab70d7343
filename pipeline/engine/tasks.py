"""What a stage is to the runner: a worker module, and tasks with an input and an output file."""

from __future__ import annotations

import collections
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuse.dataset import storage
from fuse.dataset.layout import Layout
from pipeline.config import config_hash
from pipeline.inputs.discovery import Model
from render.bundle import Bundle, BundleError
from render.config import RenderConfig


@dataclass(frozen=True)
class Task:
    """One model in one stage."""

    uid: str
    source: str  # as the ledger records it
    input: Path  # the file whose bytes, with those it names and the configuration, make the key
    output: Path  # where the result is committed
    job: dict[str, Any] = field(
        default_factory=dict
    )  # for the worker; the runner adds input, output, scratch, threads


@dataclass(frozen=True)
class Stage:
    """A kind of work. It travels to Ray's workers with every task, so it is small."""

    name: str
    module: str  # its `process(job)` runs in the child
    config_hash: str
    layout: Layout
    recover: Callable[[Path], tuple[str, str] | None]
    """An output that no ledger row speaks of: (input key, config hash) by its own word, or None."""


class Tasks(Sequence[Task]):
    """Tasks that are made when they are asked for: a million of them would fill a memory."""

    def __init__(
        self,
        items: Sequence[Any],
        make: Callable[[Any], Task],
        head: Callable[[Any], tuple[str, str]],
    ):
        self._items, self._make, self._head = items, make, head

    @classmethod
    def of(cls, tasks: Sequence[Task]) -> Tasks:
        """Tasks that are there already."""
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
        """(uid, path of the input) of each, without making it."""
        return map(self._head, self._items)

    def among(self, uids: Collection[str]) -> Tasks:
        """Those of `uids`."""
        chosen = [item for item in self._items if self._head(item)[0] in uids]
        return Tasks(chosen, self._make, self._head)


class Todo(Sequence[Task]):
    """The tasks that a run has to do, by their numbers; as a queue, each is made when its turn comes."""

    def __init__(self, tasks: Tasks, numbers: Sequence[int]):
        self._tasks, self._numbers = tasks, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        return self._tasks[self._numbers[index]]


class Queue:
    """First in, first out; what is put back comes after all others."""

    def __init__(self, tasks: Sequence[Task]):
        self._fresh, self._left = iter(tasks), len(tasks)
        self._again: collections.deque[Task] = collections.deque()

    def __len__(self) -> int:
        return self._left + len(self._again)

    def popleft(self) -> Task:
        """The next one."""
        if self._left:
            self._left -= 1
            return next(self._fresh)
        return self._again.popleft()

    def append(self, task: Task) -> None:
        """Put one back."""
        self._again.append(task)


def render_stage(config: RenderConfig, layout: Layout) -> Stage:
    """Models to view bundles."""
    return Stage("render", "render.worker", config_hash(config), layout, bundle_key)


def render_tasks(models: Sequence[Model], config: RenderConfig, layout: Layout) -> Tasks:
    """One task a model, in the models' order."""
    common = {"config": config.model_dump(mode="json"), "config_hash": config_hash(config)}

    def task(model: Model) -> Task:
        path = model.path
        job = {
            "uid": model.uid,
            "path": str(path),
            "source": model.source,
            "format": path.suffix.lower().lstrip(".") or None,
            "caption": model.caption,
            "category": model.category,
            "license": model.license,
            **common,
        }
        return Task(model.uid, model.source, path, layout.bundle(model.uid), job)

    return Tasks(models, task, lambda model: (model.uid, model.location))


def bundle_stored(layout: Layout) -> Callable[[str, int | None], bool]:
    """Whether a model's bundle is there and as long as when it was committed."""
    if storage.is_local(layout.root):
        return lambda uid, size: storage.size_of(f"{layout.views}/{layout.bundle_name(uid)}") == size
    sizes = {uid: entry.size for uid, entry in layout.bundles()}
    return lambda uid, size: sizes.get(uid) == size


def bundle_key(path: Path) -> tuple[str, str] | None:
    """What a bundle says it was made from."""
    try:
        with Bundle(path) as bundle:
            meta = bundle.meta
            return input_key(meta["source_sha256"], meta.get("companions_sha256")), meta["config_hash"]
    except (BundleError, KeyError):
        return None


def input_key(sha256: str | None, companions_sha256: str | None) -> str:
    """The hash of an input and of what it names, as one word."""
    return f"{sha256} {companions_sha256}" if companions_sha256 else str(sha256)


def no_key(_: Path) -> None:
    """For outputs that do not say what they were made from."""
