"""PNG files by zlib-ng, in a fraction of the time that Pillow takes, and about as many bytes.

Half of Pillow's time goes into trying all filters, of which flat colors, codes and masks need none.
"""

from __future__ import annotations

import struct

import numpy as np
from zlib_ng import zlib_ng

LEVEL = 5  # 4 saves a tenth of the time for 2 % more bytes
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPE = {1: 0, 3: 2, 4: 6}  # of so many channels
_NONE, _SUB, _UP = 0, 1, 2  # filters: the bytes as they are, or less those of the pixel to the left, above


def encode(pixels: np.ndarray, smooth: bool | None) -> bytes:
    """(H, W) uint8 or uint16, or (H, W, 3 or 4) uint8 -> a PNG file.

    `smooth` images change a little from pixel to pixel, as shading and depth do; others repeat values. None
    tries both: photographs are smooth, flat colors are not.
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, _COLOR_TYPE[channels], 0, 0, 0)
    rows = pixels.astype(pixels.dtype.newbyteorder(">"), order="C").view(np.uint8).reshape(height, -1)
    ways = []
    if smooth is not True:
        ways.append(_line(_NONE, rows))
    if smooth is not False:
        ways.append(_filtered(rows, channels * pixels.itemsize))
    data = min((zlib_ng.compress(lines.tobytes(), LEVEL) for lines in ways), key=len)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks)


def _filtered(rows: np.ndarray, pixel: int) -> np.ndarray:
    """(H, N) uint8 rows, `pixel` bytes per pixel -> (H, N + 1) uint8, each as Sub or Up, whichever is
    smaller."""
    left, above = rows.copy(), rows.copy()
    left[:, pixel:] -= rows[:, :-pixel]
    above[1:] -= rows[:-1]
    use_above = _size(above) < _size(left)
    return np.where(use_above[:, None], _line(_UP, above), _line(_SUB, left))


def _size(differences: np.ndarray) -> np.ndarray:
    """(H,) uint32: the sum of each row of (H, N) uint8 as signed bytes, without their signs."""
    return np.abs(differences.view(np.int8)).view(np.uint8).sum(1, dtype=np.uint32)


def _line(kind: int, rows: np.ndarray) -> np.ndarray:
    """(H, N) uint8 -> (H, N + 1) uint8, the filter's number first."""
    line = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    line[:, 0], line[:, 1:] = kind, rows
    return line


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib_ng.crc32(name + data))
