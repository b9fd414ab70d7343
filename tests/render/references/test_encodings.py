"""Names of files and materials that are not UTF-8, in the text or on disk; staged and imported for real."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers.textured_models import (
    OBJ,
    RED,
    imported,
    obj,
    picture,
    text,
)
from tests.render.importing.test_fbx import QUAD

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
    _require_material("stühl" if encoding == "cp1252" else "表", encoding, encoding, tmp_path)


@pytest.mark.parametrize(("inside", "beside"), [("utf-8", "gbk"), ("gbk", "utf-8"), ("utf-8", "cp932")])
def test_a_library_in_another_encoding_than_its_model(inside: str, beside: str, tmp_path: Path):
    _require_material(CHAIR, inside, beside, tmp_path)


def _require_material(name: str, inside: str, beside: str, tmp_path: Path) -> None:
    """A material of this name is found, in the encodings of the OBJ and of its MTL."""
    root = tmp_path / "models"
    body = OBJ.format(mtllib="mtllib m.mtl\n", usemtl=f"usemtl {name}\n")
    text(root / "c/m.obj", body.encode(inside))
    text(root / "c/m.mtl", f"newmtl {name}\nKd 1 1 1\nmap_Kd wood.png\n".encode(beside))
    picture(root / "c/wood.png")
    found, staged = imported(root, "c/m.obj", tmp_path)
    assert (found["colors"], found["missing"]) == ([RED], []), staged


def test_an_image_that_is_missing_may_have_any_name(tmp_path: Path):
    """Names of Blender's data are UTF-8."""
    root = tmp_path / "models"
    rows = "0 0 0 0 0\n1 0 0 1 0\n1 1 0 1 1\n3 0 1 2\n"
    columns = "".join(f"property float {name}\n" for name in "xyzst")
    head = f"ply\nformat ascii 1.0\ncomment TextureFile {CHAIR}.png\nelement vertex 3\n{columns}"
    head += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    text(root / "c/m.ply", (head + rows).encode("gbk"))
    found, staged = imported(root, "c/m.ply", tmp_path)
    assert len(found["missing"]) == 1, staged


X3D = (
    "{declared}<X3D><Scene><Shape><Appearance><ImageTexture url='\"{image}\"'/></Appearance>"
    "<IndexedFaceSet coordIndex='0 1 2 -1'><Coordinate point='0 0 0 1 0 0 1 1 0'/>"
    "<TextureCoordinate point='0 0 1 0 1 1'/></IndexedFaceSet></Shape></Scene></X3D>"
)
VRML = (
    '#VRML V2.0 utf8\nShape {{ appearance Appearance {{ texture ImageTexture {{ url "{image}" }} }}\n'
    "geometry IndexedFaceSet {{ coord Coordinate {{ point [0 0 0, 1 0 0, 1 1 0] }} coordIndex [0 1 2 -1]\n"
    "texCoord TextureCoordinate {{ point [0 0, 1 0, 1 1] }} }} }}\n"
)


@pytest.mark.parametrize("encoding", ["gbk", "shift_jis", "iso-8859-1"])
@pytest.mark.parametrize("kind", ["declared.x3d", "x3d", "wrl"])
def test_scenes_in_other_encodings(kind: str, encoding: str, tmp_path: Path):
    root = tmp_path / "models"
    name = "Stühle.png" if encoding == "iso-8859-1" else f"{CHAIR}.png"
    declared = f'<?xml version="1.0" encoding="{encoding}"?>' if kind == "declared.x3d" else ""
    body = (VRML if kind == "wrl" else X3D).format(declared=declared, image=name)
    text(root / "c" / f"m.{kind}", body.encode(encoding))
    picture(root / "c" / name)
    found, staged = imported(root, f"c/m.{kind}", tmp_path)
    assert (found["colors"], found["missing"]) == ([RED], []), staged


@pytest.mark.parametrize("encoding", ["gbk", "cp1251"])
def test_fbx_text_in_other_encodings(encoding: str, tmp_path: Path):
    """Blender's importer puts marks for what is not UTF-8."""
    root = tmp_path / "models"
    name = f"{CHAIR} 1.png" if encoding == "gbk" else "стул 1.png"
    text(root / "c/m.fbx", QUAD.replace("skin.png", name).replace("OPACITY", name).encode(encoding))
    picture(root / "c" / name)
    found, staged = imported(root, "c/m.fbx", tmp_path)
    assert (found["colors"], found["missing"]) == ([RED], []), staged
