"""The token table of a USD crate file (.usdc): every name and asset path in it, without USD.

Format: pxr/usd/usd/crateFile.h. The table is LZ4 blocks (github.com/lz4/lz4, lz4_Block_format.md); files
older than version 0.4 keep it plain. Reading is bounded, and damage gives fewer tokens, never an exception.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

_LARGEST = 16 << 20  # bytes of tokens, unpacked
_MOST_SECTIONS = 64


def read_tokens(file: BinaryIO) -> bytes:
    """The NUL-separated tokens of a crate file; b"" if it cannot be read."""
    try:
        return _tokens(file)
    except (struct.error, IndexError, ValueError, OverflowError, OSError):
        return b""


def _tokens(file: BinaryIO) -> bytes:
    head = file.read(24)
    if head[:8] != b"PXR-USDC":
        return b""
    start, size = _section(file, struct.unpack_from("<q", head, 16)[0])
    file.seek(start)
    raw = file.read(min(size, _LARGEST))
    if tuple(head[8:11]) < (0, 4, 0):
        return raw[16:]
    packed = struct.unpack_from("<q", raw, 16)[0]
    return _unpack(raw[24 : 24 + packed])


def _section(file: BinaryIO, contents: int) -> tuple[int, int]:
    """(offset, size) of the section TOKENS."""
    file.seek(contents)
    count = struct.unpack("<Q", file.read(8))[0]
    for _ in range(min(count, _MOST_SECTIONS)):
        name, start, size = struct.unpack("<16sqq", file.read(32))
        if name.rstrip(b"\0") == b"TOKENS":
            return start, size
    raise ValueError("no section TOKENS")


def _unpack(packed: bytes) -> bytes:
    """Pixar's wrapping of LZ4: a count of chunks, 0 for a single one, then each with its int32 size."""
    if packed[0] == 0:
        return bytes(_lz4(packed[1:], _LARGEST))
    out, at = bytearray(), 1
    for _ in range(packed[0]):
        size = struct.unpack_from("<i", packed, at)[0]
        out += _lz4(packed[at + 4 : at + 4 + size], _LARGEST - len(out))
        at += 4 + size
    return bytes(out)


def _lz4(block: bytes, most: int) -> bytearray:
    """One LZ4 block, up to `most` bytes or the first fault."""
    out, at = bytearray(), 0
    while at < len(block) and len(out) < most:
        token = block[at]
        literals, at = _length(block, at + 1, token >> 4)
        out += block[at : at + literals]
        at += literals
        if at + 2 > len(block):
            break
        distance = block[at] | block[at + 1] << 8
        length, at = _length(block, at + 2, token & 15)
        if not 0 < distance <= len(out):
            break
        _repeat(out, distance, min(length + 4, most))
    return out


def _length(block: bytes, at: int, start: int) -> tuple[int, int]:
    """(length, offset behind it): a length continues in further bytes while they are 255."""
    if start == 15:
        while block[at] == 255:
            start, at = start + 255, at + 1
        start, at = start + block[at], at + 1
    return start, at


def _repeat(out: bytearray, distance: int, length: int) -> None:
    """Append `length` bytes from `distance` before the end; the source may overlap what is being written."""
    source = out[-distance:]
    whole, rest = divmod(length, distance)
    out += source * whole + source[:rest]
