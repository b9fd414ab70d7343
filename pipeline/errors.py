"""What went wrong outside a model, other than a user's mistake (`render.failures`): one line, exit code 1."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

_WRITABLE = "Make it writable for this user, or choose another place"
_REMEDIES = {
    errno.ENOSPC: "Make room there",
    errno.EDQUOT: "Make room there, or raise the quota",
    errno.EROFS: _WRITABLE,
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
    errno.EEXIST: "Move it away, or choose another place",
    errno.ENOTDIR: "Move the file that is in the folder's place, or choose another place",
    errno.EIO: "Check the disk",
    errno.ESTALE: "Mount it again",
    errno.EMFILE: "Raise the limit on open files (`ulimit -n`)",
}


class InfrastructureError(Exception):
    """Ray, the disk or the network failed; no model is to blame. Exit code 1."""


def explain_os_error(error: OSError) -> str:
    """`FILE: what was wrong. The remedy.`"""
    what = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{what}. {remedy}; then run the same command again." if remedy else what


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Have errors name the file: the kernel's of a write (a full disk) come without it."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
