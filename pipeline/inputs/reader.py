"""Who reads the bytes of a model that is placed: a confined child, by `pipeline.engine.supervisor.Turn`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from render.references.link_scan import Scan
from render.references.orders import RewriteOrder, Rewritten, Unpacked, UnpackOrder


class Reader(Protocol):
    """Reads only what has been placed. All but `paused` may raise ModelFailure."""

    def seals_input(self) -> bool:
        """Whether the reader cannot change what it may read."""
        ...

    def scan(self, path: Path) -> Scan:
        """The names in a file."""
        ...

    def unpack(self, order: UnpackOrder) -> Unpacked:
        """Unpack an archive."""
        ...

    def rewrite(self, order: RewriteOrder) -> Rewritten:
        """Write the copy of a file that an importer gets."""
        ...

    def check(self) -> None:
        """Raise ModelFailure where the model's time is over."""
        ...

    def paused(self) -> AbstractContextManager[None]:
        """The model's time stands still."""
        ...
