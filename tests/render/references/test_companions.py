"""Materials and textures that a model names badly come out as they were meant, staged and imported for real.

Every model here is a quad with a texture of one color; what Blender loads must have that color.
"""

from __future__ import annotations

import functools
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.engine.supervisor import Supervisor
from pipeline.inputs.staging import Staged
from pipeline.sandbox.process import Limits
from render.job import Job, Placement
from tests.helpers.staging import stage

OBJ = (
    "{mtllib}v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n{usemtl}f 1/1 2/2 3/3 4/4\n"
)
RED, BLUE = [200, 60, 20], [20, 60, 200]


@functools.cache
def _child() -> Supervisor:
    return Supervisor("tests.helpers.texture_stage", Limits(timeout=120, memory_mib=6000))


def imported(root: Path, source: str, tmp_path: Path) -> tuple[dict[str, Any], Staged]:
    """What Blender makes of the staged model, and what was staged."""
    staged = stage(root / source, source, tmp_path / "staged")
    scratch = tmp_path / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    place = Placement(input=staged.path, output=scratch / "found.json", scratch=scratch)
    outcome = _child().run(Job(uid="one", config_hash="test"), place)
    assert outcome.ok, f"{outcome.kind}: {outcome.message}\n{outcome.log_tail}"
    return json.loads((scratch / "found.json").read_text()), staged


def picture(path: Path, color: list[int] = RED) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), tuple(color)).save(path)


def text(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def obj(
    folder: Path, image: str | bytes, mtllib: str = "m.mtl", mtl: str = "m.mtl", name: str = "m.obj"
) -> None:
    text(folder / name, OBJ.format(mtllib=f"mtllib {mtllib}\n" if mtllib else "", usemtl="usemtl a\n"))
    raw = image if isinstance(image, bytes) else image.encode()
    text(folder / mtl, b"newmtl a\nKd 1 1 1\nmap_Kd " + raw + b"\n")


def gltf(folder: Path, image: str, binary: bool = False) -> None:
    corners = struct.pack(
        "<12f8f6H", 0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, *[0, 0, 1, 0, 1, 1, 0, 1], 0, 1, 2, 0, 2, 3
    )
    tree: dict[str, Any] = {
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": len(corners)}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": length}
            for start, length in ((0, 48), (48, 32), (80, 12))
        ],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": 4,
                "type": "VEC3",
                "min": [0, 0, 0],
                "max": [1, 1, 0],
            },
            {"bufferView": 1, "componentType": 5126, "count": 4, "type": "VEC2"},
            {"bufferView": 2, "componentType": 5123, "count": 6, "type": "SCALAR"},
        ],
        "images": [{"uri": image}],
        "textures": [{"source": 0}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "meshes": [
            {"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0}]}
        ],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    }
    if not binary:
        tree["buffers"][0]["uri"] = "m.bin"
        text(folder / "m.bin", corners)
        text(folder / "m.gltf", json.dumps(tree))
        return
    head = json.dumps(tree).encode()
    head += b" " * (-len(head) % 4)
    body = (
        struct.pack("<II", len(head), 0x4E4F534A)
        + head
        + struct.pack("<II", len(corners), 0x004E4942)
        + corners
    )
    text(folder / "m.glb", b"glTF" + struct.pack("<II", 2, 12 + len(body)) + body)


def usda(folder: Path, image: str) -> None:
    text(
        folder / "m.usda",
        """#usda 1.0
(
  defaultPrim = "R"
  upAxis = "Y"
)
def Xform "R" {
  def Mesh "q" (
    prepend apiSchemas = ["MaterialBindingAPI"]
  ) {
    int[] faceVertexCounts = [4]
    int[] faceVertexIndices = [0, 1, 2, 3]
    point3f[] points = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]
    texCoord2f[] primvars:st = [(0, 0), (1, 0), (1, 1), (0, 1)] ( interpolation = "vertex" )
    rel material:binding = </R/m>
  }
  def Material "m" {
    token outputs:surface.connect = </R/m/s.outputs:surface>
    def Shader "s" {
      uniform token info:id = "UsdPreviewSurface"
      color3f inputs:diffuseColor.connect = </R/m/t.outputs:rgb>
      token outputs:surface
    }
    def Shader "t" {
      uniform token info:id = "UsdUVTexture"
      asset inputs:file = @IMAGE@
      float2 inputs:st.connect = </R/m/r.outputs:result>
      float3 outputs:rgb
    }
    def Shader "r" {
      uniform token info:id = "UsdPrimvarReader_float2"
      string inputs:varname = "st"
      float2 outputs:result
    }
  }
}
""".replace("IMAGE", image),
    )


def x3d(folder: Path, image: str) -> None:
    text(
        folder / "m.x3d",
        f"""<X3D><Scene><Shape><Appearance><ImageTexture url='"{image}"'/></Appearance>
<IndexedFaceSet coordIndex='0 1 2 3 -1'><Coordinate point='0 0 0 1 0 0 1 1 0 0 1 0'/>
<TextureCoordinate point='0 0 1 0 1 1 0 1'/></IndexedFaceSet></Shape></Scene></X3D>""",
    )


def ply(folder: Path, image: str) -> None:
    text(
        folder / "m.ply",
        f"""ply
format ascii 1.0
comment TextureFile {image}
element vertex 4
property float x
property float y
property float z
property float s
property float t
element face 1
property list uchar int vertex_indices
end_header
0 0 0 0 0
1 0 0 1 0
1 1 0 1 1
0 1 0 0 1
4 0 1 2 3
""",
    )


def dae(folder: Path, image: str) -> None:
    text(
        folder / "m.dae",
        f"""<?xml version="1.0" encoding="utf-8"?>
<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
<asset><up_axis>Z_UP</up_axis></asset>
<library_images><image id="i"><init_from>{image}</init_from></image></library_images>
<library_effects><effect id="e"><profile_COMMON>
<newparam sid="f"><surface type="2D"><init_from>i</init_from></surface></newparam>
<newparam sid="p"><sampler2D><source>f</source></sampler2D></newparam>
<technique sid="c"><lambert><diffuse><texture texture="p" texcoord="UV"/></diffuse></lambert></technique>
</profile_COMMON></effect></library_effects>
<library_materials><material id="m"><instance_effect url="#e"/></material></library_materials>
<library_geometries><geometry id="g"><mesh>
<source id="x"><float_array id="xa" count="12">0 0 0 1 0 0 1 1 0 0 1 0</float_array><technique_common>
<accessor source="#xa" count="4" stride="3"><param name="X" type="float"/><param name="Y" type="float"/>
<param name="Z" type="float"/></accessor></technique_common></source>
<source id="u"><float_array id="ua" count="8">0 0 1 0 1 1 0 1</float_array><technique_common>
<accessor source="#ua" count="4" stride="2"><param name="S" type="float"/>
<param name="T" type="float"/></accessor>
</technique_common></source><vertices id="v"><input semantic="POSITION" source="#x"/></vertices>
<triangles material="m" count="2"><input semantic="VERTEX" source="#v" offset="0"/>
<input semantic="TEXCOORD" source="#u" offset="1" set="0"/><p>0 0 1 1 2 2 0 0 2 2 3 3</p></triangles>
</mesh></geometry></library_geometries>
<library_visual_scenes><visual_scene id="s"><node><instance_geometry url="#g">
<bind_material><technique_common>
<instance_material symbol="m" target="#m">
<bind_vertex_input semantic="UV" input_semantic="TEXCOORD" input_set="0"/>
</instance_material></technique_common></bind_material></instance_geometry></node></visual_scene>
</library_visual_scenes><scene><instance_visual_scene url="#s"/></scene></COLLADA>""",
    )


WRITERS: dict[str, Callable[[Path, str], None]] = {
    "obj": obj,
    "gltf": gltf,
    "glb": functools.partial(gltf, binary=True),
    "usda": usda,
    "x3d": x3d,
    "ply": ply,
    "dae": dae,
}
PLACES = {
    "beside": ("wood.png", "set/c/meshes/wood.png"),
    "case": ("Maps/Wood.PNG", "set/c/meshes/maps/wood.png"),
    "backslash": ("maps\\wood.png", "set/c/meshes/maps/wood.png"),
    "percent": ("my%20wood.png", "set/c/meshes/my wood.png"),
    "windows": ("C:\\me\\tex\\wood.png", "set/c/meshes/wood.png"),
    "unix": ("/home/me/wood.png", "set/c/meshes/wood.png"),
    "file-uri": ("file:///C:/me/wood.png", "set/c/meshes/wood.png"),
    "google-scanned-objects": ("wood.png", "set/c/materials/textures/wood.png"),
    "sketchfab": ("wood.png", "set/c/textures/wood.png"),
    "shapenet": ("./wood.png", "set/c/images/wood.png"),
    "unity": ("..\\..\\Materials\\wood.png", "set/c/Textures/oak/wood.png"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", WRITERS)
def test_a_texture_is_found(kind: str, place: str, tmp_path: Path):
    name, where = PLACES[place]
    root = tmp_path / "models"
    WRITERS[kind](root / "set/c/meshes", name)
    picture(root / where)
    found, staged = imported(root, f"set/c/meshes/m.{kind}", tmp_path)
    assert found["colors"] == [RED], (found, staged)
    assert found["missing"] == []
    assert root / where in staged.companions


@pytest.mark.parametrize("name", ["lost.png", "maps\\lost.png", "C:\\me\\lost.png", "../../../../lost.png"])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_texture_that_is_nowhere_is_named(kind: str, name: str, tmp_path: Path):
    root = tmp_path / "models"
    WRITERS[kind](root / "c", name)
    found, _ = imported(root, f"c/m.{kind}", tmp_path)
    assert found["missing"] == ["lost.png"]
    assert found["colors"] == []


LINES = {
    "spaces": "red brick.png",
    "options": "-s 1 1 1 -o 0 0 0 -mm 0 1 -bm 0.5 -clamp on red brick.png",
    "windows": "C:\\my documents\\old maps\\Red Brick.PNG",
    "options and windows": "-s 2 2 2 ..\\old maps\\Red Brick.PNG",
    "quotes": '"red brick.png"',
    "blanks at the end": "red brick.png   ",
    "a comment at the end": "red brick.png # the kiln's",
    "an option nobody knows": "-foo 1 -gamma 2.2 -type sphere red brick.png",
}


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("place", ["", "maps/"])
def test_lines_of_an_mtl(line: str, place: str, tmp_path: Path):
    root = tmp_path / "models"
    obj(root / "c", LINES[line], mtllib="my mats\\the (final).mtl", mtl="my mats/the (final).mtl")
    picture(root / "c/my mats" / place / "red brick.png")
    found, staged = imported(root, "c/m.obj", tmp_path)
    assert (found["colors"], found["missing"]) == ([RED], []), staged


LIBRARIES = {
    "none": ("", "m.mtl"),
    "stale": ("other.mtl", "m.mtl"),
    "windows": ("C:\\work\\out\\mats.mtl", "mats.mtl"),
    "unix": ("/home/me/mats.mtl", "mats.mtl"),
    "case": ("Mats.MTL", "mats.mtl"),
    "stem in another case": ("", "M.mtl"),
    "elsewhere": ("mats.mtl", "materials/mats.mtl"),
    "several": ("empty.mtl mats.mtl", "mats.mtl"),
    "quotes": ('"my mats.mtl"', "my mats.mtl"),
}


@pytest.mark.parametrize("case", LIBRARIES)
def test_libraries_of_an_obj(case: str, tmp_path: Path):
    mtllib, where = LIBRARIES[case]
    root = tmp_path / "models"
    obj(root / "c", "wood.png", mtllib=mtllib, mtl=where)
    text(root / "c/empty.mtl", "newmtl unused\n")
    picture(root / "c/wood.png")
    found, staged = imported(root, "c/m.obj", tmp_path)
    assert (found["colors"], found["missing"]) == ([RED], []), staged


@pytest.mark.parametrize("keyword", ["map_kd", "\tMAP_KD"])
def test_keywords_of_an_mtl_in_any_case(keyword: str, tmp_path: Path):
    root = tmp_path / "models"
    text(root / "c/m.obj", OBJ.format(mtllib="mtllib m.mtl\n", usemtl="usemtl wood\n"))
    text(root / "c/m.mtl", f"NEWMTL wood\nKD 1 1 1\n{keyword} wood.png\n")
    picture(root / "c/wood.png")
    found, staged = imported(root, "c/m.obj", tmp_path)
    assert (found["colors"], found["missing"]) == ([RED], []), staged


ESCAPES = {
    "as it is on disk": ("wood%20x.png", "wood%20x.png"),
    "a query": ("wood.png?v=2", "wood.png"),
    "Latin 1": ("St%FChl.png", "Stühl.png"),
    "a question mark": ("what%3F.png", "what?.png"),
}


@pytest.mark.parametrize("case", ESCAPES)
@pytest.mark.parametrize("kind", ["gltf", "dae"])
def test_escapes_in_names(kind: str, case: str, tmp_path: Path):
    name, where = ESCAPES[case]
    root = tmp_path / "models"
    WRITERS[kind](root / "c", name)
    picture(root / "c" / where)
    found, staged = imported(root, f"c/m.{kind}", tmp_path)
    assert (found["colors"], found["missing"]) == ([RED], []), staged


@pytest.mark.parametrize("kind", ["gif", "pcx", "ppm", "avif"])
def test_images_that_blender_cannot_decode(kind: str, tmp_path: Path):
    if f".{kind}" not in Image.registered_extensions():
        pytest.skip(f"this Pillow lacks {kind}")
    root = tmp_path / "models"
    obj(root / "c", f"wood.{kind}")
    Image.new("RGB", (16, 16), tuple(RED)).save(root / f"c/wood.{kind}")
    found, staged = imported(root, "c/m.obj", tmp_path)
    assert (found["missing"], len(found["colors"])) == ([], 1), staged
    assert max(abs(a - b) for a, b in zip(found["colors"][0], RED, strict=True)) <= 2


CHAIR = "椅子"
TEXTS = {
    "gbk in an mtl, utf-8 on disk": ("gbk", None),
    "utf-8 in an mtl, gbk on disk": (None, "gbk"),
    "gbk in both": ("gbk", "gbk"),
    "shift-jis in an mtl": ("cp932", None),
    "shift-jis in both": ("cp932", "cp932"),
    "big5 on disk": (None, "big5"),
    "utf-8 in both": (None, None),
}


@pytest.mark.parametrize("encoding", ["mac_roman", "cp437", "cp1252"])
def test_western_names_in_other_encodings(encoding: str, tmp_path: Path):
    root = tmp_path / "models"
    obj(root / "c", "Stühle.png".encode(encoding))
    picture(root / "c/Stühle.png")
    found, staged = imported(root, "c/m.obj", tmp_path)
    assert (found["colors"], found["missing"]) == ([RED], []), staged


@pytest.mark.parametrize("case", TEXTS)
def test_names_in_other_encodings(case: str, tmp_path: Path):
    inside, outside = TEXTS[case]
    root = tmp_path / "models"
    image = f"{CHAIR}表.png"
    obj(root / "c", image.encode(inside or "utf-8"))
    (root / "c" / os.fsdecode(image.encode(outside or "utf-8"))).write_bytes(b"")
    picture(root / "c/wood.png")
    (root / "c/wood.png").rename(root / "c" / os.fsdecode(image.encode(outside or "utf-8")))
    found, staged = imported(root, "c/m.obj", tmp_path)
    assert (found["colors"], found["missing"]) == ([RED], []), staged


@pytest.mark.parametrize("encoding", ["gbk", "cp932", "utf-16", "utf-16-le", "utf-8-sig", "cp1252"])
def test_materials_named_in_other_encodings(encoding: str, tmp_path: Path):
    """The last byte of a name in Shift-JIS may be a backslash, which would continue its line."""
    root = tmp_path / "models"
    name = "stühl" if encoding == "cp1252" else "表"
    body = OBJ.format(mtllib="mtllib m.mtl\n", usemtl=f"usemtl {name}\n")
    text(root / "c/m.obj", body.encode(encoding))
    text(root / "c/m.mtl", f"newmtl {name}\nKd 1 1 1\nmap_Kd wood.png\n".encode(encoding))
    picture(root / "c/wood.png")
    found, staged = imported(root, "c/m.obj", tmp_path)
    assert (found["colors"], found["missing"]) == ([RED], []), staged


def test_the_nearest_namesake_is_taken_and_none_of_two_strangers(tmp_path: Path):
    root = tmp_path / "models"
    for model in ("a", "b", "c"):
        obj(root / "set" / model / "meshes", "tex\\wood.png")
    picture(root / "set/a/images/wood.png")
    picture(root / "set/b/textures/wood.png", BLUE)
    assert imported(root, "set/a/meshes/m.obj", tmp_path / "1")[0]["colors"] == [RED]
    assert imported(root, "set/b/meshes/m.obj", tmp_path / "2")[0]["colors"] == [BLUE]
    found, _ = imported(root, "set/c/meshes/m.obj", tmp_path / "3")
    assert (found["colors"], found["missing"]) == ([], ["wood.png"])


def test_folders_that_agree_with_a_stale_path_decide(tmp_path: Path):
    root = tmp_path / "models"
    obj(root / "c", "D:\\project\\oak\\wood.png")
    picture(root / "c/pine/wood.png", BLUE)
    picture(root / "c/x/y/oak/wood.png", RED)
    assert imported(root, "c/m.obj", tmp_path)[0]["colors"] == [RED]


def test_a_search_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What is near is found although the collection has more entries than are looked at."""
    monkeypatch.setattr("render.references.lookup.MOST_ENTRIES", 50)
    root = tmp_path / "models"
    for number in range(100):
        text(root / f"set/a{number:03d}/x.txt", "")
    obj(root / "set/m/meshes", "C:\\wood.png")
    picture(root / "set/m/textures/wood.png")
    picture(root / "set/zzz/far.png")
    staged = stage(root / "set/m/meshes/m.obj", "set/m/meshes/m.obj", tmp_path / "in")
    assert root / "set/m/textures/wood.png" in staged.companions
    text(root / "set/m/meshes/m.mtl", "newmtl a\nmap_Kd far.png\n")
    staged = stage(root / "set/m/meshes/m.obj", "set/m/meshes/m.obj", tmp_path / "in-2")
    assert [path.name for path in staged.companions] == ["m.mtl"]
