"""Done means committed: the whole file under a temporary name, fsync, rename, fsync of the folder.

After a crash at any moment a file is either absent or whole; nothing half-written bears a final name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.errors import UserError
from pipeline.layout import Layout


def commit_file(source: Path, target: Path, layout: Layout) -> int:
    """Copy `source` (on any file system) to `target` below OUT, atomically. Returns the size in bytes."""
    with source.open("rb") as reader:
        return _commit(lambda writer: shutil.copyfileobj(reader, writer, 1 << 20), target, layout)


def commit_bytes(data: bytes, target: Path, layout: Layout) -> int:
    """Write `data` to `target` below OUT, atomically. Returns the size in bytes."""
    return _commit(lambda writer: writer.write(data), target, layout)


@contextlib.contextmanager
def exclusive(layout: Layout) -> Iterator[None]:
    """One run at a time in OUT; what an interrupted one left unfinished goes before and after.

    The folder itself is locked: no lock file is left, and the lock ends with the process.
    """
    layout.root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(layout.root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Some network file systems have no locks (another OSError): there, the user keeps runs apart.
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                where = f"{layout.root}: another run is writing here."
                raise UserError(f"{where} Wait for it, or choose another --out.") from error
        shutil.rmtree(layout.temporary, ignore_errors=True)
        yield
        shutil.rmtree(layout.temporary, ignore_errors=True)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _commit(write: Callable[[BinaryIO], Any], target: Path, layout: Layout) -> int:
    layout.temporary.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = layout.temporary / uuid.uuid4().hex
    try:
        with temporary.open("xb") as writer:
            write(writer)
            writer.flush()
            os.fsync(writer.fileno())
            size = writer.tell()
        temporary.rename(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)
    return size
