"""Small glTF files, for the tests."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np


def write_gltf(
    path: Path, points: np.ndarray, faces: np.ndarray, nodes: list[dict[str, Any]], **more: Any
) -> None:
    """One mesh of `points` (V, 3) and triangles `faces` (F, 3), and `nodes`, the first of which is shown.

    `more` replaces keys of the document.
    """
    blobs = [points.astype("<f4").tobytes(), faces.astype("<u2").tobytes()]
    content = base64.b64encode(b"".join(blobs)).decode()
    bounds = {"min": points.min(0).tolist(), "max": points.max(0).tolist()}
    document = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "scene": 0,
        "nodes": nodes,
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "buffers": [{"byteLength": sum(map(len, blobs)), "uri": f"data:;base64,{content}"}],
        "bufferViews": [
            {"buffer": 0, "byteLength": len(blobs[0])},
            {"buffer": 0, "byteOffset": len(blobs[0]), "byteLength": len(blobs[1])},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": len(points), "type": "VEC3", **bounds},
            {"bufferView": 1, "componentType": 5123, "count": faces.size, "type": "SCALAR"},
        ],
    }
    path.write_text(json.dumps(document | more))


def glb(document: dict[str, Any], binary: bytes) -> bytes:
    """A binary glTF file."""
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    body = (
        struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    )
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body
