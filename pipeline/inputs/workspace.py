"""A worker's folders on its own node, one for what its children may read and one for what they may write.

    with workspace.job() as (inputs, work):     # empty folders of one model, in both

The two stay for the worker's whole life, because a child's confinement can only be tightened.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.sandbox.watchdog import claim


class Folders(NamedTuple):
    """One model's."""

    input: Path
    """The child may read it, and the supervisor alone writes it."""
    work: Path
    """The child may write it."""


class Workspace:
    """A worker's folder; `close` removes it."""

    def __init__(self, root: Path):
        self.root = root
        claim(self.root)
        self.input, self.work = self.root / "input", self.root / "work"
        self.input.mkdir()
        self.work.mkdir()

    @contextlib.contextmanager
    def job(self) -> Iterator[Folders]:
        """Empty folders, removed when the job ends."""
        with (
            tempfile.TemporaryDirectory(dir=self.input, prefix="job-") as inputs,
            tempfile.TemporaryDirectory(dir=self.work, prefix="job-") as work,
        ):
            yield Folders(Path(inputs), Path(work))

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
