"""Models far from their origin keep shape and place to 1e-5 of their size, or a note says how coarse."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from render.bundle import Bundle
from tests.helpers.gltf_files import write_gltf
from tests.helpers.importing import bring_in, size

FAR = np.array([701362.25, 4485513.75, 31.125])
SHAPE = np.array([[0, 0, 0], [2, 0, 0.01], [0.3, 1, 0.02], [0.1, 0.2, 0.7]])
"""A tetrahedron with details of 1/200 of its size."""
FACES = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
Y_UP = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
PLY = "ply\nformat {} 1.0\nelement vertex 4\n{}" + (
    "element face 4\nproperty list uchar int vertex_indices\nend_header\n"
)


def _rows(template: str, points: np.ndarray) -> str:
    return "".join(template.format(*(f"{x:.4f}" for x in point)) for point in points)


def _obj(path: Path, points: np.ndarray) -> None:
    faces = "".join("f {} {} {}\n".format(*(i + 1 for i in face)) for face in FACES)
    path.write_text(_rows("v {} {} {} 0.5 0.5 0.5\n", points) + "v 0 0 0\n" + faces)


def _ply(path: Path, points: np.ndarray) -> None:
    columns = "property float x\nproperty float y\nproperty float z\n"
    faces = "".join("3 {} {} {}\n".format(*face) for face in FACES)
    path.write_text(PLY.format("ascii", columns) + _rows("{} {} {}\n", points) + faces)


def _binary_ply(path: Path, points: np.ndarray) -> None:
    columns = "property uchar red\nproperty double x\nproperty double y\nproperty double z\n"
    rows = np.zeros(4, [("red", "u1"), ("p", "<f8", 3)])
    rows["p"] = points
    faces = np.zeros(4, [("n", "u1"), ("i", "<i4", 3)])
    faces["n"], faces["i"] = 3, FACES
    header = PLY.format("binary_little_endian", columns).encode()
    path.write_bytes(header + rows.tobytes() + faces.tobytes())


def _ply_faces_first(path: Path, points: np.ndarray) -> None:
    """Lines end as on Windows; one polygon has another number of corners, none of which makes it larger."""
    head = "ply\nformat binary_big_endian 1.0\nelement face 4\nproperty list uchar int vertex_indices\n"
    head += "element vertex 4\nproperty double x\nproperty double y\nproperty double z\nend_header\n"
    rows = [(3).to_bytes(1) + face.astype(">i4").tobytes() for face in FACES[:3]]
    rows.append((4).to_bytes(1) + np.append(FACES[3], 1).astype(">i4").tobytes())
    path.write_bytes(head.replace("\n", "\r\n").encode() + b"".join(rows) + points.astype(">f8").tobytes())


def _ply_windows(path: Path, points: np.ndarray) -> None:
    _ply(path, points)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def _obj_continued(path: Path, points: np.ndarray) -> None:
    _obj(path, points)
    path.write_text(path.read_text().replace("v ", "v \\\n"))


def _stl(path: Path, points: np.ndarray) -> None:
    corners = [_rows("vertex {} {} {}\n", points[face]) for face in FACES]
    facets = [f"facet normal 0 0 0\nouter loop\n{rows}endloop\nendfacet\n" for rows in corners]
    path.write_text("solid a\n" + "".join(facets) + "endsolid a\n")


def _off(path: Path, points: np.ndarray) -> None:
    faces = "".join("3 {} {} {}\n".format(*face) for face in FACES)
    path.write_text("OFF\n4 4 0\n" + _rows("{} {} {}\n", points) + faces)


def _x3d(path: Path, points: np.ndarray) -> None:
    index = " ".join(f"{a} {b} {c} -1" for a, b, c in FACES)
    path.write_text(
        f'<X3D><Scene><Shape><IndexedFaceSet coordIndex="{index}" solid="false">'
        f'<Coordinate point="{_rows("{} {} {}, ", points)}"/></IndexedFaceSet></Shape></Scene></X3D>'
    )


TEXTS: dict[str, tuple[Callable[[Path, np.ndarray], None], bool]] = {
    "obj": (_obj, True),
    "ply": (_ply, False),
    "double.ply": (_binary_ply, False),
    "faces first.ply": (_ply_faces_first, False),
    "windows.ply": (_ply_windows, False),
    "continued.obj": (_obj_continued, True),
    "stl": (_stl, False),
    "off": (_off, False),
    "x3d": (_x3d, True),
}
"""Suffix -> (writer, whether y is up)."""


@pytest.mark.parametrize("suffix", TEXTS)
def test_vertices_far_away(suffix: str, tmp_path: Path) -> None:
    write, turned = TEXTS[suffix]
    write(tmp_path / f"scan.{suffix}", SHAPE + FAR)
    found = bring_in(tmp_path / f"scan.{suffix}", tmp_path / "s")
    _require(found, (SHAPE + FAR) @ Y_UP.T if turned else SHAPE + FAR)


def _require(found: dict[str, Any], truth: np.ndarray) -> None:
    """`found` has the size and the place of `truth` (4, 3), to 1e-5 of its size of 2."""
    assert found["faces"] == 4 and not any("times its size" in note for note in found["notes"])
    assert np.abs(size(found) - np.ptp(truth, axis=0)).max() < 1e-5
    assert np.abs(np.array(found["low"]) - truth.min(0)).max() < 1e-5


MATRIX = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, *FAR.tolist(), 1]
TURNED = {"rotation": [0, 0, float(np.sqrt(0.5)), float(np.sqrt(0.5))], "children": [1]}  # x becomes y
HALF = {"translation": (FAR / 2).tolist()}
TREES: dict[str, list[dict[str, Any]]] = {
    "translation": [{"mesh": 0, "translation": FAR.tolist()}],
    "matrix": [{"children": [1], "matrix": MATRIX}, {"mesh": 0}],
    "child of a turned root": [TURNED, {"mesh": 0, "translation": [FAR[1], -FAR[0], FAR[2]]}],
    "two halves of the way": [HALF | {"children": [1]}, HALF | {"children": [2]}, {"mesh": 0}],
    "far there and back": [
        {"translation": (FAR * 9).tolist(), "children": [1]},
        {"mesh": 0, "translation": (FAR * -8).tolist()},
    ],
}


@pytest.mark.parametrize("name", TREES)
def test_nodes_far_away(name: str, tmp_path: Path) -> None:
    write_gltf(tmp_path / "a.gltf", SHAPE, FACES, TREES[name])
    shape = SHAPE @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]) if "turned" in name else SHAPE
    _require(bring_in(tmp_path / "a.gltf", tmp_path / "s"), (shape + FAR) @ Y_UP.T)


def test_a_far_model_keeps_its_material_and_texture(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    Image.new("RGB", (4, 4), "red").save(tmp_path / "model" / "paint.png")
    (tmp_path / "model" / "scan.mtl").write_text("newmtl m\nmap_Kd paint.png\n")
    _obj(tmp_path / "model" / "scan.obj", SHAPE + FAR)
    text = (tmp_path / "model" / "scan.obj").read_text()
    faces = "vt 0 0\n" + text[text.index("f ") :].replace("\n", "/1\n").replace(" ", "/1 ").replace(
        "f/1", "f"
    )
    vertices = text[: text.index("f ")]
    (tmp_path / "model" / "scan.obj").write_text(f"mtllib scan.mtl\n{vertices}usemtl m\n{faces}")
    found = bring_in(tmp_path / "model" / "scan.obj", tmp_path / "s")
    _require(found, (SHAPE + FAR) @ Y_UP.T)
    assert found["images"] == ["paint.png"] and found["loaded"] == 1 and list(found["bases"]) == ["m"]


def test_an_animation_of_a_far_node_forbids_the_move(tmp_path: Path) -> None:
    animation = {
        "channels": [{"sampler": 0, "target": {"node": 0, "path": "translation"}}],
        "samplers": [{"input": 2, "output": 3}],
    }
    write_gltf(tmp_path / "a.gltf", SHAPE, FACES, TREES["translation"])
    document = json.loads((tmp_path / "a.gltf").read_text())
    blob = np.array([0, 1], "<f4").tobytes() + np.tile(FAR, 2).astype("<f4").tobytes()
    document["buffers"].append(
        {"byteLength": 32, "uri": "data:;base64," + base64.b64encode(blob).decode()}
    )  # fmt: skip
    document["bufferViews"] += [
        {"buffer": 1, "byteLength": 8},
        {"buffer": 1, "byteOffset": 8, "byteLength": 24},
    ]
    times = {"bufferView": 2, "componentType": 5126, "count": 2, "type": "SCALAR", "min": [0], "max": [1]}
    document["accessors"] += [times, {"bufferView": 3, "componentType": 5126, "count": 2, "type": "VEC3"}]
    (tmp_path / "a.gltf").write_text(json.dumps(document | {"animations": [animation]}))
    found = bring_in(tmp_path / "a.gltf", tmp_path / "s")
    assert any("times its size from the origin" in note for note in found["notes"])


def _usda(path: Path, place: str, points: np.ndarray = SHAPE, head: str = 'upAxis = "Z"') -> None:
    """A mesh below a prim that is placed by `place`."""
    rows = ", ".join(str(tuple(point)) for point in points.tolist())
    path.write_text(
        f'#usda 1.0\n(\n{head}\n)\ndef Xform "World" {{\n{place}\ndef Xform "part" {{\ndef Mesh "a" {{\n'
        f"int[] faceVertexCounts = [3, 3, 3, 3]\nint[] faceVertexIndices = {np.ravel(FACES).tolist()}\n"
        f"point3f[] points = [{rows}]\n}}\n}}\n}}\n"
    )


def _op(where: np.ndarray) -> str:
    return (
        f"double3 xformOp:translate = {tuple(where.tolist())}\n"
        'uniform token[] xformOpOrder = ["xformOp:translate"]'
    )


@pytest.mark.parametrize("suffix", ["usda", "usd"])
def test_usd_prims_far_away(suffix: str, tmp_path: Path) -> None:
    _usda(tmp_path / f"a.{suffix}", _op(FAR), head='upAxis = "Z"\nmetersPerUnit = 1')
    _require(bring_in(tmp_path / f"a.{suffix}", tmp_path / "s"), SHAPE + FAR)


def test_usd_prims_far_away_in_another_unit_and_axis(tmp_path: Path) -> None:
    _usda(tmp_path / "a.usda", _op(FAR * 100), SHAPE * 100, 'upAxis = "Y"\nmetersPerUnit = 0.01')
    _require(bring_in(tmp_path / "a.usda", tmp_path / "s"), (SHAPE + FAR) @ Y_UP.T)


def test_a_format_that_cannot_be_moved_says_how_coarse_it_is(tmp_path: Path) -> None:
    facets = np.zeros(4, [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("spare", "<u2")])
    facets["corners"] = (SHAPE + FAR)[FACES]
    (tmp_path / "a.stl").write_bytes(bytes(80) + (4).to_bytes(4, "little") + facets.tobytes())
    found = bring_in(tmp_path / "a.stl", tmp_path / "s")
    assert any("keeps its shape to" in note for note in found["notes"])


def test_a_place_on_earth_that_an_extension_gives_is_left_out(tmp_path: Path) -> None:
    """CESIUM_RTC: the shape is the same without, and Blender would refuse the model."""
    write_gltf(
        tmp_path / "a.gltf",
        SHAPE,
        FACES,
        [{"mesh": 0}],
        extensionsUsed=["CESIUM_RTC"],
        extensionsRequired=["CESIUM_RTC"],
        extensions={"CESIUM_RTC": {"center": [1216389.55, -4736295.4, 4081268.6]}},
    )
    found = bring_in(tmp_path / "a.gltf", tmp_path / "s")
    assert found["notes"] == ["CESIUM_RTC is ignored"]
    _require({**found, "notes": []}, SHAPE @ Y_UP.T)


@pytest.mark.parametrize("suffix", ["obj", "ply"])
def test_the_bundle_says_where_the_model_stands(
    suffix: str, render: Callable[..., Bundle], tmp_path: Path
) -> None:
    write, turned = TEXTS[suffix]
    write(tmp_path / f"scan.{suffix}", SHAPE + FAR)
    bundle = render(tmp_path / f"scan.{suffix}", resolution=32)
    world = bundle.mesh().vertices.astype(float) / bundle.meta["scale"] + bundle.meta["center"]
    truth = (SHAPE + FAR) @ Y_UP.T if turned else SHAPE + FAR
    assert not any("box" in note for note in bundle.meta["notes"])
    assert np.linalg.norm(world[:, None] - truth, axis=2).min(1).max() < 1e-5
