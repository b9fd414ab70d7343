"""What can go wrong: classes of failed models, for every stage, and users' mistakes.

A model that cannot be processed raises a `ModelFailure` of one class, which becomes a ledger row. A mistake
in a command, a configuration or a chosen file is a `UserError`, which ends the command with one line.
"""

from __future__ import annotations

import struct
import unicodedata
import zlib
from enum import StrEnum

DAMAGE = (
    ArithmeticError,  # int(inf), a number beyond 64 bits
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,  # also RecursionError, and StopIteration in a generator
    StopIteration,
    SyntaxError,  # XML's ParseError
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What readers raise for text and bytes that do not hold what they should: a value of another type, size or
range. Not MemoryError, which has a class of its own."""


class Status(StrEnum):
    """A ledger row's status."""

    OK = "ok"
    FAILED = "failed"


class FailureClass(StrEnum):
    """A ledger row's class: why a model failed."""

    IMPORT_ERROR = "import_error"
    """The file is damaged, or its importer rejected it."""
    UNSUPPORTED = "unsupported"
    """No importer reads this content; the message says what to do."""
    EMPTY = "empty"
    """Nothing in the file has faces that render."""
    INVALID = "invalid"
    """An unusable row of a model list, or a file that exceeds a limit."""
    OUTSIDE_REFERENCE = "outside_reference"
    """The geometry needs a file that the model may not read."""
    UNSAFE_ARCHIVE = "unsafe_archive"
    """An archive that unpacks to too much data or to paths outside its folder."""
    RENDER_ERROR = "render_error"
    """Blender failed to render."""
    FUSE_ERROR = "fuse_error"
    """The view bundle is damaged."""
    ERROR = "error"
    """An exception in InsideOut itself: please report it."""
    CRASH = "crash"
    """The model's process died or broke the protocol."""
    TIMEOUT = "timeout"
    """The model took longer than `--timeout`."""
    OUT_OF_MEMORY = "out_of_memory"
    """The model's process exceeded `--memory-mib`, or an allocation failed."""
    MISSING = "missing"
    """The file does not exist or cannot be read. Every run retries it."""
    INFRASTRUCTURE = "infrastructure"
    """Ray, a disk, the network or a signal from outside. Not the model's fault; every run retries it."""


class ModelFailure(Exception):
    """One model's failure: its class in the ledger, and a message that names the fault and the remedy."""

    def __init__(self, kind: FailureClass, message: str):
        super().__init__(message)
        self.kind = FailureClass(kind)
        self.message = message

    def __reduce__(self) -> tuple[type[ModelFailure], tuple[FailureClass, str]]:
        return type(self), (self.kind, self.message)


class UserError(ValueError):
    """A mistake that the user can fix; the message names the file, the fault and the remedy."""

    def __str__(self) -> str:
        return printable(super().__str__())


def at_least(name: str, value: float, least: float) -> None:
    """UserError if a setting is too low."""
    if value < least:
        raise UserError(f"{name} {value}: it must be at least {least}.")


def printable(text: str) -> str:
    r"""A text, perhaps a stranger's, that a terminal only displays: control characters become `\x1b`."""
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")
