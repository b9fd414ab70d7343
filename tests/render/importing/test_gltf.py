"""glTF files that Blender refuses or does not show."""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from render.bundle import Bundle
from tests.helpers.gltf_files import write_gltf
from tests.helpers.importing import bring_in, size

POINTS = np.array([[0, 0, 0], [3, 0, 0], [0, 2, 0], [0, 0, 1]], float)
FACES = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])


@pytest.mark.parametrize("after", [b"\0", b"\0" * 64, b"appended"])
def test_bytes_after_the_end_of_a_glb(after: bytes, tmp_path: Path) -> None:
    write_gltf(tmp_path / "a.gltf", POINTS, FACES, [{"mesh": 0}])
    text = (tmp_path / "a.gltf").read_bytes()
    text += b" " * (-len(text) % 4)
    chunk = struct.pack("<I4s", len(text), b"JSON") + text
    (tmp_path / "a.glb").write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunk)) + chunk + after)
    assert np.allclose(size(bring_in(tmp_path / "a.glb", tmp_path / "s")), [3, 1, 2])


def test_nodes_without_a_scene_are_shown(tmp_path: Path) -> None:
    nodes = [{"children": [1], "scale": [2, 2, 2]}, {"mesh": 0}, {"mesh": 0, "translation": [7, 0, 0]}]
    write_gltf(tmp_path / "a.gltf", POINTS, FACES, nodes)
    document = json.loads((tmp_path / "a.gltf").read_text())
    del document["scenes"], document["scene"]
    (tmp_path / "b.gltf").write_text(json.dumps(document))
    assert np.allclose(size(bring_in(tmp_path / "b.gltf", tmp_path / "s")), [10, 2, 4])


def test_the_first_version(tmp_path: Path) -> None:
    """glTF 1.0 names its objects; a node has several meshes, and byte offsets are required."""
    blob = POINTS.astype("<f4").tobytes() + FACES.astype("<u2").tobytes()
    views = {
        "points": {"buffer": "b", "byteOffset": 0, "byteLength": 48, "target": 34962},
        "faces": {"buffer": "b", "byteOffset": 48, "byteLength": 24, "target": 34963},
    }
    whole = {"byteOffset": 0}
    document = {
        "asset": {"version": "1.0"},
        "scene": "s",
        "scenes": {"s": {"nodes": ["n"]}},
        "nodes": {"n": {"meshes": ["m"], "translation": [5, 0, 0]}},
        "meshes": {"m": {"primitives": [{"attributes": {"POSITION": "p"}, "indices": "f", "mode": 4}]}},
        "accessors": {
            "p": {"bufferView": "points", "componentType": 5126, "count": 4, "type": "VEC3", **whole},
            "f": {"bufferView": "faces", "componentType": 5123, "count": 12, "type": "SCALAR", **whole},
        },
        "bufferViews": views,
        "buffers": {"b": {"byteLength": len(blob), "type": "arraybuffer", "uri": "a.bin"}},
    }
    (tmp_path / "a.bin").write_bytes(blob)
    (tmp_path / "a.gltf").write_text(json.dumps(document))
    found = bring_in(tmp_path / "a.gltf", tmp_path / "s")
    assert np.allclose(found["low"], [5, -1, 0]) and np.allclose(found["high"], [8, 0, 2])


@pytest.mark.parametrize(("visible", "length"), [(False, 3), (True, 10), (None, 10)])
def test_invisible_nodes_hide_what_is_below(visible: bool | None, length: float, tmp_path: Path) -> None:
    extension = {} if visible is None else {"extensions": {"KHR_node_visibility": {"visible": visible}}}
    far = {"mesh": 0, "translation": [7, 0, 0]}
    nodes = [{"children": [1, 2]}, {"mesh": 0}, {"children": [3], **extension}, far]
    write_gltf(tmp_path / "a.gltf", POINTS, FACES, nodes, extensionsRequired=["KHR_node_visibility"])
    assert np.allclose(size(bring_in(tmp_path / "a.gltf", tmp_path / "s")), [length, 1, 2])


def test_where_all_is_invisible_all_is_shown(tmp_path: Path) -> None:
    hidden = {"mesh": 0, "extensions": {"KHR_node_visibility": {"visible": False}}}
    write_gltf(tmp_path / "a.gltf", POINTS, FACES, [hidden])
    assert np.allclose(size(bring_in(tmp_path / "a.gltf", tmp_path / "s")), [3, 1, 2])


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize(("name", "kind"), [("EXT_texture_avif", "AVIF"), ("MSFT_texture_dds", "DDS")])
def test_images_of_extensions(
    name: str, kind: str, required: bool, render: Callable[..., Bundle], tmp_path: Path
) -> None:
    encoded = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 60, 20)).save(encoded, kind)
    uri = f"data:image/x;base64,{base64.b64encode(encoded.getvalue()).decode()}"
    primitive = {"attributes": {"POSITION": 0}, "indices": 1, "material": 0}
    textured = {"baseColorTexture": {"index": 0}}
    more = {
        "images": [{"uri": uri}],
        "textures": [{"extensions": {name: {"source": 0}}}],
        "materials": [{"pbrMetallicRoughness": textured}],
        "meshes": [{"primitives": [primitive]}],
        "extensionsUsed": [name],
        "extensionsRequired": [name] if required else [],
    }
    write_gltf(tmp_path / "a.gltf", POINTS, FACES, [{"mesh": 0}], **more)
    bundle = render(tmp_path / "a.gltf")
    albedo = np.concatenate([view.albedo[view.depth > 0] for view in bundle.views()]).astype(int)
    assert np.abs(albedo - (200, 60, 20)).max() <= 6
    assert bundle.meta["missing_textures"] == bundle.meta["notes"] == []
