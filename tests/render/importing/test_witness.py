"""What files say of their own size against importers that lie: truth is what the tests wrote."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from render.bundle import Bundle
from render.importing.witness import disagreement

CUBE = np.array([(x, y, z) for x in (0, 1) for y in (0, 2) for z in (0, 3)], float)
"""A box of 1 x 2 x 3, in the file's axes."""
FACES = np.array(
    [
        *((0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1)),
        *((2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3)),
    ]
)
UP = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])


def glb_of(path: Path, **more: Any) -> None:
    """The box twice, the second one turned, twice as large and 5 away, below a node that is moved by 1."""
    blob = CUBE.astype("<f4").tobytes() + FACES.astype("<u2").tobytes()
    half = float(np.sqrt(0.5))
    document = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0, 1]}],
        "nodes": [
            {"mesh": 0},
            {"children": [2], "translation": [1, 0, 0]},
            {"mesh": 0, "translation": [4, 0, 0], "rotation": [0, half, 0, half], "scale": [2, 2, 2]},
            {"mesh": 0, "translation": [99, 0, 0]},  # of no scene
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "buffers": [{"byteLength": len(blob), "uri": "data:;base64," + base64.b64encode(blob).decode()}],
        "bufferViews": [
            {"buffer": 0, "byteLength": 96},
            {"buffer": 0, "byteOffset": 96, "byteLength": 72},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 8, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": 36, "type": "SCALAR"},
        ],
    }
    path.write_text(json.dumps(document | more))


TWO = [CUBE, CUBE @ (2 * np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])).T + (5, 0, 0)]


def _write(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write the model of this suffix; its true (V, 3) vertices in Blender's axes and (F, 3) faces."""
    match path.suffix:
        case ".gltf":
            glb_of(path)
            return np.concatenate(TWO) @ UP.T, np.concatenate([FACES, FACES + 8])
        case ".obj":
            rows = "".join("v {} {} {}\n".format(*point) for point in (*CUBE, (9, 9, 9)))  # the last: unused
            path.write_text(rows + "".join("f {}//1 {}//1 {}//1\n".format(*face) for face in FACES + 1))
            return CUBE @ UP.T, FACES
        case ".ply":
            rows = "".join("{} {} {}\n".format(*point) for point in CUBE)
            path.write_text(
                "ply\nformat ascii 1.0\nelement vertex 8\n"
                "property float x\nproperty float y\nproperty float z\n"
                "element face 12\nproperty list uchar int vertex_indices\nend_header\n"
                + rows
                + "".join("3 {} {} {}\n".format(*face) for face in FACES)
            )
        case _:
            facets = np.zeros(len(FACES), [("normal", "<f4", 3), ("at", "<f4", (3, 3)), ("spare", "<u2")])
            facets["at"] = CUBE[FACES]
            path.write_bytes(bytes(80) + len(FACES).to_bytes(4, "little") + facets.tobytes())
    return CUBE, FACES


@pytest.mark.parametrize("suffix", ["gltf", "obj", "ply", "stl"])
def test_a_lie_is_noticed_and_the_truth_is_not(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    vertices, faces = _write(path)
    assert disagreement(path, suffix, vertices, faces) is None
    twice = np.concatenate([faces, faces])  # cleaning drops equal faces
    assert disagreement(path, suffix, vertices, twice) is None
    for lie in (vertices * 1.1, vertices + np.array([0.5, 0, 0]), vertices[:, [1, 0, 2]]):
        assert "box" in (disagreement(path, suffix, lie, faces) or "")
    if suffix != "obj":
        assert "area" in (disagreement(path, suffix, vertices, faces[:-2]) or "")


@pytest.mark.parametrize(
    "more",
    [
        {"animations": [{"channels": [], "samplers": []}]},
        {"skins": [{"joints": [0]}]},
        {"extensionsUsed": ["KHR_draco_mesh_compression"]},
        {"nodes": [{"mesh": 0, "children": [1]}, {"children": [0]}]},
        {"nodes": [{"mesh": 7}]},
        {"buffers": []},
        {"accessors": 3},
        {"scenes": [{"nodes": []}]},
    ],
)
def test_where_nothing_is_certain_there_is_no_note(more: dict[str, Any], tmp_path: Path) -> None:
    glb_of(tmp_path / "a.gltf", **more)
    assert disagreement(tmp_path / "a.gltf", "gltf", CUBE * 7, FACES) is None


@pytest.mark.parametrize("suffix", ["gltf", "obj", "ply", "stl"])
def test_damaged_files_have_no_witness(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    _write(path)
    whole = path.read_bytes()
    for content in (b"", whole[:70], whole[: len(whole) // 2], whole.replace(b"1", b"nan"), b"\xff" * 200):
        path.write_bytes(content)
        disagreement(path, suffix, CUBE, FACES)  # whatever it says, it does not raise


def test_a_bundle_has_no_such_note(render: Callable[..., Bundle], tmp_path: Path) -> None:
    _write(tmp_path / "a.gltf")
    assert render(tmp_path / "a.gltf", resolution=32).meta["notes"] == []
