"""What a file is, from its bytes: every real model, misnamed files, and things that are no models."""

from __future__ import annotations

import csv
import gzip
import json
import struct
import zipfile
from pathlib import Path

import pytest

from render.importing.formats import SUPPORTED, explain, sniff
from tests.helpers.importing import shared

STL = b"solid but binary".ljust(80) + struct.pack("<I", 1) + bytes(50)
SAMPLES = {
    "glb": b"glTF\x02\0\0\0\x0c\0\0\0",
    "gltf": json.dumps({"scenes": [], "asset": {"version": "2.0"}}).encode(),
    "obj": b"# made by hand\nmtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
    "fbx": b"Kaydara FBX Binary  \0\x1a\0",
    "stl": STL,
    "ply": b"ply\r\nformat ascii 1.0\r\n",
    "usda": b"#usda 1.0\n",
    "usdc": b"PXR-USDC\0",
    "abc": b"Ogawa\xff",
    "dae": b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- <X3D> --><COLLADA version="1.4.1">',
    "x3d": b'<?xml version="1.0"?><!DOCTYPE X3D PUBLIC "a" "b"><X3D profile="Full">',
    "wrl": b"#VRML V2.0 utf8\n",
    "blend": b"BLENDER-v405",
    "3ds": b"MM" + struct.pack("<IHI", 16, 0x3D3D, 10) + bytes(4),
    "off": b"COFF\n4 1 0\n",
}


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("suffix", ["", ".txt", ".glb", ".obj", ".blend"])
def test_content_decides_whatever_the_name(kind: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(SAMPLES[kind])
    assert sniff(path) == kind


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("ascii.stl", b"solid a\n facet normal 0 0 1\n", "stl"),
        ("ascii.fbx", b"; FBX 7.5.0 project file\n", "fbx"),
        ("old.fbx", b"\n\nFBXHeaderExtension:  {\n", "fbx"),
        ("odd.obj", b"# nothing but words\n", "obj"),
        ("bare.off", b"4 1 0\n0 0 0\n", "off"),
        ("array.gltf", b'{"extras": 1}', "gltf"),
        ("packed.blend", gzip.compress(b"BLENDER-v279", mtime=0), "blend"),
        ("packed.wrl", gzip.compress(b"#VRML V2.0 utf8\n", mtime=0), "wrl"),
        ("zstd.blend", b"\x28\xb5\x2f\xfd\x00", "blend"),
        ("wide.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n".encode("utf-16"), "obj"),
    ],
)
def test_names_decide_only_what_the_content_leaves_open(
    name: str, content: bytes, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert sniff(path) == kind


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("empty.obj", b"", "empty"),
        ("zeros.glb", bytes(1000), "zeros"),
        ("page.gltf", b"\n<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        ("pointer.glb", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("picture.glb", b"\x89PNG\r\n\x1a\n", "PNG"),
        ("noise.usdc", b"\x01\x02\x03\x04", "does not begin as a .usdc"),
        ("drawing.dae", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "<svg>"),
        ("notes.txt", b"hello", "no format"),
        ("archive.obj", gzip.compress(b"v 0 0 0", mtime=0), "gzip"),
    ],
)
def test_what_is_no_model_is_named(name: str, content: bytes, word: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert sniff(path) is None
    assert word in explain(path) and name in explain(path)


@pytest.mark.parametrize(
    ("members", "kind"),
    [(["a.usdc", "a.png"], "usdz"), (["[Content_Types].xml", "3D/3dmodel.model"], "3mf"), (["a.obj"], None)],
)
def test_zip_archives_by_their_members(members: list[str], kind: str | None, tmp_path: Path) -> None:
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, "x")
    assert sniff(path) == kind


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "folder.obj").mkdir()
    assert sniff(tmp_path / "folder.obj") is None
    assert "folder" in explain(tmp_path / "folder.obj")


def test_every_real_model_is_what_its_catalog_says() -> None:
    catalog = shared("models", "MODELS.csv")
    rows = list(csv.DictReader(catalog.open()))
    wrong = {row["path"]: sniff(catalog.parent / row["path"]) for row in rows}
    wrong = {path: kind for path, kind in wrong.items() if not _fits(path, kind)}
    assert len(rows) == 129 and not wrong


def _fits(path: str, kind: str | None) -> bool:
    named = Path(path).suffix.lower()[1:]
    return kind == named or (named == "usd" and kind in ("usda", "usdc"))


def test_misnamed_real_files() -> None:
    folder = shared("broken", "handmade/wrong_extension")
    expected = {"glb.obj": "glb", "obj.stl": "obj", "stl.ply": "stl", "zip.glb": "usdz", "ascii.usdc": "usda"}
    expected |= {"no_extension": "glb", "png.glb": None, "elf.blend": None, "lfs_pointer.glb": None}
    assert {name: sniff(folder / name) for name in expected} == expected


def test_supported_extensions_are_lower_case_with_their_dot() -> None:
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in SUPPORTED)
    assert len(SUPPORTED) == 18
