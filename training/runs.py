"""A run's folder while it is in use: where it is, who may write to it, and how to ask a run to stop.

The lock is the kernel's (`flock`) on a file that stays: it ends with the process that holds it, however that
ends, so there is never a stale one to remove.
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fuse.dataset.layout import Layout
from fuse.dataset.names import checked
from fuse.dataset.ownership import refuse_link, refuse_links_in
from fuse.dataset.storage import is_local
from render.failures import UserError

STOP = "stop"
"""A file of this name in the run's folder ends the run after the current step."""
LOCK = ".lock"


def run_folder(dataset: Path, run: str, runs: Path | None = None) -> Path:
    """The folder of a run's files. UserError if it is on no disk, or a link inside the dataset."""
    folder = (runs or Layout(dataset).checkpoints) / checked(run)
    if not is_local(folder):
        raise UserError(f"{folder}: runs must be on a disk. Name a folder for them: --checkpoints DIR.")
    if runs is None:
        refuse_link(folder.parent)
        refuse_link(folder)
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within, this process alone writes to the run; a stop request of an earlier run is dropped.

    Raises UserError if another process trains the run, if the folder is not a run's, or if it holds links.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    refuse_links_in(folder)
    if not (folder / LOCK).exists() and any(file.name != STOP for file in folder.iterdir()):
        raise UserError(
            f"{folder}: not the folder of a run: it has files, but no {LOCK}. Choose another name, or, if "
            f"they are a run's, create an empty {LOCK} there."
        )
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{folder}: process {file.read(100).strip() or '?'} is training this run. Wait for it, "
                "or choose another run name."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()} on {os.uname().nodename}")
        file.flush()
        (folder / STOP).unlink(missing_ok=True)
        yield


@contextmanager
def stop_signal(file: Path) -> Iterator[Callable[[], bool]]:
    """Within, SIGINT, SIGTERM and `file` only set a flag; yields the function that reads it."""
    flag = threading.Event()

    def asked() -> bool:
        return flag.is_set() or file.exists()

    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may set handlers
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: flag.set()) for number in numbers]
    try:
        yield asked
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
