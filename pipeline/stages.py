"""What a stage is to the runner: a worker module, and tasks with an input and an output file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import config_hash
from pipeline.discovery import Model
from pipeline.layout import Layout
from pipeline.ledger import Row
from render.bundle import Bundle, BundleError
from render.config import RenderConfig


@dataclass(frozen=True)
class Task:
    """One model in one stage."""

    uid: str
    source: str  # as the ledger records it
    input: Path  # the file whose bytes, with the configuration, make the key
    output: Path  # where the result is committed
    job: dict[str, Any] = field(
        default_factory=dict
    )  # for the worker; the runner adds output, scratch, threads


@dataclass(frozen=True)
class Stage:
    """A kind of work. It travels to Ray's workers with every task, so it is small."""

    name: str
    module: str  # its `process(job)` runs in the child
    config_hash: str
    layout: Layout
    recover: Callable[[Path], tuple[str, str] | None]
    """An output that no ledger row speaks of: (input sha256, config hash) by its own word, or None."""


Only = Callable[[Sequence[Task]], list[Task]]
"""Chooses which of a stage's tasks a run is about."""


def render_stage(config: RenderConfig, layout: Layout) -> Stage:
    """Models to view bundles."""
    return Stage("render", "render.worker", config_hash(config), layout, bundle_key)


def render_tasks(models: list[Model], config: RenderConfig, layout: Layout) -> list[Task]:
    """One task a model, in the models' order."""
    values, digest = config.model_dump(mode="json"), config_hash(config)
    return [
        Task(
            uid=model.uid,
            source=model.source,
            input=model.path,
            output=layout.bundle(model.uid),
            job={
                "uid": model.uid,
                "path": str(model.path),
                "source": model.source,
                "format": model.path.suffix.lower().lstrip(".") or None,
                "caption": model.caption,
                "category": model.category,
                "license": model.license,
                "config": values,
                "config_hash": digest,
            },
        )
        for model in models
    ]


def output_stored(task: Task, row: Row) -> bool:
    """The output is there and as long as when it was committed."""
    try:
        return task.output.stat().st_size == row.bytes
    except FileNotFoundError:
        return False


def bundle_key(path: Path) -> tuple[str, str] | None:
    """What a bundle says it was made from."""
    try:
        with Bundle(path) as bundle:
            return bundle.meta["source_sha256"], bundle.meta["config_hash"]
    except (BundleError, KeyError):
        return None


def no_key(_: Path) -> None:
    """For outputs that do not say what they were made from."""
