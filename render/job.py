"""What the engine asks of a stage's worker, and what it answers: the contract of `process(job, place)`.

A stage's driver makes the `Job`: the same for every try. The engine adds the `Placement`: where it has put
the input and wants the output this time. Both cross to the child process as JSON and are validated there; so
is the answer on its way back (`pipeline.sandbox.protocol`).
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from render.config import RenderConfig


class Frozen(BaseModel):
    """A value that crosses a process border: immutable, and without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Job(Frozen):
    """What every stage's job has. A stage adds its own fields."""

    uid: str
    config_hash: str


class Placement(Frozen):
    """Where one try of a job reads and writes, and what the engine knows of the input."""

    input: Path
    output: Path
    """The file to write. The engine commits it."""
    scratch: Path
    """An existing folder for anything else; it is removed after the job."""
    threads: int = 1
    input_sha256: str | None = None
    companions_sha256: str | None = None
    """One hash of the names and contents of the files that the input names; None where it names none."""
    notes: tuple[str, ...] = ()
    """What was refused to the model without harm to its geometry."""


class Record(Frozen):
    """What a worker reports about a model that went well, for the ledger. A stage adds its own counts."""

    seconds: dict[str, float] = Field(default_factory=dict)
    """Wall seconds by step."""
    cpu_seconds: dict[str, float] = Field(default_factory=dict)


class RenderJob(Job):
    """One model to render."""

    source: str
    """The model's path as the dataset records it."""
    caption: str | None = None
    category: str | None = None
    license: str | None = None
    config: RenderConfig


class RenderRecord(Record):
    """What one render did."""

    views: int
    faces: int
    importer: str
