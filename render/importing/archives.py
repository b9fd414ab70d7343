"""Zip archives that hold a model (usdz, 3mf), looked at before anything is unpacked.

    check(Path("chair.usdz"))       # ModelFailure `unsafe_archive` where it is a bomb or names files outside

Only the directory at the archive's end is read, and only if that is of a sane size.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path, PurePosixPath

from render.failures import FailureClass, ModelFailure

MOST_ENTRIES = 10_000
LARGEST = 8 << 30
"""Bytes that an archive may unpack to."""
MOST_EXPANSION = 200
"""Times its own size that an archive may unpack to, once that is more than `_HARMLESS`."""

_HARMLESS = 64 << 20  # bytes
_MOST_DIRECTORY = 4 << 20  # bytes: about 400 an entry
_END = b"PK\x05\x06"
_END_RECORD = struct.Struct("<4s4H2LH")


def check(path: Path) -> None:
    """Refuse an archive with too many entries, too large an expansion, or names that leave it.

    One whose directory is damaged passes: the importer has its own words for it. Raises OSError where the
    file cannot be read.
    """
    if not readable(path):
        raise _unsafe(path, f"its directory is larger than {_MOST_DIRECTORY >> 20} MiB")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return
    if len(entries) > MOST_ENTRIES:
        raise _unsafe(path, f"{len(entries)} entries, {MOST_ENTRIES} allowed")
    for entry in entries:
        if _leaves(entry.orig_filename):
            raise _unsafe(path, f"entry {entry.orig_filename[:100]!r} lies outside the archive")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > min(LARGEST, max(_HARMLESS, MOST_EXPANSION * path.stat().st_size)):
        raise _unsafe(path, f"{path.stat().st_size} bytes unpack to {unpacked}")


def readable(path: Path) -> bool:
    """Whether the directory is small enough to be held in memory. A damaged one is: it will not be found."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 65_557))
        tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or at + _END_RECORD.size > len(tail):
        return True
    return _END_RECORD.unpack_from(tail, at)[5] <= _MOST_DIRECTORY


def _leaves(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return ".." in parts or name.startswith(("/", "\\")) or name[1:2] == ":"


def _unsafe(path: Path, what: str) -> ModelFailure:
    return ModelFailure(FailureClass.UNSAFE_ARCHIVE, f"{path.name}: {what}")
