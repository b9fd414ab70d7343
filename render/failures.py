"""A model that cannot be done, said so that a ledger can count it and a person can mend it."""

from __future__ import annotations

from typing import Literal

Kind = Literal[
    "import_error",
    "unsupported",
    "empty",
    "invalid",
    "outside_reference",
    "unsafe_archive",
    "render_error",
    "fuse_error",
]


class ModelFailure(Exception):
    """One model's failure: its class in the ledger, and a message that names what was wrong and the cure."""

    def __init__(self, kind: Kind, message: str):
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message

    def __reduce__(self) -> tuple[type[ModelFailure], tuple[Kind, str]]:
        return type(self), (self.kind, self.message)
