"""Opening files that may be anything: in a stranger's folder, FIFOs, devices, and damaged archives."""

from __future__ import annotations

import lzma
import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

from render.failures import UserError

ZIP_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    OverflowError,
    RuntimeError,  # a password, an unknown compression
    ValueError,
)
"""What Python raises for zip archives that are not what they should be."""


class NotAFileError(UserError):
    """Something else stands where a file belongs."""


def open_file(path: Path) -> IO[bytes]:
    """A local file opened for reading. NotAFileError for a FIFO or a device, which could block forever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAFileError(f"{path}: not a file. Remove it.")
    return os.fdopen(descriptor, "rb")
