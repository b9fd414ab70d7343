"""PLY files whose color Blender's importer drops: colors of faces, and textures named in a comment.

Scanning tools write `comment TextureFile NAME` and texture coordinates for each vertex or each corner of a
face (MeshLab), CAD tools color whole faces. Such files are read with trimesh; every other PLY is
Blender's.
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
_TEXTURE = re.compile(rb"^comment\s+TextureFile\s+(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
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
    if not textured and not (b" red" in face and b" red" not in vertex):
        return None
    image = (
        find_texture(texture.group(1).decode("utf-8", "replace"), path.parent)
        if textured and texture
        else None
    )
    try:
        with path.open("rb") as file:
            return _raw(path.stem, load_ply(file, skip_materials=True), image)
    except (ValueError, IndexError, KeyError, TypeError):
        return None  # Blender's importer reports what is wrong


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


def _raw(name: str, found: dict[str, Any], image: Path | None) -> RawMesh | None:
    """`found` as trimesh reads it: `faces` (F, 3 or 4), `vertices`, `visual` with coordinates, `face_colors`
    bytes."""
    faces = np.asarray(found["faces"], np.int64)
    vertices, where = np.unique(np.asarray(found["vertices"], float), axis=0, return_inverse=True)
    corners, sizes = where.ravel()[faces.ravel()], np.full(len(faces), faces.shape[1])
    if image is not None:
        uv = np.asarray(found["visual"].uv, float)[faces.ravel()]
        return RawMesh(name, vertices, corners, sizes, uv=uv, material=RawMaterial(image.name, texture=image))
    bytes_ = np.asarray(found["face_colors"], float).reshape(len(faces), -1)[:, :3]
    return RawMesh(name, vertices, corners, sizes, colors=np.repeat(srgb_to_linear(bytes_ / 255), sizes, 0))
