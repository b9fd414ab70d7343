"""What a model names is found in its bytes, and only files of its own tree come of it."""

from __future__ import annotations

import gzip
import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest

from render.references.closure import companions, references
from render.references.crate import read_tokens
from render.references.link_scan import names

PLY = b"ply\nformat ascii 1.0\ncomment TextureFile my skin.png\nelement vertex 0\nend_header\n"
FBX = b"Kaydara FBX Binary  \x00\x1a\x00S\x0b\0\0\0maps\\in.tga\0\0S\x09\0\0\0C:\\x\\b.JPG\0"
BLEND = b"BLENDER-v405REND\0\0//maps/in.tga\0\0\0/home/me/b.jpg\0//skin.<UDIM>.png\0"
X3D = b"""<X3D><Scene><Inline url='"part.x3d" "http://a.b/part.x3d"'/>
<ImageTexture url='b.jpg'/></Scene></X3D>"""
WRL = b'#VRML V2.0 utf8\nInline { url "part.x3d" }\nImageTexture { url [ "b.jpg", "c.jpg" ] }\n'
DAE = b"""<COLLADA><image id="i"><init_from>maps/with%20space.png</init_from></image>
<init_from>i</init_from></COLLADA>"""
USDA = b"""#usda 1.0
( subLayers = [@./part.usda@] )
def "a" (references = @@@odd@name.usd@@@</A>) { asset a = @b.jpg@ }
"""
GLTF = {
    "asset": {"version": "2.0"},
    "buffers": [{"uri": "a%20b.bin"}, {"uri": "data:,x"}],
    "images": [{"uri": "maps/in.tga"}],
}
NAMED = {
    "m.gltf": (json.dumps(GLTF).encode(), ["a b.bin", "maps/in.tga"]),
    "m.obj": (
        b"mtllib two words.mtl\nv 0 0 0\nv 0 0 1\nf 1 2 1\n",
        ["b.jpg", "maps/in.tga", "two words.mtl"],
    ),
    "m.ply": (PLY, ["my skin.png"]),
    "m.fbx": (FBX, ["b.jpg", "maps/in.tga"]),
    "m.blend": (BLEND, ["b.jpg", "maps/in.tga", "skin.1001.png", "skin.1002.png"]),
    "m.x3d": (X3D, ["b.jpg", "c.jpg", "part.x3d"]),
    "m.wrl": (WRL, ["b.jpg", "c.jpg", "part.x3d"]),
    "m.dae": (DAE, ["maps/with space.png"]),
    "m.usda": (USDA, ["b.jpg", "c.jpg", "odd@name.usd", "part.usda"]),
    "m.stl": (b"solid b.jpg\nfacet normal 0 0 1\n", []),
}
"""Model -> (its bytes, the files of `folder` that go with it). part.* and the MTL name further ones."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "own"
    (root / "maps").mkdir(parents=True)
    for name in (
        "a b.bin",
        "b.jpg",
        "c.jpg",
        "maps/in.tga",
        "maps/with space.png",
        "my skin.png",
        "other.png",
    ):
        (root / name).write_bytes(b"x")
    for name in ("skin.1001.png", "skin.1002.png", "skin.x.png"):
        (root / name).write_bytes(b"x")
    (root / "two words.mtl").write_text(
        "newmtl a\nmap_Kd -s 1 1 1 maps\\in.tga\nmap_Bump -bm 0.5 C:\\stale\\B.JPG\n"
    )
    (root / "part.usda").write_text("#usda 1.0\ndef Mesh { asset a = @c.jpg@ }\n")
    (root / "odd@name.usd").write_text("#usda 1.0\n")
    (root / "part.x3d").write_text("<X3D><ImageTexture url='\"c.jpg\"'/><Inline url='\"part.x3d\"'/></X3D>")
    return root


@pytest.mark.parametrize("name", NAMED)
def test_what_goes_with_a_model(folder: Path, name: str):
    data, expected = NAMED[name]
    (folder / name).write_bytes(data)
    assert companions(folder / name) == sorted(folder / one for one in expected)


@pytest.mark.parametrize(
    "pack", [gzip.compress, lambda data: pyarrow.compress(data, codec="zstd", asbytes=True)]
)
def test_compressed_blend_files(folder: Path, pack: Callable[[bytes], bytes]):
    """Two frames, as Blender writes them."""
    (folder / "m.blend").write_bytes(pack(BLEND[:30]) + pack(BLEND[30:]))
    assert folder / "b.jpg" in companions(folder / "m.blend")


def test_the_tokens_of_a_crate_file(folder: Path):
    """An LZ4 block written by hand: 8 literals, then 5 bytes from 8 back, then literals to the end."""
    block = bytes([0x81]) + b"b.jpg\0/b" + struct.pack("<H", 8) + bytes([0x70]) + b"\0c.jpg\0"
    tokens = b"b.jpg\0/bb.jpg\0c.jpg\0"
    section = struct.pack("<QQQ", 3, len(tokens), len(block) + 1) + b"\0" + block
    contents = struct.pack("<Q16sqq", 1, b"TOKENS", 88, len(section))
    head = b"PXR-USDC" + bytes([0, 8, 0, 0, 0, 0, 0, 0]) + struct.pack("<q", 88 + len(section))
    path = folder / "m.usdc"
    path.write_bytes(head.ljust(88, b"\0") + section + contents)
    with path.open("rb") as file:
        assert read_tokens(file) == tokens
    assert companions(path) == [folder / "b.jpg", folder / "c.jpg"]


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("/etc/passwd", "absolute path"),
        ("C:\\\\me\\\\scene.bin", "absolute path"),
        ("\\\\\\\\server\\\\share\\\\x.bin", "absolute path"),
        ("file:///etc/passwd", "address"),
        ("http://127.0.0.1/x.bin", "address"),
        ("../outside.bin", "leaves the model's folder"),
        ("maps/../../outside.bin", "leaves the model's folder"),
        ("..%2foutside.bin", "leaves the model's folder"),
        ("%2e%2e/outside.bin", "leaves the model's folder"),
        ("\\u002e\\u002e/outside.bin", "leaves the model's folder"),
        ("link.bin", "link that leaves"),
        ("pipe.bin", "not a regular file"),
    ],
)
def test_refusals(folder: Path, text: str, refusal: str):
    (folder.parent / "outside.bin").write_bytes(b"x")
    (folder / "link.bin").symlink_to(folder.parent / "outside.bin")
    os.mkfifo(folder / "pipe.bin")
    (folder / "m.gltf").write_text('{"asset": {"version": "2.0"}, "buffers": [{"uri": "%s"}]}' % text)  # noqa: UP031
    (found,) = references(folder / "m.gltf")
    assert found.path is None and found.needed
    assert found.refusal and refusal in found.refusal
    assert companions(folder / "m.gltf") == []


def test_a_stale_path_is_taken_for_a_namesake(folder: Path):
    (folder / "m.obj").write_text("mtllib m.mtl\nv 0 0 0\nv 0 0 1\nf 1 2 1\n")
    (folder / "m.mtl").write_text("newmtl a\nmap_Kd D:\\work\\IN.TGA\nmap_Ks D:\\work\\lost.png\n")
    assert companions(folder / "m.obj") == [folder / "m.mtl", folder / "maps" / "in.tga"]
    refused = [one for one in references(folder / "m.mtl") if one.refusal]
    assert [one.text for one in refused] == ["D:\\work\\lost.png"] and not refused[0].needed


def test_a_wider_tree_reaches_further_and_no_further(folder: Path):
    (folder.parent / "shared.png").write_bytes(b"x")
    model = folder / "maps" / "m.gltf"
    model.write_text(json.dumps({"asset": {}, "images": [{"uri": "../b.jpg"}, {"uri": "../../shared.png"}]}))
    assert companions(model) == []
    assert companions(model, folder) == [folder / "b.jpg"]
    assert companions(model, folder.parent) == [folder / "b.jpg", folder.parent / "shared.png"]


@pytest.mark.parametrize("name", NAMED)
def test_garbage_gives_fewer_names_and_no_exception(folder: Path, name: str):
    chance = random.Random(name)
    data = NAMED[name][0]
    for _ in range(60):
        spoiled = bytearray(data * 3)
        for _ in range(chance.randrange(1, 12)):
            spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
        (folder / name).write_bytes(spoiled[: chance.randrange(len(spoiled))])
        assert all(path.is_relative_to(folder) for path in companions(folder / name))


def test_names_have_a_limit(folder: Path):
    images = [{"uri": f"{number}.png"} for number in range(10_000)]
    (folder / "m.gltf").write_text(json.dumps({"asset": {}, "images": images}))
    assert len(names(folder / "m.gltf")) == 4096
