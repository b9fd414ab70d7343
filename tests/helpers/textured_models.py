"""Quads with a texture of one color, in every format that names textures, and what Blender makes of them."""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.engine.supervisor import Supervisor
from pipeline.inputs.staging import Staged
from pipeline.sandbox.process import Limits
from render.job import Job, Placement
from tests.helpers.gltf_files import glb
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
    text(folder / "m.glb", glb(tree, corners))


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
