"""A model of as many faces as asked for: a torus, as scans and subdivided meshes are large.

insideout bench --faces 2000000
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

RADII = (1.0, 0.4)  # of the ring and of the tube
_FLOAT, _UINT = 5126, 5125  # glTF's component types


def write_torus(path: Path, faces: int) -> Path:
    """Write a torus of about `faces` triangles to `path`, binary glTF."""
    side = max(3, round((faces / 2) ** 0.5))
    position, normal = _grid(side)
    arrays = (position, normal, _triangles(side))
    kinds = ({"componentType": _FLOAT, "type": "VEC3"},) * 2 + ({"componentType": _UINT, "type": "SCALAR"},)
    ends = np.cumsum([array.nbytes for array in arrays]).tolist()
    document: dict[str, Any] = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "NORMAL": 1}, "indices": 2}]}],
        "buffers": [{"byteLength": ends[-1]}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": end - array.nbytes, "byteLength": array.nbytes}
            for array, end in zip(arrays, ends, strict=True)
        ],
        "accessors": [
            {"bufferView": index, "count": len(array), **kind}
            for index, (array, kind) in enumerate(zip(arrays, kinds, strict=True))
        ],
    }
    document["accessors"][0] |= {"min": position.min(0).tolist(), "max": position.max(0).tolist()}
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    with path.open("wb") as file:
        file.write(struct.pack("<4sII", b"glTF", 2, 28 + len(text) + ends[-1]))
        file.write(struct.pack("<I4s", len(text), b"JSON") + text)
        file.write(struct.pack("<I4s", ends[-1], b"BIN\0"))
        for array in arrays:
            file.write(array.tobytes())
    return path


def _grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """(side**2, 3) float32 positions and normals, around the ring and then around the tube."""
    angle = np.arange(side) / side * 2 * np.pi
    ring, tube = np.meshgrid(angle, angle, indexing="ij")
    normal = np.stack([np.cos(tube) * np.cos(ring), np.sin(tube), -np.cos(tube) * np.sin(ring)], -1)
    middle = np.stack([np.cos(ring), np.zeros_like(ring), -np.sin(ring)], -1)
    position = RADII[0] * middle + RADII[1] * normal
    return tuple(array.reshape(-1, 3).astype("<f4") for array in (position, normal))  # type: ignore[return-value]


def _triangles(side: int) -> np.ndarray:
    """(6 * side**2,) uint32: the corners of all faces, seen from outside counterclockwise."""
    number = np.arange(side * side).reshape(side, side)
    ahead, beside = np.roll(number, -1, 0), np.roll(number, -1, 1)
    across = np.roll(ahead, -1, 1)
    return np.stack([number, ahead, across, number, across, beside], -1).astype("<u4").ravel()
