"""Zip archives that hold models (zip, usdz, 3mf), checked before anything is unpacked.

    check(Path("chair.usdz"))       # ModelFailure `unsafe_archive` where it is a bomb or names files outside
    models(Path("pack.zip"), {".obj", ".glb"})      # ["chair/chair.obj", "lamp.glb"]

Only the directory at the archive's end is read, and only if that is of a sane size.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import zipfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from render.failures import FailureClass, ModelFailure
from render.files import ZIP_DAMAGE

MOST_ENTRIES = 10_000
LARGEST = 8 << 30
"""Bytes that an archive may unpack to."""
MOST_EXPANSION = 200
"""Times its own size that an archive may unpack to, once that is more than `_HARMLESS`."""

_HARMLESS = 64 << 20  # bytes
_MOST_DIRECTORY = 4 << 20  # bytes: about 400 per entry
_PIECE = 1 << 20
_BAD_DIRECTORY = tuple(kind for kind in ZIP_DAMAGE if kind is not OSError)  # which says that it can't be read


class TooLarge(zipfile.BadZipFile):
    """The directory exceeds `_MOST_DIRECTORY`."""


def check(path: Path) -> None:
    """Refuse an archive with too many entries, too large an expansion, or names that leave it.

    A damaged directory passes: the importer reports it. Raises OSError where the
    file cannot be read.
    """
    try:
        entries = directory(path)
    except TooLarge as error:
        raise _unsafe(path, f"its directory is larger than {_MOST_DIRECTORY >> 20} MiB") from error
    if entries is None:
        return
    if len(entries) > MOST_ENTRIES:
        raise _unsafe(path, f"{len(entries)} entries, {MOST_ENTRIES} allowed")
    for entry in entries:
        if _leaves(entry.orig_filename):
            raise _unsafe(path, f"entry {entry.orig_filename[:100]!r} lies outside the archive")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > min(LARGEST, max(_HARMLESS, MOST_EXPANSION * path.stat().st_size)):
        raise _unsafe(path, f"{path.stat().st_size} bytes unpack to {unpacked}")


class _Bounded(io.FileIO):
    """zipfile reads a directory at once, of whatever size its end record or the one of ZIP64 states."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MOST_DIRECTORY:
            raise TooLarge
        return super().read(-1 if size is None else size) or b""


def directory(path: Path) -> list[zipfile.ZipInfo] | None:
    """The entries of a zip archive; None where its directory is damaged. Raises OSError, and TooLarge.

    Time is linear in the directory, 1.1 CPU-seconds at worst.
    """
    try:
        with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
            return archive.infolist()
    except TooLarge:
        raise
    except _BAD_DIRECTORY:
        return None


def _leaves(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return ".." in parts or name.startswith(("/", "\\")) or name[1:2] == ":"


def _unsafe(path: Path, what: str) -> ModelFailure:
    return ModelFailure(FailureClass.UNSAFE_ARCHIVE, f"{path.name}: {what}")


def models(path: Path, extensions: Collection[str]) -> list[str] | None:
    """The files in a zip archive that have one of `extensions`, sorted.

    None where the archive's directory cannot be read, or is too large.
    """
    try:
        entries = directory(path)
    except (OSError, TooLarge):
        return None
    if entries is None:
        return None
    names = map(entry_name, entries)
    return sorted(name for name in names if Path(name).suffix.lower() in extensions and not _is_hidden(name))


def unpack(path: Path, folder: Path) -> None:
    """Write the regular files of an archive into `folder`. ModelFailure where it is unsafe or damaged.

    Never writes more than an entry's stated size.
    """
    check(path)
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if (
                    not entry.filename.endswith("/")
                    and not _is_hidden(entry_name(entry))
                    and _is_regular(entry)
                ):
                    _write(archive, entry, folder / entry_name(entry))
    except ZIP_DAMAGE as error:
        raise ModelFailure(FailureClass.INVALID, f"{path.name}: damaged zip archive: {error}") from error


def entry_name(entry: zipfile.ZipInfo) -> str:
    """An entry's name as the file system would give it: bytes of an unknown encoding stay what they are.

    Old Windows programs write folders with backslashes, which may also be the second byte of a character.
    """
    if entry.flag_bits & 0x800 or entry.filename.isascii():
        return entry.filename.replace("\\", "/")
    with contextlib.suppress(UnicodeEncodeError):
        return os.fsdecode(entry.filename.encode("cp437"))
    return entry.filename


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    if entry.flag_bits & 1:
        raise ValueError(f"{entry.filename[:100]!r} is encrypted")
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as source, target.open("wb") as file:
        left = entry.file_size
        while left > 0 and (piece := source.read(min(left, _PIECE))):
            file.write(piece)
            left -= len(piece)


def _is_regular(entry: zipfile.ZipInfo) -> bool:
    """Neither a folder nor a link, which an archive made on Unix may hold."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    return not entry.filename.endswith("/") and kind in (0, stat.S_IFREG)


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) and part != ".." for part in name.split("/"))
