"""A worker's folders on its own node, one for what its children may read and one for what they may write.

    with workspace.job() as (inputs, work):     # empty folders of one model, in both

The two stay for the worker's whole life, because a child's confinement can only be tightened.
"""

from __future__ import annotations

import contextlib
import os
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
        self.output = self.root / "output"  # for the worker alone
        for folder in (self.input, self.work, self.output):
            folder.mkdir()
        self._inputs, self._works = _Reused(self.input), _Reused(self.work)

    @contextlib.contextmanager
    def job(self) -> Iterator[Folders]:
        """Empty folders; nothing is left in them when the job ends."""
        with self._inputs.lent() as inputs, self._works.lent() as work:
            yield Folders(inputs, work)

    def close(self) -> None:
        """Remove the folders."""
        self._inputs.close()
        self._works.close()
        shutil.rmtree(self.root, ignore_errors=True)


class _Reused:
    """An empty folder for one model after another.

    Removing a folder waits for some disks, four milliseconds on ext4 without a journal. So it stays, unless
    more than files is found in it.
    """

    def __init__(self, parent: Path):
        self._parent = parent
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @contextlib.contextmanager
    def lent(self) -> Iterator[Path]:
        folder = self._folder = self._folder or tempfile.TemporaryDirectory(dir=self._parent, prefix="job-")
        try:
            yield Path(folder.name)
        finally:
            if not _emptied(folder.name):
                self._folder = None
                folder.cleanup()

    def close(self) -> None:
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._folder.cleanup()


def _emptied(folder: str) -> bool:
    """Whether this is a folder, no link, in which removing its files leaves nothing."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        for name in os.listdir(descriptor):
            os.unlink(name, dir_fd=descriptor)
        return True
    except OSError:  # a folder in it
        return False
    finally:
        os.close(descriptor)
