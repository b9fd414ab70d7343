"""`insideout bench`: what a model costs, and what the engine adds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.terminal import show
from render.failures import UserError, at_least

_ENGINE_MODELS = 8  # per worker


@dataclass(frozen=True)
class Command:
    """Measure what a model costs per step (import, color, geometry, fusion), then what the engine adds."""

    models: tuple[Path, ...] = ()
    """Model files; default: the sample car, for --against six models. For --memory, one folder or list;
    default: all samples."""
    faces: int = 0
    """Instead of files, a torus of about this many faces."""
    resolutions: tuple[int, ...] = (256, 512)
    """Widths of a view in pixels."""
    repeat: int = 3
    """Runs per measurement; the fastest counts."""
    threads: int = os.cpu_count() or 1
    """Threads of the one Blender child."""
    engine: float = 2.0
    """CPU-seconds of the jobs with which the engine's own cost is measured; 0: skip that."""
    memory: int = 0
    """Instead, render this many models, the given ones again and again, and show the children's memory."""
    workers: int = 2
    """Workers for --memory."""
    against: Path | None = None
    """Instead, compare this checkout with an older one in this folder, on one thread."""
    reference: int = 1024
    """Samples of the color that --against compares with; 0: do not compare color."""
    ledger: int = 0
    """Instead, measure what a dataset of this many models costs the driver. Makes two files per model."""

    def __post_init__(self) -> None:
        for name in ("repeat", "threads", "workers"):
            at_least(name, getattr(self, name), 1)
        for name in ("faces", "engine", "memory", "reference", "ledger"):
            at_least(name, getattr(self, name), 0)
        for width in self.resolutions:
            at_least("resolutions", width, 16)


def run(command: Command) -> int:
    """Print Markdown tables as they are measured."""
    from pipeline.bench.models import machine
    from pipeline.bench.torus import write_torus

    show(machine(), "")
    with tempfile.TemporaryDirectory(prefix="insideout-bench-") as folder:
        if command.faces:
            command = replace(command, models=(write_torus(Path(folder, "torus.glb"), command.faces),))
        for text in _tables(command):
            show(*text.splitlines())
    return 0


def _tables(command: Command) -> Iterator[str]:
    from pipeline.bench import against, engine, ledger, models

    if command.against:
        chosen = {path.stem: path for path in command.models}
        yield from against.tables(
            command.against, command.resolutions, command.repeat, command.reference, chosen or None
        )
    elif command.ledger:
        yield ledger.measure(command.ledger)
    elif command.memory:
        with tempfile.TemporaryDirectory(prefix="insideout-bench-") as folder:
            place = _one(command.models) or models.sample_models(Path(folder, "samples"))
            yield engine.memory_table(place, command.memory, command.workers)
    else:
        yield f"One Blender child, {command.threads} threads, 20 views, best of {command.repeat}\n\n"
        yield from models.tables(command.models, command.resolutions, command.repeat, command.threads)
        if command.engine:
            yield engine.engine_table(command.engine, _ENGINE_MODELS)


def _one(models: tuple[Path, ...]) -> Path | None:
    if len(models) > 1:
        raise UserError("bench --memory takes one folder or list of models: --models DIR.")
    return models[0] if models else None
