"""Compressed glTF: buffers by meshoptimizer, Basis textures; and plain files, which stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import meshoptimizer
import numpy as np
from PIL import Image

from render.importing.gltf import plain_gltf
from tests.helpers.gltf_files import glb
from tests.helpers.importing import attempt, bring_in, shared


def _meshopt(**changes: Any) -> tuple[dict[str, Any], bytes]:
    """A box whose positions are quantized to 16 bits and compressed, with 16-bit compressed indices."""
    positions = np.zeros((8, 4), "<u2")
    positions[:, :3] = np.array([[x, y, z] for x in (0, 1) for y in (0, 2) for z in (0, 3)]) * 1000
    triangles = np.array([0, 1, 3, 0, 3, 2, 4, 6, 7, 4, 7, 5, 0, 4, 5, 0, 5, 1, 2, 3, 7, 2, 7, 6], "<u4")
    attributes = bytes(meshoptimizer.encode_vertex_buffer(positions.view(np.uint8).reshape(8, 8), 8, 8))
    indices = bytes(meshoptimizer.encode_index_buffer(triangles, len(triangles), 8))
    binary = attributes + bytes(-len(attributes) % 4) + indices
    start = len(binary) - len(indices)

    def view(offset: int, length: int, stride: int, count: int, mode: str, at: int) -> dict[str, Any]:
        inner = {
            "buffer": 0,
            "byteOffset": offset,
            "byteLength": length,
            "byteStride": stride,
            "count": count,
        }
        outer = {"buffer": 1, "byteOffset": at, "byteLength": stride * count}
        outer |= {"byteStride": stride} if mode == "ATTRIBUTES" else {}
        return outer | {"extensions": {"EXT_meshopt_compression": inner | {"mode": mode}}}

    names = ["EXT_meshopt_compression", "KHR_mesh_quantization"]
    document = {
        "asset": {"version": "2.0"},
        "extensionsUsed": names,
        "extensionsRequired": names,
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "scale": [0.001, 0.001, 0.001]}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "buffers": [
            {"byteLength": len(binary)},
            {"byteLength": 112, "extensions": {"EXT_meshopt_compression": {"fallback": True}}},
        ],
        "bufferViews": [
            view(0, len(attributes), 8, 8, "ATTRIBUTES", 0),
            view(start, len(indices), 2, len(triangles), "TRIANGLES", 64),
        ],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5123,
                "count": 8,
                "type": "VEC3",
                "min": [0, 0, 0],
                "max": [1000, 2000, 3000],
            },
            {"bufferView": 1, "componentType": 5123, "count": len(triangles), "type": "SCALAR"},
        ],
        **changes,
    }
    return document, binary


def test_meshopt_compression(tmp_path: Path) -> None:
    (tmp_path / "box.glb").write_bytes(glb(*_meshopt()))
    found = bring_in(tmp_path / "box.glb", tmp_path / "s")
    assert found["faces"] == 8
    assert np.allclose(found["low"], [0, -3, 0], atol=1e-6) and np.allclose(
        found["high"], [1, 0, 2], atol=1e-6
    )


def test_damaged_meshopt_data_is_invalid(tmp_path: Path) -> None:
    document, binary = _meshopt()
    (tmp_path / "box.glb").write_bytes(glb(document, bytes(len(binary))))
    outcome = attempt(tmp_path / "box.glb", tmp_path / "s")
    assert outcome.kind == "invalid" and "EXT_meshopt_compression" in (outcome.message or "")


def test_basis_textures_are_dropped_and_named(tmp_path: Path) -> None:
    """One texture has a plain image to fall back on, beside the model; the other has nothing."""
    Image.new("RGB", (2, 2)).save(tmp_path / "plain image.png")
    document, binary = _meshopt()
    document["extensionsUsed"].append("KHR_texture_basisu")
    document["extensionsRequired"].append("KHR_texture_basisu")
    document["images"] = [{"uri": "a.ktx2"}, {"uri": "plain%20image.png"}]
    basis = {"KHR_texture_basisu": {"source": 0}}
    document["textures"] = [{"extensions": basis}, {"source": 1, "extensions": dict(basis)}]
    factor = [0.5, 0.25, 0.125, 1]
    document["materials"] = [
        {"name": name, "pbrMetallicRoughness": {"baseColorTexture": {"index": i}, "baseColorFactor": factor}}
        for i, name in enumerate(("lost", "kept"))
    ]
    primitive = document["meshes"][0]["primitives"][0]
    document["meshes"][0]["primitives"] = [primitive | {"material": 0}, primitive | {"material": 1}]
    (tmp_path / "box.glb").write_bytes(glb(document, binary))
    found = bring_in(tmp_path / "box.glb", tmp_path / "s")
    assert len(found["notes"]) == 1 and "1 textures missing" in found["notes"][0]
    assert np.allclose(found["bases"]["lost"][:3], factor[:3]) and found["loaded"] == 1


def test_plain_files_are_handed_on_untouched(tmp_path: Path) -> None:
    path = shared("models", "draco/CesiumMilkTruck/glTF/CesiumMilkTruck.gltf")
    assert plain_gltf(path, tmp_path) == (path, []) and not list(tmp_path.iterdir())
