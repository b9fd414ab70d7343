"""Formats that Blender lacks: shapes, places, axes, colors, textures."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

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

CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 2) for z in (0, 3)], float)


def _off(header: str, vertex_tails: list[str], face_tails: list[str]) -> str:
    rows = [" ".join(map(str, p)) + tail for p, tail in zip(POINTS, vertex_tails, strict=True)]
    faces = [face + tail for face, tail in zip(("3 0 1 2", "3 0 2 3"), face_tails, strict=True)]
    return "\n".join([header, "# comment", "4 2 0", *rows, *faces]) + "\n"


@pytest.mark.parametrize("scale", [255, 1.0])
def test_off_vertex_colors(scale: float, tmp_path: Path) -> None:
    values = BYTES if scale == 255 else BYTES / 255
    tails = [" " + " ".join(map(str, v)) + (" 255" if scale == 255 else " 1.0") for v in values]
    (tmp_path / "quad.off").write_text(_off("COFF", tails, ["", ""]))
    assert worst_vertex_color(bring_in(tmp_path / "quad.off", tmp_path / "s")) < 1e-6


@pytest.mark.parametrize(
    ("header", "before", "after"),
    [
        ("NCOFF", " 0 0 1", " 255"),
        ("STCNOFF", " 0 0 1", " 255 0.25 0.75"),
        ("OFF", "", " 255"),
        ("OFF", "", ""),
    ],
)
def test_off_colors_among_other_parts(header: str, before: str, after: str, tmp_path: Path) -> None:
    """MeshLab has the letters in another order; some programs write colors without a letter."""
    tails = [f"{before} {red} {green} {blue}{after}" for red, green, blue in BYTES]
    (tmp_path / "quad.off").write_text(_off(header, tails, ["", ""]))
    assert worst_vertex_color(bring_in(tmp_path / "quad.off", tmp_path / "s")) < 1e-6


@pytest.mark.parametrize(
    ("header", "alpha", "red"),
    [("COFF", " 1", 255), ("COFF", "", 255), ("COFF", " 255", 1), ("OFF", " 0.5", 255)],
)
def test_off_colors_of_ones(header: str, alpha: str, red: int, tmp_path: Path) -> None:
    """Ones are fractions, unless the opacity is a byte; four fractions are a color without a letter, too."""
    (tmp_path / "quad.off").write_text(_off(header, [f" 1 0 0{alpha}"] * 4, ["", ""]))
    corners = np.array(bring_in(tmp_path / "quad.off", tmp_path / "s")["corners"])
    assert np.allclose(corners[:, 3:6], linear([red, 0, 0]), atol=1e-6)


@pytest.mark.parametrize("header", ["Off", "nOFF\n3", "nOFF 3"])
def test_off_headers(header: str, tmp_path: Path) -> None:
    (tmp_path / "quad.off").write_text(_off(header, [""] * 4, ["", ""]))
    assert np.allclose(size(bring_in(tmp_path / "quad.off", tmp_path / "s")), [2, 1, 0])


@pytest.mark.parametrize("width", [1, 2, 5, 1000])
def test_off_with_lines_broken_anywhere(width: int, tmp_path: Path) -> None:
    words = _off("", [""] * 4, ["", ""]).replace("# comment", "").split()
    lines = [" ".join(words[i : i + width]) for i in range(0, len(words), width)]
    (tmp_path / "quad.off").write_text("OFF\n" + "\n".join(lines) + "\n")
    found = bring_in(tmp_path / "quad.off", tmp_path / "s")
    assert found["faces"] == 2 and np.allclose(size(found), [2, 1, 0])


def test_off_face_colors_and_polygons(tmp_path: Path) -> None:
    (tmp_path / "quad.off").write_text(_off("OFF", [""] * 4, ["  200 100 50", "  0 0 64"]))
    corners = np.array(bring_in(tmp_path / "quad.off", tmp_path / "s")["corners"])
    assert np.allclose(corners[:3, 3:], linear([200, 100, 50])) and np.allclose(
        corners[3:, 3:], linear([0, 0, 64])
    )


def _3mf(path: Path, resources: str, triangles: str, extra: dict[str, bytes] | None = None) -> None:
    vertices = "".join(f'<vertex x="{x}" y="{y}" z="{z}"/>' for x, y, z in POINTS)
    core = "http://schemas.microsoft.com/3dmanufacturing"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "3D/3dmodel.model",
            f'<model xmlns="{core}/core/2015/02" xmlns:m="{core}/material/2015/02"><resources>{resources}'
            f'<object id="1" pid="5" pindex="0"><mesh><vertices>{vertices}</vertices>'
            f"<triangles>{triangles}</triangles></mesh></object>"
            '<object id="2"><components><component objectid="1" transform="1 0 0 0 1 0 0 0 1 0 0 5"/>'
            "</components>"
            '</object></resources><build><item objectid="2" transform="1 0 0 0 1 0 0 0 1 10 0 0"/></build>'
            "</model>",
        )
        for name, content in (extra or {}).items():
            archive.writestr(name, content)


def test_3mf_places_and_colors(tmp_path: Path) -> None:
    colors = "".join('<m:color color="#{:02X}{:02X}{:02X}FF"/>'.format(*c) for c in BYTES)
    _3mf(
        tmp_path / "a.3mf",
        f'<m:colorgroup id="5">{colors}</m:colorgroup>'
        '<basematerials id="6"><base name="b" displaycolor="#0A141E"/></basematerials>',
        '<triangle v1="0" v2="1" v3="2" p1="0" p2="1" p3="2"/>'
        '<triangle v1="0" v2="2" v3="3" pid="6" p1="0"/>',
    )
    found = bring_in(tmp_path / "a.3mf", tmp_path / "s")
    assert np.allclose(found["low"], [10, 0, 5]) and np.allclose(found["high"], [12, 1, 5])
    corners = np.array(found["corners"])
    assert np.allclose(corners[:3, 3:], linear(BYTES[:3]), atol=1e-6)
    assert np.allclose(corners[3:, 3:], linear([10, 20, 30]), atol=1e-6)


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_3mf_damaged_inside(kind: int, tmp_path: Path) -> None:
    noise = "".join(map(chr, np.random.default_rng(1).integers(97, 123, 4000)))
    with zipfile.ZipFile(tmp_path / "a.3mf", "w", kind) as archive:
        archive.writestr("3D/3dmodel.model", f"<model><!--{noise}--></model>")
    data = bytearray((tmp_path / "a.3mf").read_bytes())
    data[200:210] = bytes(10)
    (tmp_path / "a.3mf").write_bytes(data)
    outcome = attempt(tmp_path / "a.3mf", tmp_path / "s")
    assert outcome.kind == "invalid" and "damaged 3MF" in (outcome.message or "")


def test_3mf_textures(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "t.png")
    _3mf(
        tmp_path / "a.3mf",
        '<m:texture2d id="7" path="/3D/t.png" contenttype="image/png"/><m:texture2dgroup id="5" texid="7">'
        '<m:tex2coord u="0" v="0"/><m:tex2coord u="1" v="0"/><m:tex2coord u="1" v="1"/></m:texture2dgroup>',
        '<triangle v1="0" v2="1" v3="2" p1="0" p2="1" p3="2"/>',
        {"3D/t.png": (tmp_path / "t.png").read_bytes()},
    )
    found = bring_in(tmp_path / "a.3mf", tmp_path / "s")
    assert found["loaded"] == 1 and found["faces"] == 1
    assert np.allclose(np.array(found["corners"])[:, 3:], [[0, 0], [1, 0], [1, 1]])


WRL = """#VRML V2.0 utf8
PROTO Unused [ field SFFloat x 1 ] { Group { children [ ] } }
DEF A Transform { translation 10 0 0 rotation 0 1 0 1.5707963 children [
  DEF QUAD Shape {
    appearance Appearance { material Material { diffuseColor 1 0 0 } } # a comment with { and "
    geometry IndexedFaceSet {
      coord Coordinate { point [ 0 0 0, 2 0 0, 2 1 0, 0 1 0 ] }
      color Color { color [ 1 0 0, 0 0.50196 0, 0 0 0.25098, 0.78431 0.39216 0.19608 ] }
      coordIndex [ 0, 1, 2, 3, -1 ]
    } } ] }
Switch { whichChoice -1 choice [ Shape { geometry Box { } } ] }
USE QUAD
ROUTE A.x TO B.y
"""
X3D = """<?xml version="1.0"?><X3D><Scene>
<Transform translation="10 0 0" rotation="0 1 0 1.5707963"><Shape DEF="QUAD">
<Appearance><Material diffuseColor="1 0 0"/></Appearance>
<IndexedFaceSet coordIndex="0 1 2 3 -1"><Coordinate point="0 0 0, 2 0 0, 2 1 0, 0 1 0"/>
<Color color="1 0 0 0 0.50196 0 0 0 0.25098 0.78431 0.39216 0.19608"/></IndexedFaceSet></Shape></Transform>
<Switch whichChoice="-1"><Shape><Box/></Shape></Switch><Shape USE="QUAD"/></Scene></X3D>"""


@pytest.mark.parametrize(("name", "text"), [("a.wrl", WRL), ("a.x3d", X3D)])
def test_vrml_and_x3d_say_the_same(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    found = bring_in(tmp_path / name, tmp_path / "s")
    corners = np.array(found["corners"])
    assert found["faces"] == 2
    # Turned about +y, the file's (2, 1, 0) goes to (10, 1, -2), and Z up makes that (10, 2, 1).
    assert np.allclose(corners[:4, :3], [[10, 0, 0], [10, 2, 0], [10, 2, 1], [10, 0, 1]], atol=1e-5)
    assert np.allclose(corners[4:, :3], [[0, 0, 0], [2, 0, 0], [2, 0, 1], [0, 0, 1]], atol=1e-5)
    assert np.allclose(corners[:4, 3:6], linear(BYTES), atol=1e-4)


def test_x3d_textures_materials_and_sheared_places(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "Skin.PNG")
    (tmp_path / "a.x3d").write_text(
        '<X3D><Scene><Transform scale="1 4 1"><Transform rotation="0 0 1 0.7853982"><Shape><Appearance>'
        '<Material diffuseColor="0.78431 0.39216 0.19608" transparency="0.25"/>'
        '<ImageTexture url=\'"gone.jpg" "skin.png"\'/></Appearance>'
        '<IndexedFaceSet coordIndex="0 1 2 3" texCoordIndex="3 2 1 0">'
        '<Coordinate point="0 0 0 2 0 0 2 2 0 0 2 0"/><TextureCoordinate point="0 0 1 0 1 1 0 1"/>'
        "</IndexedFaceSet></Shape></Transform></Transform>"
        "</Scene></X3D>"
    )
    found = bring_in(tmp_path / "a.x3d", tmp_path / "s")
    assert found["loaded"] == 1 and found["notes"] == []
    corners = np.array(found["corners"])
    assert np.allclose(corners[:, 3:], [[0, 1], [1, 1], [1, 0], [0, 0]])
    root = np.sqrt(2)
    assert np.allclose(
        corners[:, [0, 2]], [[0, 0], [root, 4 * root], [0, 8 * root], [-root, 4 * root]], atol=1e-4
    )
    base = next(iter(found["bases"].values()))
    assert np.allclose(base, [*linear([200, 100, 50]), 0.75], atol=1e-4)


@pytest.mark.parametrize("name", ["a.x3d", "a.wrl"])
def test_a_black_surface_that_glows_has_the_color_of_its_glow(name: str, tmp_path: Path) -> None:
    xml = "diffuseColor='0 0 0' emissiveColor='1 0.4 0'"
    vrml = "diffuseColor 0 0 0 emissiveColor 1 0.4 0"
    texts = {
        "a.x3d": f"<X3D><Scene><Shape><Appearance><Material {xml}/></Appearance><Box/></Shape></Scene></X3D>",
        "a.wrl": "#VRML V2.0 utf8\nShape { appearance Appearance { material Material { "
        f"{vrml} }} }} geometry Box {{ }} }}",
    }
    (tmp_path / name).write_text(texts[name])
    base = next(iter(bring_in(tmp_path / name, tmp_path / "s")["bases"].values()))
    assert np.allclose(base, [*linear([255, 102, 0]), 1], atol=1e-4)


@pytest.mark.parametrize(
    ("geometry", "extent"),
    [
        ('<Box size="1 2 3"/>', (1, 3, 2)),
        ('<Sphere radius="2"/>', (4, 4, 4)),
        ('<Cylinder radius="1" height="5"/>', (2, 2, 5)),
        ('<Cone bottomRadius="1" height="3"/>', (2, 2, 3)),
        ('<Extrusion spine="0 0 0 0 3 0"/>', (2, 2, 3)),
        ('<Extrusion crossSection="0 0 0 1 1 1 1 0 0 0" spine="0 0 0 4 0 0"/>', (4, 1, 1)),
        ('<ElevationGrid xDimension="3" zDimension="2" height="0 1 0 0 1 0"/>', (2, 1, 1)),
        (
            '<IndexedTriangleSet index="0 1 2"><Coordinate point="0 0 0 1 0 0 0 1 0"/></IndexedTriangleSet>',
            (1, 0, 1),
        ),
    ],
)
def test_x3d_primitives_have_the_right_size(
    geometry: str, extent: tuple[float, float, float], tmp_path: Path
) -> None:
    (tmp_path / "a.x3d").write_text(f"<X3D><Scene><Shape>{geometry}</Shape></Scene></X3D>")
    assert np.allclose(size(bring_in(tmp_path / "a.x3d", tmp_path / "s")), extent, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("loop.wrl", "#VRML V2.0 utf8\nDEF A Group { children [ USE A ] }", "invalid"),
        ("loop.x3d", '<X3D><Scene><Group DEF="A"><Group USE="A"/></Group></Scene></X3D>', "invalid"),
        ("old.wrl", "#VRML V1.0 ascii\nSeparator { Cube { } }", "unsupported"),
        ("cut.wrl", "#VRML V2.0 utf8\nGroup { children [ Shape {", "invalid"),
        ("cut.off", "OFF\n4 2 0\n0 0 0\n", "invalid"),
        ("nan.off", "OFF\n1 1 0\na b c\n3 0 0 0\n", "invalid"),
        (
            "laughs.x3d",
            '<!DOCTYPE X3D [<!ENTITY a "b"><!ENTITY c SYSTEM "file:///etc/passwd">]><X3D>&c;</X3D>',
            "invalid",
        ),
        ("deep.wrl", "#VRML V2.0 utf8\n" + "Group { children [ " * 5000, "invalid"),
    ],
)
def test_damaged_and_hostile_files_fail_cleanly(name: str, text: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    outcome = attempt(tmp_path / name, tmp_path / "s")
    assert (outcome.status, outcome.kind) == ("failed", kind), outcome.message
    assert name in (outcome.message or "")


def _3ds(vertices: np.ndarray, faces: list[list[int]], color: tuple[int, int, int]) -> bytes:
    def chunk(identity: int, body: bytes) -> bytes:
        return struct.pack("<HI", identity, len(body) + 6) + body

    points = struct.pack("<H", len(vertices)) + vertices.astype("<f4").tobytes()
    triangles = struct.pack("<H", len(faces)) + b"".join(struct.pack("<4H", *face, 7) for face in faces)
    used = b"paint\0" + struct.pack("<H", len(faces)) + struct.pack(f"<{len(faces)}H", *range(len(faces)))
    mesh = chunk(0x4110, points) + chunk(0x4120, triangles + chunk(0x4130, used))
    material = chunk(0xA000, b"paint\0") + chunk(0xA020, chunk(0x0011, bytes(color)))
    return chunk(
        0x4D4D, chunk(0x3D3D, chunk(0xAFFF, material) + chunk(0x4000, b"box\0" + chunk(0x4100, mesh)))
    )


@pytest.mark.parametrize("suffix", [".3ds", ".bin"])
def test_3ds_shape_axis_and_color(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"box{suffix}"
    path.write_bytes(_3ds(CUBE, [[0, 1, 3], [4, 5, 7], [2, 3, 7], [0, 4, 6]], (200, 100, 50)))
    found = bring_in(path, tmp_path / "s")
    assert found["format"] == "3ds" and found["faces"] == 4
    assert np.allclose(found["low"], [0, 0, 0], atol=1e-6) and np.allclose(
        found["high"], [1, 2, 3], atol=1e-6
    )
    assert np.allclose(found["bases"]["paint"][:3], linear([200, 100, 50]), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "extent", "loaded"),
    [
        ("assimp/3DS/fels.3ds", [3.505, 3.206, 4.682], 0),
        ("assimp/3DS/cubes_with_alpha.3DS", [955.1, 1282.2, 516.6], 0),
        ("assimp/Collada/teapots.DAE", [1.007, 1.285, 0.493], 1),
        (
            "aws-small-house/aws_robomaker_residential_Refrigerator_01/meshes/aws_Refrigerator_01_visual.DAE",
            None,
            2,
        ),
        ("assimp/OFF/Wuson.off", [0.92, 1.516, 3.244], 0),
        ("assimp/WRL/Wuson.wrl", [0.92, 1.516, 3.244], 0),
        ("assimp/X3D/ComputerKeyboard.x3d", [0.45, 0.98, 0.105], 0),
        ("assimp/3MF/box.3mf", [10, 20, 30], 0),
        ("gkjohnson-demo-data/nasa-m2020/Ingenuity.glb", None, 9),
        ("playcanvas/jet-fighter.glb", [13.99, 10.03, 4.78], 0),
    ],
)
def test_real_models(name: str, extent: list[float] | None, loaded: int, tmp_path: Path) -> None:
    found = bring_in(shared("models", name), tmp_path / "s")
    assert found["faces"] > 0 and found["loaded"] >= loaded
    if extent is not None:
        assert np.allclose(size(found), extent, rtol=0.01)
