"""The contract of `process(job, place)`: what the engine asks of a stage's worker, and what it answers.

A stage's driver makes the `Job`, the same for every attempt. The engine adds the `Placement`: where the input
is and where the output goes this time. Both cross to the child process as JSON and are validated there; so is
the answer on its way back (`pipeline.sandbox.protocol`).
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from render.config import RenderConfig


class Frozen(BaseModel):
    """A value that crosses a process boundary: immutable, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Job(Frozen):
    """The fields of every stage's job. A stage adds its own."""

    uid: str
    config_hash: str


class Placement(Frozen):
    """Where one attempt at a job reads and writes, and what the engine knows about the input."""

    input: Path
    output: Path
    """The file to write. The engine commits it."""
    scratch: Path
    """An existing folder for temporary files; it is emptied after the job. The output may lie in it."""
    threads: int = 1
    input_sha256: str | None = None
    companions_sha256: str | None = None
    """Hash of the names and contents of the files that the input references; None without any."""
    notes: tuple[str, ...] = ()
    """References that were refused without harm to the geometry."""


class Record(Frozen):
    """What a worker reports about a successful model, for the ledger. A stage adds its own counts."""

    seconds: dict[str, float] = Field(default_factory=dict)
    """Wall-clock seconds per step."""
    cpu_seconds: dict[str, float] = Field(default_factory=dict)


class RenderJob(Job):
    """One model to render."""

    source: str
    """The model's path as the dataset records it."""
    caption: str | None = None
    category: str | None = None
    license: str | None = None
    split: str | None = None
    weight: float | None = None
    config: RenderConfig


class RenderRecord(Record):
    """The outcome of one render."""

    views: int
    faces: int
    importer: str
