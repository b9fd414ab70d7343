"""glTF that Blender's importer refuses or misreads, rewritten into a plain GLB below the scratch folder.

EXT_meshopt_compression is decoded (with the meshoptimizer package). KHR_texture_basisu has no maintained
decoder under a known license on PyPI: such a texture falls back to its plain image where the file has one,
else it is dropped and named in the notes, and the model is kept. Material extensions that a file
requires and Blender does not know are ignored likewise. A sheared or flat matrix becomes two nodes,
nodes without a scene get one, invisible ones lose their meshes, AVIF and DDS images are named as others are,
bytes after a GLB's end are cut off. Every other file is passed on unchanged.

Specifications: github.com/KhronosGroup/glTF,
extensions/2.0/{Vendor/EXT_meshopt_compression,Khronos/KHR_texture_basisu}.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import meshoptimizer
import numpy as np

from render.failures import DAMAGE, FailureClass, ModelFailure
from render.importing import gltf_nodes

MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
BASISU = "KHR_texture_basisu"
_IMAGES = ("EXT_texture_avif", "MSFT_texture_dds")
_DROPPABLE = (
    "KHR_materials_",
    "EXT_materials_",
    "ADOBE_materials_",
    "MSFT_lod",
    "KHR_xmp",
    *_IMAGES,
    "KHR_node_visibility",
    "CESIUM_RTC",  # a place on Earth: the shape is the same without
)
_KNOWN = frozenset(
    {
        "KHR_materials_pbrSpecularGlossiness",
        "KHR_materials_unlit",
        "KHR_materials_clearcoat",
        "KHR_materials_variants",
        "KHR_materials_emissive_strength",
        "KHR_materials_transmission",
        "KHR_materials_specular",
        "KHR_materials_sheen",
        "KHR_materials_ior",
        "KHR_materials_volume",
        "KHR_materials_anisotropy",
    }
)
_FIRST_VERSION = re.compile(rb'"version"\s*:\s*"1\.')
_LARGEST = 1 << 31  # bytes that one decoded view may have

Json = dict[str, Any]


def plain_gltf(path: Path, scratch: Path) -> tuple[Path, list[str]]:
    """A glTF file that Blender accepts: `path` itself, or a rewritten GLB below `scratch`; and notes on what
    was lost.

    Raises ModelFailure where the compressed data is damaged. A file that is no glTF at all is left to
    Blender, for its own error message.
    """
    parsed = parse(path)
    if parsed is None:
        return path, []
    document, binary = parsed
    stuck = _stuck(document)
    if not any([stuck, _repaired(document), _has_more_than_it_says(path)]):
        return path, []
    notes: list[str] = []
    try:
        data = _flatten(document, read_buffers(document, binary, path))
        _embed_images(document, data, path)
        notes += _drop_basisu(document)
        _forget(document, stuck)
        plain = scratch / "plain.glb"
        plain.write_bytes(glb(document, data))
    except DAMAGE as error:
        if not stuck:
            return path, []
        raise ModelFailure(
            FailureClass.INVALID, f"{path.name}: {', '.join(stuck)} cannot be decoded: {error!r}"
        ) from error
    notes += [f"{name} is ignored" for name in stuck if name.startswith(_DROPPABLE) and name not in _IMAGES]
    return plain, notes


def moved_gltf(path: Path, scratch: Path, offset: np.ndarray) -> Path | None:
    """A GLB below `scratch` whose scene is moved by -`offset` (3,), in glTF's axes; None if impossible.

    Large translations are taken off every node, in float64, so that none is left in a local matrix. Animated
    nodes, whose channels hold local translations, keep theirs.
    """
    parsed = parse(path)
    if parsed is None:
        return None
    document, binary = parsed
    stuck = _stuck(document)
    try:
        if not gltf_nodes.move(document, offset):
            return None
        data = _flatten(document, read_buffers(document, binary, path))
        _embed_images(document, data, path)
        _drop_basisu(document)
        _forget(document, stuck)
        moved = scratch / "moved.glb"
        moved.write_bytes(glb(document, data))
    except DAMAGE:
        return None
    return moved


def parse(path: Path) -> tuple[Json, bytes] | None:
    """The JSON document and the binary chunk, or None where the file is damaged."""
    raw = path.read_bytes()
    binary = b""
    if raw[:4] == b"glTF":
        length = int.from_bytes(raw[12:16], "little")
        binary = raw[20 + length + 8 :]
        raw = raw[20 : 20 + length]
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return (document, binary) if isinstance(document, dict) else None


def is_first_version(path: Path) -> bool:
    """Whether a file is glTF 1.0, which Blender does not read."""
    raw = path.read_bytes()
    if raw[:4] == b"glTF":
        return raw[4:8] == b"\1\0\0\0"
    parsed = parse(path) if _FIRST_VERSION.search(raw) else None  # a large text is parsed once
    asset = parsed[0].get("asset") if parsed else None
    return isinstance(asset, dict) and str(asset.get("version", "")).startswith("1.")


def _stuck(document: Json) -> list[str]:
    """The extensions of this document that Blender refuses and this module handles."""
    used = {*_names(document, "extensionsUsed"), *_names(document, "extensionsRequired")}
    required = _names(document, "extensionsRequired")
    ours = [name for name in (*MESHOPT, BASISU) if name in used]
    return ours + [n for n in required if n.startswith(_DROPPABLE) and n not in _KNOWN]


def _repaired(document: Json) -> bool:
    """Whether the document had what Blender misreads or does not show, which it has no longer."""
    try:
        repairs = (gltf_nodes.split_matrices, gltf_nodes.show_all, gltf_nodes.hide, _name_images)
        return any([repair(document) for repair in repairs])
    except DAMAGE:  # for Blender, which says what is wrong
        return False


def _name_images(document: Json) -> bool:
    """Let textures with an image by an extension alone have it by themselves; whether any does.

    Blender refuses or ignores these extensions, and reads the images.
    """
    found = False
    for texture in document.get("textures", []):
        for one in (texture.get("extensions", {}).get(name, {}) for name in _IMAGES):
            if "source" in one and "source" not in texture:
                texture["source"] = one["source"]
                found = True
    return found


def _has_more_than_it_says(path: Path) -> bool:
    """Whether bytes follow the end of a GLB, which Blender takes for damage."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[:4] == b"glTF" and int.from_bytes(head[8:], "little") < path.stat().st_size


def _names(document: Json, key: str) -> list[str]:
    value = document.get(key)
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def read_buffers(document: Json, binary: bytes, path: Path) -> list[bytes]:
    """Every buffer's bytes; a meshopt fallback buffer without data is empty."""
    found = []
    for index, buffer in enumerate(document.get("buffers", [])):
        uri = buffer.get("uri")
        if uri is not None:
            found.append(_fetch(uri, path))
        else:
            fallback = any(name in buffer.get("extensions", {}) for name in MESHOPT)
            found.append(binary if index == 0 and not fallback else b"")
    return found


def _fetch(uri: str, path: Path) -> bytes:
    """The bytes of a data URI or a relative path; ValueError if there are none."""
    if uri.startswith("data:"):
        try:
            return base64.b64decode(uri.partition(",")[2])
        except binascii.Error as error:
            raise ValueError(f"data URI: {error}") from error
    file = path.parent / unquote(uri)
    if not file.is_file():  # also a device or a web address
        raise ValueError(f"{uri[:80]} is missing beside the model")
    return file.read_bytes()


def _flatten(document: Json, buffers: list[bytes]) -> bytearray:
    """Decode each buffer view into one common buffer, and point the document's views to it."""
    data = bytearray()
    for view in document.get("bufferViews", []):
        extensions = view.get("extensions", {})
        compressed = next((extensions.pop(name) for name in MESHOPT if name in extensions), None)
        content = _slice(view, buffers) if compressed is None else _decode(compressed, buffers)
        if not extensions:
            view.pop("extensions", None)
        view |= {"buffer": 0, "byteOffset": _append(data, content), "byteLength": len(content)}
    return data


def _append(data: bytearray, content: bytes) -> int:
    data.extend(b"\0" * (-len(data) % 8))
    offset = len(data)
    data.extend(content)
    return offset


def _slice(view: Json, buffers: list[bytes]) -> bytes:
    start = view.get("byteOffset", 0)
    content = buffers[view["buffer"]][start : start + view["byteLength"]]
    if len(content) != view["byteLength"]:
        raise ValueError("a buffer view reaches beyond its buffer")
    return content


def _decode(compressed: Json, buffers: list[bytes]) -> bytes:
    """One meshopt-compressed view. Indices are decoded as 32 bits and narrowed: the package's 16-bit path is
    broken."""
    count, stride, mode = compressed["count"], compressed["byteStride"], compressed["mode"]
    if not 0 < count * stride <= _LARGEST:
        raise ValueError(f"a view of {count} x {stride} bytes")
    source = np.frombuffer(_slice(compressed, buffers), np.uint8)
    if mode == "ATTRIBUTES":
        decoded = meshoptimizer.decode_vertex_buffer(count, stride, source, np.dtype((np.void, stride)))
        return _unfilter(decoded, compressed.get("filter", "NONE"), count, stride).tobytes()
    indices = {
        "TRIANGLES": meshoptimizer.decode_index_buffer,
        "INDICES": meshoptimizer.decode_index_sequence,
    }[mode]
    return indices(count, 4, source).astype("<u2" if stride == 2 else "<u4").tobytes()


def _unfilter(decoded: np.ndarray, name: str, count: int, stride: int) -> np.ndarray:
    filters = {
        "OCTAHEDRAL": meshoptimizer.decode_filter_oct,
        "QUATERNION": meshoptimizer.decode_filter_quat,
        "EXPONENTIAL": meshoptimizer.decode_filter_exp,
    }
    return decoded if name == "NONE" else filters[name](decoded, count, stride)


def _embed_images(document: Json, data: bytearray, path: Path) -> None:
    """Embed images: beside the model, they would not be found from the scratch folder. Missing ones are left
    for Blender to report."""
    for image in document.get("images", []):
        uri = image.get("uri", "data:")
        if uri.startswith("data:"):
            continue
        try:
            content = _fetch(uri, path)
        except ValueError:
            continue
        view = {"buffer": 0, "byteOffset": _append(data, content), "byteLength": len(content)}
        document.setdefault("bufferViews", []).append(view)
        del image["uri"]
        image["bufferView"] = len(document["bufferViews"]) - 1
        image.setdefault("mimeType", "image/png" if content[:4] == b"\x89PNG" else "image/jpeg")


def _drop_basisu(document: Json) -> list[str]:
    """Remove KHR_texture_basisu from textures, and textures left without an image from materials."""
    lost = set()
    for index, texture in enumerate(document.get("textures", [])):
        if texture.get("extensions", {}).pop(BASISU, None) is not None and "source" not in texture:
            lost.add(index)
    document["materials"] = [_without(material, lost) for material in document.get("materials", [])]
    if not lost:
        return []
    return [
        f"{len(lost)} textures missing: Basis Universal (KTX 2) cannot be decoded here; plain colors stay"
    ]


def _without(value: Any, lost: set[int]) -> Any:
    """A copy of a material's JSON without the texture references to `lost` textures."""
    if isinstance(value, list):
        return [_without(item, lost) for item in value]
    if not isinstance(value, dict):
        return value
    gone = {
        k
        for k, v in value.items()
        if k.endswith("Texture") and isinstance(v, dict) and v.get("index") in lost
    }
    return {k: _without(v, lost) for k, v in value.items() if k not in gone}


def _forget(document: Json, names: list[str]) -> None:
    for key in ("extensionsUsed", "extensionsRequired"):
        if key in document:
            document[key] = [name for name in _names(document, key) if name not in names]


def glb(document: Json, data: bytes | bytearray) -> bytes:
    """A binary glTF file; the document's one buffer becomes `data`."""
    document["buffers"] = [{"byteLength": len(data)}]
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary = bytes(data) + b"\0" * (-len(data) % 4)
    chunks = (
        struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    )
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
