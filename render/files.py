"""Opening files that may be anything: a stranger's folder can hold FIFOs and devices under any name."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

from render.failures import UserError


class NotAFileError(UserError):
    """Something else stands where a file belongs."""


def open_file(path: Path) -> IO[bytes]:
    """A local file opened for reading. NotAFileError for a FIFO or a device, which could block forever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAFileError(f"{path}: not a file. Remove it.")
    return os.fdopen(descriptor, "rb")
