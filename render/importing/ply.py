"""PLY files whose color Blender's importer drops or misreads.

Scanning tools write `comment TextureFile NAME` and texture coordinates for each vertex or each corner of a
face (MeshLab), CAD tools color whole faces, others call a vertex's color `r g b` or `diffuse_red`, or write
it as ushort or as double from 0 to 255. Such files are read with trimesh; every other PLY is Blender's.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from trimesh.exchange.ply import load_ply

from render.failures import FailureClass, ModelFailure
from render.importing.rawmesh import RawMaterial, RawMesh, find_texture
from render.srgb import srgb_to_linear

_HEADER = 65536
_TEXTURE = re.compile(rb"^comment[ \t]+TextureFile[ \t]+([^\r\n]+)", re.MULTILINE | re.IGNORECASE)
_PROPERTY = re.compile(rb"^[ \t]*property[ \t]+(\w+)[ \t]+(\w+)[ \t]*\r?$", re.MULTILINE)
_COLORS = (
    (b"red", b"green", b"blue"),
    (b"r", b"g", b"b"),
    (b"diffuse_red", b"diffuse_green", b"diffuse_blue"),
)
_READ = (b"uchar", b"uint8")
"""Types of a color that Blender reads as it is meant."""
_COUNT = re.compile(
    rb"^element\s+\w+\s+(\d{1,20})[^\n]*\n((?:(?!element|end_header)[^\n]*\n)*)", re.MULTILINE
)
_ELEMENT = re.compile(rb"^element\s+(\w+)\s+\d+[^\n]*\n((?:(?!element|end_header)[^\n]*\n)*)", re.MULTILINE)


def colored_ply(path: Path) -> RawMesh | None:
    """The model with what Blender would drop of it, or None where that is nothing or the file is damaged."""
    with path.open("rb") as file:
        header = file.read(_HEADER).partition(b"end_header")[0].replace(b"\r\n", b"\n") + b"end_header"
    elements = {match.group(1): match.group(2) for match in _ELEMENT.finditer(header)}
    vertex, face = elements.get(b"vertex", b""), elements.get(b"face", b"")
    texture = _TEXTURE.search(header)
    textured = texture is not None and any(
        word in vertex + face for word in (b" s\n", b" u\n", b"texture_u", b"texcoord")
    )
    names = _unread_color({name: kind for kind, name in _PROPERTY.findall(vertex)})
    if not textured and names is None and not (b" red" in face and b" red" not in vertex):
        return None
    image = find_texture(_text(texture[1]), path.parent) if textured and texture else None
    try:
        with path.open("rb") as file:
            return _raw(path.stem, load_ply(file, skip_materials=True), image, names)
    except (ValueError, IndexError, KeyError, TypeError):
        return None  # Blender's importer reports what is wrong


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape").strip()


def _unread_color(types: dict[bytes, bytes]) -> tuple[str, str, str] | None:
    """The vertex properties that are a color which Blender reads wrongly or not at all, if there are such."""
    spelled = {name.lower(): name for name in types}
    for usual in _COLORS:
        if all(name in spelled for name in usual):
            red, green, blue = names = tuple(spelled[name] for name in usual)
            read = names == _COLORS[0] and all(types[name] in _READ for name in names)
            return None if read else (red.decode(), green.decode(), blue.decode())
    return None


def require_elements(path: Path) -> None:
    """Raise ModelFailure `invalid` where the header counts more values than the file has room for.

    Blender allocates what the header says. Each value takes a byte at least, in text a digit and a space.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER).partition(b"end_header")[0]
    wanted = 0
    for match in _COUNT.finditer(header.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + b"end_header"):
        wanted += int(match[1]) * max(1, match[2].count(b"property"))
    room = path.stat().st_size
    if wanted > room:
        raise ModelFailure(
            FailureClass.INVALID,
            f"{path.name}: the header counts {wanted} values or more, the file has {room} bytes",
        )


def _raw(
    name: str, found: dict[str, Any], image: Path | None, colors: tuple[str, str, str] | None
) -> RawMesh | None:
    """`found` as trimesh reads it: `faces` (F, 3 or 4), `vertices`, `visual` with coordinates, `face_colors`
    bytes."""
    faces = np.asarray(found["faces"], np.int64)
    vertices, where = np.unique(np.asarray(found["vertices"], float), axis=0, return_inverse=True)
    corners, sizes = where.ravel()[faces.ravel()], np.full(len(faces), faces.shape[1])
    if image is not None:
        uv = np.asarray(found["visual"].uv, float)[faces.ravel()]
        return RawMesh(name, vertices, corners, sizes, uv=uv, material=RawMaterial(image.name, texture=image))
    if colors is not None:
        data = found["metadata"]["_ply_raw"]["vertex"]["data"]
        if _is_read([np.asarray(data[name]) for name in colors], colors):
            return None
        linear = srgb_to_linear(_fractions([np.asarray(data[name]).ravel() for name in colors]))
        normals = _normals(data, faces)
        return RawMesh(name, vertices, corners, sizes, colors=linear[faces.ravel()], normals=normals)
    bytes_ = np.asarray(found["face_colors"], float).reshape(len(faces), -1)[:, :3]
    return RawMesh(name, vertices, corners, sizes, colors=np.repeat(srgb_to_linear(bytes_ / 255), sizes, 0))


def _is_read(channels: list[np.ndarray], names: tuple[str, str, str]) -> bool:
    """Whether Blender reads these colors as they are meant: by their usual names, in their type's range."""
    largest, dtype = max(values.max(initial=0) for values in channels), channels[0].dtype.str
    in_range = ("f" in dtype and largest <= 1) or ("u2" in dtype and largest > 255)
    return names[0] == "red" and in_range


def _fractions(channels: list[np.ndarray]) -> np.ndarray:
    """Display values (V, 3) float from 0 to 1 of colors in any type; larger ones of 0..255 or 0..65535."""
    values = np.nan_to_num(np.stack(channels, 1).astype(float), nan=0.8)
    kind, width, largest = channels[0].dtype.kind, channels[0].dtype.itemsize, values.max(initial=0)
    if kind == "f" and largest <= 1:
        return np.clip(values, 0, 1)
    return np.clip(values / (255 if width == 1 or largest <= 255 else 65535), 0, 1)


def _normals(data: Any, faces: np.ndarray) -> np.ndarray | None:
    """Those of the corners (C, 3), unit; None where the file has none that are usable."""
    there = data.dtype.names if isinstance(data, np.ndarray) else data  # binary, or text
    if not all(name in there for name in ("nx", "ny", "nz")):
        return None
    normals = np.stack([np.asarray(data[name], float).ravel() for name in ("nx", "ny", "nz")], 1)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return (normals / length)[faces.ravel()] if (length > 0).all() and np.isfinite(length).all() else None
