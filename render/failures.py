"""What can go wrong: the classes of failed models, for every stage, and the mistakes of people.

A model that cannot be processed is a `ModelFailure` of one class, which becomes a row of the ledger. A mistake in
a command, a configuration or a file that a person chose is a `UserError`, which ends the command with one line.
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """A ledger row's status."""

    OK = "ok"
    FAILED = "failed"


class FailureClass(StrEnum):
    """A ledger row's class: why a model failed."""

    IMPORT_ERROR = "import_error"
    """The file is damaged, or its importer refused it."""
    UNSUPPORTED = "unsupported"
    """The content is of no format that can be read; the message names the way out."""
    EMPTY = "empty"
    """Nothing in the file has a face that renders."""
    INVALID = "invalid"
    """A row of a list that cannot be used, or a file that exceeds a limit."""
    OUTSIDE_REFERENCE = "outside_reference"
    """The geometry depends on a file that the model may not have."""
    UNSAFE_ARCHIVE = "unsafe_archive"
    """An archive that unpacks to too much, or to places outside itself."""
    RENDER_ERROR = "render_error"
    """Blender did not render."""
    FUSE_ERROR = "fuse_error"
    """The view bundle is damaged."""
    ERROR = "error"
    """An exception in our own code: please report it."""
    CRASH = "crash"
    """The model's process died, or broke the protocol."""
    TIMEOUT = "timeout"
    """The model took longer than `--timeout`."""
    OUT_OF_MEMORY = "out_of_memory"
    """The model's process grew beyond `--memory-mib`, or was refused memory."""
    MISSING = "missing"
    """The file is not there, or cannot be read. Every run tries it again."""
    INFRASTRUCTURE = "infrastructure"
    """Ray, a disk, the network or another person's signal. It says nothing about the model; every run tries again."""


class ModelFailure(Exception):
    """One model's failure: its class in the ledger, and a message that names what was wrong and the remedy."""

    def __init__(self, kind: FailureClass, message: str):
        super().__init__(message)
        self.kind = FailureClass(kind)
        self.message = message

    def __reduce__(self) -> tuple[type[ModelFailure], tuple[FailureClass, str]]:
        return type(self), (self.kind, self.message)


class UserError(ValueError):
    """A mistake that a person can correct; the message names the file, the fault and the remedy."""
