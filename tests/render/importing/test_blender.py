"""Imports of real and small written files: colors, places, reasons, and nothing written beside the model."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.importing import (
    BYTES,
    POINTS,
    attempt,
    bring_in,
    linear,
    shared,
    size,
    worst_vertex_color,
)

XYZ = "property float x\nproperty float y\nproperty float z\n"
FACE = "element face 1\nproperty list uchar int vertex_indices\nend_header\n"


def _ply(kind: str, values: np.ndarray) -> str:
    colors = "".join(f"property {kind} {name}\n" for name in ("red", "green", "blue"))
    rows = "".join(
        f"{' '.join(map(str, p))} {' '.join(map(str, v))}\n" for p, v in zip(POINTS, values, strict=True)
    )
    return f"ply\nformat ascii 1.0\nelement vertex 4\n{XYZ}{colors}{FACE}{rows}4 0 1 2 3\n"


def _obj(values: np.ndarray) -> str:
    rows = "".join(
        f"v {' '.join(map(str, p))} {' '.join(map(str, v))}\n" for p, v in zip(POINTS, values, strict=True)
    )
    return rows + "f 1 2 3 4\n"


def _usda() -> str:
    points = ", ".join(str(tuple(map(float, p))) for p in POINTS)
    colors = ", ".join(str(tuple(map(float, c))) for c in linear(BYTES))
    return f"""#usda 1.0
( upAxis = "Z"
  metersPerUnit = 1 )
def Mesh "quad" {{
    int[] faceVertexCounts = [4]
    int[] faceVertexIndices = [0, 1, 2, 3]
    point3f[] points = [{points}]
    color3f[] primvars:displayColor = [{colors}] ( interpolation = "vertex" )
}}
"""


def _gltf(**changes: Any) -> dict[str, Any]:
    """A quad with linear COLOR_0; its buffer is a data URI."""
    blob = POINTS.astype("<f4").tobytes() + linear(BYTES).astype("<f4").tobytes()
    blob += np.array([0, 1, 2, 0, 2, 3], "<u2").tobytes()
    views = [{"buffer": 0, "byteOffset": o, "byteLength": n} for o, n in ((0, 48), (48, 48), (96, 12))]
    vec3 = {"componentType": 5126, "count": 4, "type": "VEC3"}
    return {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2}]}],
        "buffers": [{"byteLength": len(blob), "uri": "data:;base64," + base64.b64encode(blob).decode()}],
        "bufferViews": views,
        "accessors": [
            {"bufferView": 0, **vec3, "min": [0, 0, 0], "max": [2, 1, 0]},
            {"bufferView": 1, **vec3},
            {"bufferView": 2, "componentType": 5123, "count": 6, "type": "SCALAR"},
        ],
        **changes,
    }


def _dae() -> str:
    def source(name: str, values: np.ndarray, letters: str) -> str:
        params = "".join(f'<param name="{letter}" type="float"/>' for letter in letters)
        return (
            f'<source id="{name}"><float_array id="{name}a" count="12">{" ".join(map(str, values.ravel()))}'
            f'</float_array><technique_common><accessor source="#{name}a" count="4" stride="3">{params}'
            "</accessor></technique_common></source>"
        )

    return f"""<?xml version="1.0"?>
<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
<asset><up_axis>Z_UP</up_axis></asset><library_geometries><geometry id="g"><mesh>
{source("p", POINTS, "XYZ")}{source("c", BYTES / 255, "RGB")}
<vertices id="v"><input semantic="POSITION" source="#p"/></vertices><triangles count="2">
<input semantic="VERTEX" source="#v" offset="0"/><input semantic="COLOR" source="#c" offset="1"/>
<p>0 0 1 1 2 2 0 0 2 2 3 3</p></triangles></mesh></geometry></library_geometries><library_visual_scenes>
<visual_scene id="s"><node id="n"><instance_geometry url="#g"/></node></visual_scene></library_visual_scenes>
<scene><instance_visual_scene url="#s"/></scene></COLLADA>"""


COLORED = {
    "bytes.ply": (_ply("uchar", BYTES), "z"),
    "floats.ply": (_ply("float", BYTES / 255), "z"),
    "fractions.obj": (_obj(BYTES / 255), "y"),
    "bytes.obj": (_obj(BYTES), "y"),
    "display.usda": (_usda(), "z"),
    "color0.gltf": (json.dumps(_gltf()), "y"),
    "colors.dae": (_dae(), "z"),
}


@pytest.mark.parametrize("name", COLORED)
def test_vertex_colors_arrive_with_the_value_that_the_file_means(name: str, tmp_path: Path) -> None:
    text, up = COLORED[name]
    (tmp_path / name).write_text(text)
    found = bring_in(tmp_path / name, tmp_path / "scratch")
    assert worst_vertex_color(found, up) < 0.004  # half a byte at its steepest


@pytest.mark.parametrize("convention", ["magics", "viscam"])
def test_stl_facet_colors(convention: str, tmp_path: Path) -> None:
    five = [24, 12, 6]
    word = sum(c << shift for c, shift in zip(five, (0, 5, 10), strict=True))
    if convention == "viscam":
        word = 0x8000 | sum(c << shift for c, shift in zip(five, (10, 5, 0), strict=True))
    header = (b"COLOR=\xff\xff\xff\xff" if convention == "magics" else b"x").ljust(80) + struct.pack("<I", 1)
    facet = struct.pack("<3f9fH", 0, 0, 1, *POINTS[:3].ravel(), word)
    path = tmp_path / "facets.stl"
    path.write_bytes(header + facet)
    corners = np.array(bring_in(path, tmp_path / "scratch")["corners"])
    assert np.allclose(corners[:, 3:], linear(np.round(np.array(five) * 255 / 31)), atol=1e-6)


def test_a_wrong_suffix_still_finds_its_neighbors(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "part.usda").write_text(_usda())
    layer = '#usda 1.0\n( upAxis = "Z"\n metersPerUnit = 1 )\n'
    layer += 'def "whole" ( references = @../part.usda@</quad> ) {}\n'
    (folder / "whole.glb").write_text(layer)
    found = bring_in(folder / "whole.glb", tmp_path / "scratch")
    assert found["format"] == "usda" and found["faces"] == 1
    Image.new("RGB", (2, 2)).save(folder / "t.png")
    (folder / "a.mtl").write_text("newmtl m\nmap_Kd t.png\n")
    (folder / "a.stl").write_text(
        "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nusemtl m\nf 1/1 2/1 3/1\n"
    )
    found = bring_in(folder / "a.stl", tmp_path / "scratch2")
    assert (found["format"], found["images"], found["loaded"]) == ("obj", ["t.png"], 1)


def test_scripts_in_blend_files_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    script = (
        "import bpy\n"
        "text = bpy.data.texts.new('evil.py')\n"
        f"text.write(\"open({str(mark)!r}, 'w').close()\")\n"
        "text.use_module = True\n"
        "bpy.context.scene.frame_start = 7\n"
        "bpy.context.scene.view_settings.view_transform = 'Raw'\n"
        f"bpy.ops.wm.save_as_mainfile(filepath={str(tmp_path / 'evil.blend')!r}, compress=True)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=120)
    found = bring_in(tmp_path / "evil.blend", tmp_path / "scratch")
    assert found["texts"] == 1 and not mark.exists()
    assert (found["faces"], found["frame"]) == (6, 7)
    assert found["view_transform"] == "AgX"  # a fresh scene's own: the file's settings stayed outside


def test_excluded_collections_of_a_blend_file_stay_out(tmp_path: Path) -> None:
    script = (
        "import bpy\n"
        "hidden = bpy.data.collections.new('hidden')\n"
        "bpy.context.scene.collection.children.link(hidden)\n"
        "mesh = bpy.data.meshes.new('far')\n"
        "mesh.from_pydata([(9, 9, 9), (10, 9, 9), (9, 10, 9)], [], [(0, 1, 2)])\n"
        "hidden.objects.link(bpy.data.objects.new('far', mesh))\n"
        "bpy.context.view_layer.layer_collection.children['hidden'].exclude = True\n"
        f"bpy.ops.wm.save_as_mainfile(filepath={str(tmp_path / 'a.blend')!r})\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=120)
    found = bring_in(tmp_path / "a.blend", tmp_path / "scratch")
    assert found["faces"] == 6 and max(found["high"]) < 1.01


def test_rigged_gltf_leaves_no_bone_shapes(tmp_path: Path) -> None:
    found = bring_in(shared("models", "assimp/glTF2/simple_skin/simple_skin.gltf"), tmp_path / "scratch")
    assert found["faces"] == 8


def test_nothing_is_written_beside_the_model(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("bytes.ply", "colors.dae", "display.usda", "color0.gltf"):
        (folder / name).write_text(COLORED[name][0])
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    for path in before:
        bring_in(path, tmp_path / "scratch")
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "text", "kind", "words"),
    [
        ("points.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\n", "empty", "only points"),
        ("lines.obj", "v 0 0 0\nv 1 0 0\nl 1 2\n", "empty", "only lines"),
        ("comment.obj", "# nothing\n", "empty", "no objects"),
        ("nodes.gltf", json.dumps(_gltf(nodes=[{}])), "empty", "empty"),
        (
            "short.gltf",
            json.dumps(_gltf(buffers=[{"byteLength": 4, "uri": "gone.bin"}])),
            "import_error",
            "gone.bin",
        ),
        (
            "strange.gltf",
            json.dumps(_gltf(extensionsRequired=["X_y"], extensionsUsed=["X_y"])),
            "import_error",
            "X_y",
        ),
        ("broken.fbx", "; FBX 7.5.0 project file\n{{{{", "import_error", "FBX"),
        ("broken.dae", "<COLLADA", "import_error", "broken.dae"),
        ("page.glb", "<html></html>", "unsupported", "HTML"),
        ("none.stl", "solid a\nendsolid a\n", "import_error", "none.stl"),
    ],
)
def test_failures_say_why(name: str, text: str, kind: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    outcome = attempt(tmp_path / name, tmp_path / "scratch")
    assert (outcome.status, outcome.kind) == ("failed", kind), outcome.message
    assert outcome.message and words in outcome.message and name in outcome.message


def test_gltf_nodes_of_no_scene_are_left_out(tmp_path: Path) -> None:
    document = _gltf(nodes=[{"mesh": 0}, {"mesh": 0, "translation": [50, 0, 0]}])
    del document["scene"]
    (tmp_path / "levels.gltf").write_text(json.dumps(document))
    assert bring_in(tmp_path / "levels.gltf", tmp_path / "scratch")["high"][0] == 2


def test_nurbs_in_fbx_are_named(tmp_path: Path) -> None:
    outcome = attempt(shared("models", "ufbx/maya_nurbs_surface_sphere_7500_ascii.fbx"), tmp_path / "scratch")
    assert outcome.kind == "unsupported" and "NURBS" in (outcome.message or "")


def test_colors_survive_a_round_trip_through_fbx(tmp_path: Path) -> None:
    script = (
        "import bpy\n"
        "bpy.ops.wm.read_factory_settings(use_empty=True)\n"
        "mesh = bpy.data.meshes.new('quad')\n"
        f"mesh.from_pydata({POINTS.tolist()}, [], [(0, 1, 2, 3)])\n"
        "colors = mesh.color_attributes.new('c', 'BYTE_COLOR', 'CORNER')\n"
        f"for item, rgb in zip(colors.data, {linear(BYTES).tolist()}): item.color = (*rgb, 1)\n"
        "bpy.context.scene.collection.objects.link(bpy.data.objects.new('quad', mesh))\n"
        f"bpy.ops.export_scene.fbx(filepath={str(tmp_path / 'quad.fbx')!r}, colors_type='SRGB')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=120)
    assert worst_vertex_color(bring_in(tmp_path / "quad.fbx", tmp_path / "scratch"), "z") < 0.004


def test_obsolete_alembic_is_named(tmp_path: Path) -> None:
    outcome = attempt(shared("models", "alembic/cube.abc"), tmp_path / "scratch")
    assert outcome.kind == "unsupported" and "HDF5" in (outcome.message or "")


@pytest.mark.parametrize(
    ("name", "extent", "images"),
    [
        ("ufbx/max2009_blob_6100_binary.fbx", None, 0),
        ("assimp/FBX/box_orphant_embedded_texture.fbx", None, None),
        ("usd-wg/test_assets/USDZ/CesiumMan/CesiumMan.usdz", [0.505, 0.896, 1.46], 1),
        ("openusd/testUsdAbcIndexedGeomArb/hasColorSet.abc", [10.8, 4.14, 4.14], 0),
        ("assimp/BLEND/HUMAN.blend", [4.62, 1.57, 10.7], None),
        ("kaykit/City-Builder-Bits-1.0/Assets/gltf/car_police.gltf", [0.419, 0.938, 0.413], 1),
    ],
)
def test_real_models(name: str, extent: list[float] | None, images: int | None, tmp_path: Path) -> None:
    found = bring_in(shared("models", name), tmp_path / "scratch")
    assert found["faces"] > 0
    if extent is not None:
        assert np.allclose(size(found), extent, rtol=0.03)
    if images is not None:
        assert found["loaded"] == images
