"""STL that Blender's importer does not read whole.

- Colors of facets. Two conventions keep 15 bits of color in a facet's last two bytes
  (en.wikipedia.org/wiki/STL_(file_format)#Color): Magics (a header with `COLOR=`, red in the low bits, bit 15
  clear where the facet has its own color) and VisCAM or SolidView (blue in the low bits, bit 15 set where the
  color is valid).
- Bytes after the facets, which Blender takes for text, and a count of facets that the file does not have.
- Text in capitals, or without line ends.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from render.importing.rawmesh import RawMesh
from render.srgb import srgb_to_linear

_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("spare", "<u2")])
_START = 84  # bytes before the facets
_HEAD = 4096
_USUAL = re.compile(rb"^[ \t]*vertex[ \t]", re.MULTILINE)
_VERTEX = re.compile(rb"\bvertex\s+(\S{1,40})\s+(\S{1,40})\s+(\S{1,40})", re.IGNORECASE)


def unread(path: Path) -> tuple[RawMesh, list[str]] | None:
    """The model as the file means it, and notes; None where Blender reads all of it."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if b"\0" not in head:
        unusual = _VERTEX.search(head) and not _USUAL.search(head)
        return (_text(path), []) if unusual else None
    return _binary(path, head)


def facets(path: Path) -> np.ndarray | None:
    """The facets (F,) of a binary file, with their `corners`; None for text."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if b"\0" not in head:
        return None
    return np.fromfile(path, _FACET, _count(path, head), offset=_START)


def _count(path: Path, head: bytes) -> int:
    """The facets that a binary file has: as many as it says, or as many as there is room for."""
    said, room = int.from_bytes(head[80:84], "little"), path.stat().st_size - _START
    return said if 0 < said * _FACET.itemsize <= room else room // _FACET.itemsize


def _text(path: Path) -> RawMesh:
    corners = np.array(_VERTEX.findall(path.read_bytes()), float).reshape(-1, 3)
    return _mesh(path.stem, corners[: len(corners) // 3 * 3])


def _binary(path: Path, head: bytes) -> tuple[RawMesh, list[str]] | None:
    said, room = int.from_bytes(head[80:84], "little"), path.stat().st_size - _START
    count = _count(path, head)
    if count <= 0:
        return None
    found = np.fromfile(path, _FACET, count, offset=_START)
    colors = facet_colors(head[:80], found["spare"])
    if colors is None and said * _FACET.itemsize == room:
        return None
    notes = [] if count == said else [f"its header counts {said} facets; it has {count}"]
    return _mesh(path.stem, found["corners"].reshape(-1, 3), colors), notes


def _mesh(name: str, corners: np.ndarray, colors: np.ndarray | None = None) -> RawMesh:
    """A triangle per three corners (3 T, 3); `colors` are sRGB bytes (T, 3)."""
    vertices, where = np.unique(corners, axis=0, return_inverse=True)
    linear = None if colors is None else np.repeat(srgb_to_linear(colors / 255), 3, 0)
    return RawMesh(name, vertices, where.ravel(), np.full(len(corners) // 3, 3), colors=linear)


def facet_colors(header: bytes, spare: np.ndarray) -> np.ndarray | None:
    """sRGB bytes (T, 3) of each facet from the header (80 bytes) and the spare words (T,) uint16; None
    without colors."""
    five = np.stack([spare & 31, spare >> 5 & 31, spare >> 10 & 31], 1)
    flagged = spare >> 15 == 1
    at = header.find(b"COLOR=")
    if at >= 0:
        default = np.frombuffer(header[at + 6 : at + 9].ljust(3, b"\0"), np.uint8)
        by_default = flagged if spare.any() else ~flagged  # only zeros: nobody colored facets
        return np.where(by_default[:, None], default, np.round(five * (255 / 31)).astype(np.uint8))
    plausible = flagged | (spare == 0)
    if not flagged.any() or not plausible.all() or (spare == 0xFFFF).all():
        return None
    return np.where(flagged[:, None], np.round(five[:, ::-1] * (255 / 31)), 204).astype(np.uint8)
