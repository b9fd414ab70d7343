"""PNG files by zlib-ng, written and read in a fraction of the time that Pillow takes, in about as many bytes.

Half of Pillow's time goes into trying all filters, of which flat colors, codes and masks need none.
"""

from __future__ import annotations

import struct
from typing import cast

import numpy as np
from zlib_ng import zlib_ng

LEVEL = 5  # 4 saves a tenth of the time for 2 % more bytes
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPE = {1: 0, 3: 2, 4: 6}  # of so many channels
_MODES = {"L": (1, 8), "I;16": (1, 16), "RGB": (3, 8), "RGBA": (4, 8)}  # channels, bits of each
_DAMAGED = cast("type[Exception]", zlib_ng.error)
_NONE, _SUB, _UP = 0, 1, 2  # filters: the bytes as they are, or less those of the pixel to the left, above


def encode(pixels: np.ndarray, smooth: bool) -> bytes:
    """(H, W) uint8 or uint16, or (H, W, 3 or 4) uint8 -> a PNG file.

    `smooth` images change a little from pixel to pixel, as photographs, shading and depth do; others, as flat
    colors and codes, repeat values.
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    rows = (
        pixels.astype(pixels.dtype.newbyteorder(">"), order="C", copy=False)
        .view(np.uint8)
        .reshape(height, -1)
    )
    lines = _filtered(rows, channels * pixels.itemsize) if smooth else _line(_NONE, rows)
    data = zlib_ng.compress(lines, LEVEL)
    header = _header(width, height, channels, 8 * pixels.itemsize)
    return _SIGNATURE + header + _chunk(b"IDAT", data) + _END


def decode(data: bytes, mode: str, size: int) -> np.ndarray | None:
    """The pixels of a PNG file of `encode`'s, `size` across and down, of a mode of Pillow's: (S, S) uint8 or
    uint16, or (S, S, 3 or 4) uint8. None for any other file, which Pillow can read.
    """
    channels, depth = _MODES[mode]
    start = _SIGNATURE + _header(size, size, channels, depth)
    body = data[len(start) : -len(_END)]
    if not data.startswith(start) or not data.endswith(_END) or body[4:8] != b"IDAT":
        return None
    if int.from_bytes(body[:4], "big") != len(body) - 12:
        return None
    width = size * channels * depth // 8
    try:
        lines = zlib_ng.decompressobj().decompress(body[8:-4], size * (width + 1) + 1)
    except _DAMAGED:
        return None
    if len(lines) != size * (width + 1):
        return None
    rows = _unfiltered(np.frombuffer(lines, np.uint8).reshape(size, -1), channels * depth // 8)
    if rows is None:
        return None
    return rows.view(f">u{depth // 8}").astype(f"u{depth // 8}", copy=False).reshape(_shape(size, channels))


def _unfiltered(lines: np.ndarray, pixel: int) -> np.ndarray | None:
    """(H, N + 1) uint8 -> (H, N) uint8, `pixel` bytes per pixel; None where a line has another filter."""
    kind, rows = lines[:, 0], np.ascontiguousarray(lines[:, 1:])
    if kind.max() > _UP:
        return None
    left = np.flatnonzero(kind == _SUB)
    sums, step = rows[left], pixel
    while step < rows.shape[1]:  # a pixel is the sum of those before it; faster than cumsum
        sums[:, step:] += sums[:, :-step]
        step *= 2
    rows[left] = sums
    for row in np.flatnonzero(kind == _UP).tolist():
        rows[row] += rows[row - 1] if row else 0
    return rows


def _filtered(rows: np.ndarray, pixel: int) -> np.ndarray:
    """(H, N) uint8 rows, `pixel` bytes per pixel -> (H, N + 1) uint8, each as Sub or Up, whichever is
    smaller."""
    lines = np.zeros((rows.shape[0], rows.shape[1] + 1), np.uint8)
    lines[:, 0] = _SUB
    used, across = np.flatnonzero(rows.max(1)), np.flatnonzero(rows.max(0))
    if len(used) == 0:
        return lines
    # most layers cover a small part of their image, and outside it all differences are 0
    inside = slice(used[0], used[-1] + 1), slice(across[0] // pixel * pixel, across[-1] + 1 + pixel)
    box = rows[inside]
    left, above = box.copy(), box.copy()
    left[:, pixel:] -= box[:, :-pixel]
    above[1:] -= box[:-1]
    use_above = _size(above) < _size(left)
    lines[inside[0], 0][use_above] = _UP
    lines[:, 1:][inside] = np.where(use_above[:, None], above, left)
    return lines


def _size(differences: np.ndarray) -> np.ndarray:
    """(H,) uint32: the sum of each row of (H, N) uint8 as signed bytes, without their signs."""
    return np.abs(differences.view(np.int8)).view(np.uint8).sum(1, dtype=np.uint32)


def _line(kind: int, rows: np.ndarray) -> np.ndarray:
    """(H, N) uint8 -> (H, N + 1) uint8, the filter's number first."""
    line = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    line[:, 0], line[:, 1:] = kind, rows
    return line


def _header(width: int, height: int, channels: int, depth: int) -> bytes:
    """The first chunk; `depth` are bits per channel."""
    content = struct.pack(">IIBBBBB", width, height, depth, _COLOR_TYPE[channels], 0, 0, 0)
    return _chunk(b"IHDR", content)


def _shape(size: int, channels: int) -> tuple[int, ...]:
    return (size, size) if channels == 1 else (size, size, channels)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib_ng.crc32(name + data))


_END = _chunk(b"IEND", b"")
