"""Models that name what is not theirs: a picture of a color that nothing else has, a buffer, a server.

    plant(folder, outside, port)    # writes the models below `folder`, what they are after below `outside`

Each is a square with a material, so that whoever reads the picture shows its color.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

COLOR = (38, 201, 119)
_OBJ = """mtllib {mtl}
v -1 -1 0\nv 1 -1 0\nv 1 1 0\nv -1 1 0
vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1
usemtl a
f 1/1 2/2 3/3 4/4
"""
_MTL = "newmtl a\nKd 1 1 1\nmap_Kd {texture}\n"
_X3D = """<X3D version="3.0"><Scene>{extra}<Shape><Appearance><Material diffuseColor="1 1 1"/>
<ImageTexture url='"{texture}"'/></Appearance>
<IndexedFaceSet coordIndex="0 1 2 3 -1" texCoordIndex="0 1 2 3 -1">
<Coordinate point="-1 -1 0 1 -1 0 1 1 0 -1 1 0"/><TextureCoordinate point="0 0 1 0 1 1 0 1"/>
</IndexedFaceSet></Shape></Scene></X3D>"""
_USDA = """#usda 1.0
(
    upAxis = "Z"
    {layers}
)
def Mesh "Square" (
    prepend apiSchemas = ["MaterialBindingAPI"]
)
{{
    int[] faceVertexCounts = [4]
    int[] faceVertexIndices = [0, 1, 2, 3]
    point3f[] points = [(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)]
    texCoord2f[] primvars:st = [(0, 0), (1, 0), (1, 1), (0, 1)] ( interpolation = "vertex" )
    rel material:binding = </Look>
}}
def Material "Look"
{{
    token outputs:surface.connect = </Look/Shader.outputs:surface>
    def Shader "Shader"
    {{
        uniform token info:id = "UsdPreviewSurface"
        color3f inputs:diffuseColor.connect = </Look/Picture.outputs:rgb>
        token outputs:surface
    }}
    def Shader "Picture"
    {{
        uniform token info:id = "UsdUVTexture"
        asset inputs:file = @{texture}@
        float2 inputs:st.connect = </Look/Reader.outputs:result>
        float3 outputs:rgb
    }}
    def Shader "Reader"
    {{
        uniform token info:id = "UsdPrimvarReader_float2"
        string inputs:varname = "st"
        float2 outputs:result
    }}
}}
"""
_BLENDER = """
import sys, bpy
picture, library, folder = sys.argv[1:]
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.mesh.primitive_plane_add()
material = bpy.data.materials.new("a"); material.use_nodes = True
node = material.node_tree.nodes.new("ShaderNodeTexImage")
node.image = bpy.data.images.load(picture)
shader = material.node_tree.nodes["Principled BSDF"]
material.node_tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
bpy.context.object.data.materials.append(material)
bpy.ops.wm.save_as_mainfile(filepath=library, relative_remap=False)
bpy.ops.wm.save_as_mainfile(filepath=folder + "/picture.blend", relative_remap=False)
bpy.ops.export_scene.fbx(filepath=folder + "/picture.fbx", path_mode="ABSOLUTE")
bpy.ops.wm.usd_export(filepath=folder + "/picture.usdc", relative_paths=False, export_textures_mode="KEEP")
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.mesh.primitive_plane_add()
with bpy.data.libraries.load(library, link=True) as (there, here):
    here.objects = there.objects
bpy.context.scene.collection.objects.link(here.objects[0])
bpy.ops.wm.save_as_mainfile(filepath=folder + "/library.blend", relative_remap=False)
"""


def plant(folder: Path, outside: Path, port: int) -> list[str]:
    """Write them all; the models' file names, sorted. `port`: where a server on loopback counts who comes."""
    folder.mkdir(parents=True)
    outside.mkdir(parents=True)
    picture, server = outside / "secret.png", f"http://127.0.0.1:{port}"
    Image.new("RGB", (64, 64), COLOR).save(picture)
    _square_elsewhere(outside)
    up = "../" * 30 + str(picture).lstrip("/")
    for name, texture in {
        "absolute": str(picture),
        "up": up,
        "file": picture.as_uri(),
        "web": f"{server}/a.png",
    }.items():
        _one_of_each(folder, name, texture)
    _geometry_elsewhere(folder, outside, server)
    _special_files(folder, outside)
    command = [sys.executable, "-c", _BLENDER, str(picture), str(outside / "secret.blend"), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return sorted(
        path.name for path in folder.iterdir() if path.suffix not in (".mtl", ".bin", ".png", ".blend1")
    )


def shows(albedo: np.ndarray) -> bool:
    """Whether a view's albedo, (H, W, 3) bytes, has the secret picture's color."""
    return bool((np.abs(albedo.astype(int) - COLOR).max(-1) <= 4).any())


def _one_of_each(folder: Path, name: str, texture: str) -> None:
    (folder / f"{name}.obj").write_text(_OBJ.format(mtl=f"{name}.mtl"))
    (folder / f"{name}.mtl").write_text(_MTL.format(texture=texture))
    (folder / f"{name}.gltf").write_text(_gltf({"byteLength": 92, "uri": _inline(_square())}, texture))
    (folder / f"{name}.x3d").write_text(_X3D.format(texture=texture, extra=""))
    (folder / f"{name}.usda").write_text(_USDA.format(texture=texture, layers=""))


def _geometry_elsewhere(folder: Path, outside: Path, server: str) -> None:
    for name, where in {"outside": str(outside), "server": server}.items():
        (folder / f"buffer_{name}.gltf").write_text(
            _gltf({"byteLength": 92, "uri": f"{where}/secret.bin"}, "a.png")
        )
        layers = f"subLayers = [@{where}/secret.usda@]"
        (folder / f"layer_{name}.usda").write_text(_USDA.format(texture="a.png", layers=layers))
        inline = f"<Inline url='\"{where}/secret.x3d\"'/>"
        (folder / f"inline_{name}.x3d").write_text(_X3D.format(texture="a.png", extra=inline))
    (folder / "library.obj").write_text(_OBJ.format(mtl=str(outside / "secret.mtl")))


def _square_elsewhere(outside: Path) -> None:
    (outside / "secret.bin").write_bytes(_square())
    (outside / "secret.mtl").write_text(_MTL.format(texture="secret.png"))
    (outside / "secret.obj").write_text(_OBJ.format(mtl="secret.mtl"))
    (outside / "secret.usda").write_text(_USDA.format(texture="secret.png", layers=""))
    (outside / "secret.x3d").write_text(_X3D.format(texture="secret.png", extra=""))


def _special_files(folder: Path, outside: Path) -> None:
    """Links and a pipe, as an archive may have left them."""
    (folder / "linked_texture.obj").write_text(_OBJ.format(mtl="linked_texture.mtl"))
    (folder / "linked_texture.mtl").write_text(_MTL.format(texture="link.png"))
    (folder / "link.png").symlink_to(outside / "secret.png")
    (folder / "linked_model.obj").symlink_to(outside / "secret.obj")
    (folder / "endless.ply").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.obj")


def _gltf(buffer: dict[str, object], texture: str) -> str:
    """A square of 4 positions, 4 texture coordinates and 6 indices, in one buffer."""
    views = [
        {"buffer": 0, "byteOffset": at, "byteLength": size} for at, size in ((0, 48), (48, 32), (80, 12))
    ]
    box = {"min": [-1, -1, 0], "max": [1, 1, 0]}
    accessors = [
        {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3", **box},
        {"bufferView": 1, "componentType": 5126, "count": 4, "type": "VEC2"},
        {"bufferView": 2, "componentType": 5123, "count": 6, "type": "SCALAR"},
    ]
    primitive = {"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0}
    return json.dumps(
        {
            "asset": {"version": "2.0"},
            "buffers": [buffer],
            "bufferViews": views,
            "accessors": accessors,
            "images": [{"uri": texture}],
            "textures": [{"source": 0}],
            "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
            "meshes": [{"primitives": [primitive]}],
            "nodes": [{"mesh": 0}],
            "scenes": [{"nodes": [0]}],
        }
    )


def _square() -> bytes:
    corners = (-1, -1, 0, 1, -1, 0, 1, 1, 0, -1, 1, 0)
    return struct.pack("<12f8f6H", *corners, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 2, 0, 2, 3)


def _inline(data: bytes) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(data).decode()
