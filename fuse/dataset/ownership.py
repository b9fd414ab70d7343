"""What a run may remove, and where it may write: only what is provably its own, and never through a link.

    path = unfinished(OUT / ".tmp")     # a new name; this run's marker lies beside it
    remove_unfinished(OUT / ".tmp")     # what killed runs left, by their markers

A file that is being written has its run's id in its name, and beside it lies the run's marker, with the id in
its name and in its content. Only a file with both is ever removed from there.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import stat
import uuid
from pathlib import Path

from render.failures import UserError

_UNFINISHED = re.compile(r"insideout-([0-9a-f]{16})-[0-9a-f]{32}\.unfinished")
_MARKER = re.compile(r"insideout-([0-9a-f]{16})\.run")
_LONGEST = 64  # bytes of a marker


def unfinished(folder: Path) -> Path:
    """A new name in a local folder for a file that is being written; the folder and the marker are made."""
    folder.mkdir(parents=True, exist_ok=True)
    _mark(folder)
    return folder / f"insideout-{_run()}-{uuid.uuid4().hex}.unfinished"


def remove_unfinished(folder: Path) -> None:
    """Remove the marked unfinished files in a local folder, their markers, then the folder if it is empty.

    For whoever knows that no run is writing there.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        refuse_link(folder)
        names = [entry.name for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]
        runs = {run for name in names if (run := _marked(folder / name))}
        for name in names:
            match = _UNFINISHED.fullmatch(name)
            if match and match[1] in runs:
                (folder / name).unlink(missing_ok=True)
        for run in runs:
            (folder / f"insideout-{run}.run").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


def refuse_link(folder: Path) -> None:
    """UserError if a local path is there and is no folder, or is a link to one."""
    try:
        mode = folder.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise UserError(f"{folder}: a link. Folders inside a dataset must be real ones: move it here.")
    if not stat.S_ISDIR(mode):
        raise UserError(f"{folder}: not a folder. Remove it.")


def refuse_links_in(folder: Path) -> None:
    """UserError if a local folder, or anything in it at any depth, is a link: what is written there stays."""
    refuse_link(folder)
    waiting = [folder] if folder.exists() else []
    while waiting:
        for entry in os.scandir(waiting.pop()):
            if entry.is_symlink():
                raise UserError(f"{entry.path}: a link. Nothing is written through one: remove it.")
            if entry.is_dir():
                waiting.append(Path(entry))


def _mark(folder: Path) -> None:
    """Make this run's marker. One that a full disk left without its content would stay forever."""
    marker = folder / f"insideout-{_run()}.run"
    try:
        with marker.open("x") as file:
            file.write(_run())
    except FileExistsError:
        return
    except OSError:
        marker.unlink(missing_ok=True)
        raise


@functools.cache
def _run() -> str:
    """This process's id."""
    return uuid.uuid4().hex[:16]


def _marked(path: Path) -> str | None:
    """The run that a file is the marker of."""
    match = _MARKER.fullmatch(path.name)
    if match is None:
        return None
    with path.open("rb") as file:
        return match[1] if file.read(_LONGEST) == match[1].encode() else None
