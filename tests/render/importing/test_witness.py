"""What files say of their own size against importers that lie: truth is what the tests wrote."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.engine.supervisor import Supervisor
from pipeline.sandbox.process import Limits
from render.bundle import Bundle
from render.job import Job, Placement

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
        case ".usda":
            points = ", ".join(str(tuple(point)) for point in (CUBE * 100).tolist())
            path.write_text(
                '#usda 1.0\n(\nupAxis = "Y"\nmetersPerUnit = 0.01\n)\ndef Xform "X" {\n'
                "double3 xformOp:translate = (500, 0, 0)\n"
                'uniform token[] xformOpOrder = ["xformOp:translate"]\ndef Mesh "m" {\n'
                f"int[] faceVertexCounts = {[3] * 12}\nint[] faceVertexIndices = {FACES.ravel().tolist()}\n"
                f"point3f[] points = [{points}]\n}}\n}}\n"
            )
            return (CUBE + np.array([5, 0, 0])) @ UP.T, FACES
        case _:
            facets = np.zeros(len(FACES), [("normal", "<f4", 3), ("at", "<f4", (3, 3)), ("spare", "<u2")])
            facets["at"] = CUBE[FACES]
            path.write_bytes(bytes(80) + len(FACES).to_bytes(4, "little") + facets.tobytes())
    return CUBE, FACES


Said = list[str | None]


@pytest.fixture(scope="module")
def child() -> Iterator[Supervisor]:
    supervisor = Supervisor("tests.helpers.witness_stage", Limits(timeout=60, memory_mib=4000))
    yield supervisor
    supervisor.close()


def ask(child: Supervisor, path: Path, *meshes: tuple[np.ndarray, np.ndarray]) -> Said:
    """The note on each mesh (vertices, faces), which claims to be the model at `path`."""
    arrays = {}
    for i, (vertices, faces) in enumerate(meshes):
        arrays |= {f"vertices_{i}": vertices, f"faces_{i}": faces}
    np.savez(path.parent / "asked.npz", **arrays)
    place = Placement(input=path, output=path.parent / "said.json", scratch=path.parent)
    outcome = child.run(Job(uid="test", config_hash="test"), place)
    assert outcome.ok, f"{outcome.message}\n{outcome.log_tail}"
    return json.loads(place.output.read_text())


SUFFIXES = ["gltf", "obj", "ply", "stl", "usda"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_lie_is_noticed_and_the_truth_is_not(suffix: str, tmp_path: Path, child: Supervisor) -> None:
    path = tmp_path / f"a.{suffix}"
    vertices, faces = _write(path)
    lies = (vertices * 1.1, vertices + np.array([0.5, 0, 0]), vertices[:, [1, 0, 2]])
    twice = np.concatenate([faces, faces])  # cleaning drops equal faces
    said = ask(
        child,
        path,
        (vertices, faces),
        (vertices, twice),
        *((lie, faces) for lie in lies),
        (vertices, faces[:-2]),
    )
    assert said[:2] == [None, None]
    assert all("box" in (note or "") for note in said[2:5]), said
    assert "area" in (said[5] or "") or suffix in ("obj", "usda")


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
        {"meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}] * 50_000}]},
        {"nodes": [{"mesh": 0}] * 50_000, "scenes": [{"nodes": list(range(50_000))}]},
    ],
)
def test_where_nothing_is_certain_there_is_no_note(
    more: dict[str, Any], tmp_path: Path, child: Supervisor
) -> None:
    glb_of(tmp_path / "a.gltf", **more)
    assert ask(child, tmp_path / "a.gltf", (CUBE * 7, FACES)) == [None]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files_fail_nothing(suffix: str, tmp_path: Path, child: Supervisor) -> None:
    path = tmp_path / f"a.{suffix}"
    _write(path)
    whole = path.read_bytes()
    for content in (b"", whole[:70], whole[: len(whole) // 2], whole.replace(b"1", b"nan"), b"\xff" * 200):
        path.write_bytes(content)
        ask(child, path, (CUBE, FACES))


def test_a_bundle_has_no_such_note(render: Callable[..., Bundle], tmp_path: Path) -> None:
    _write(tmp_path / "a.gltf")
    assert render(tmp_path / "a.gltf", resolution=32).meta["notes"] == []
