"""Done means committed: the whole file under a temporary name, fsync, rename, fsync of the folder.

After a crash at any moment a file is either absent or whole; nothing half-written has a final name. In an
object store a PUT is all that (`fuse.dataset.storage`), and the lock on OUT is an object
(`pipeline.output.lock`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from fuse.dataset import ownership, storage
from fuse.dataset.layout import Layout
from pipeline.errors import writing
from pipeline.output.lock import remote_lock
from render.failures import UserError


def commit_file(source: Path, target: Path, layout: Layout) -> int:
    """Copy `source` (on any file system) to `target` below OUT, atomically. Returns the size in bytes."""
    with writing(target):
        return storage.publish(source, target, layout.temporary)


def commit_bytes(data: bytes, target: Path, layout: Layout) -> int:
    """Write `data` to `target` below OUT, atomically. Returns the size in bytes."""
    with writing(target):
        return storage.publish_bytes(data, target, layout.temporary)


@contextlib.contextmanager
def exclusive(layout: Layout) -> Iterator[None]:
    """One run at a time in OUT. Files that an interrupted one left unfinished are removed before and after.

    The folder itself is locked: no lock file is left, and the lock ends with the process. UserError if
    another run is writing, or if a folder inside OUT is a link.
    """
    if not storage.is_local(layout.root):
        with remote_lock(layout.lock):
            yield
        return
    layout.root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(layout.root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Some network file systems have no locks (another OSError): there, the user keeps runs apart.
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                where = f"{layout.root}: another run is writing here."
                raise UserError(f"{where} Wait for it, or choose another folder.") from error
        layout.refuse_links()
        ownership.remove_unfinished(layout.temporary)
        yield
        ownership.remove_unfinished(layout.temporary)
    finally:
        os.close(descriptor)
