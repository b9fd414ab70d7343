"""PLY files whose color Blender's importer drops or misreads.

Scanning tools write `comment TextureFile NAME`, once or for several `texnumber`s, and texture coordinates for
each vertex or each corner of a face, or a color for each corner (MeshLab); CAD tools color whole faces, or
let them name a material; others call a vertex's color `r g b` or `diffuse_red`, or write it as ushort or as
double from 0 to 255. Such files are read here; every other PLY is Blender's.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from render.failures import DAMAGE, FailureClass, ModelFailure
from render.importing.ply_elements import Element, Lists, read_elements
from render.importing.polygons import simple
from render.importing.rawmesh import RawMaterial, RawMesh, find_texture
from render.srgb import are_bytes, srgb_to_linear

_HEADER = 65536
_LARGEST = 64 << 20  # bytes that are read again
_TEXTURE = re.compile(rb"^comment[ \t]+TextureFile[ \t]+([^\r\n]+)", re.MULTILINE | re.IGNORECASE)
_PROPERTY = re.compile(rb"^[ \t]*property[ \t]+(\w+)[ \t]+(\w+)[ \t]*\r?$", re.MULTILINE)
_COLORS = (
    (b"red", b"green", b"blue"),
    (b"r", b"g", b"b"),
    (b"diffuse_red", b"diffuse_green", b"diffuse_blue"),
    (b"ambient_red", b"ambient_green", b"ambient_blue"),
)
_OF_CORNERS = re.compile(rb"^[ \t]*property[ \t]+list[ \t]+\w+[ \t]+\w+[ \t]+color[ \t]*$", re.MULTILINE)
_OF_A_MATERIAL = re.compile(rb"^[ \t]*property[ \t]+\w+[ \t]+material_index[ \t]*$", re.MULTILINE)
Names = tuple[str, str, str]
_TEXCOORDS = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texcoord_u", "texcoord_v"))
_CORNERS = ("vertex_indices", "vertex_index")
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
    said = {match.group(1): match.group(2) for match in _ELEMENT.finditer(header)}
    vertex, face = said.get(b"vertex", b""), said.get(b"face", b"")
    has_places = any(word in vertex + face for word in (b" s\n", b" u\n", b"texture_u", b"texcoord"))
    images = [find_texture(_text(name), path.parent) for name in _TEXTURE.findall(header) if has_places]
    of_vertices = _color_names({name: kind for kind, name in _PROPERTY.findall(vertex)})
    of_faces = _color_names({name: kind for kind, name in _PROPERTY.findall(face)})
    unread = of_vertices is not None and not _is_usual(of_vertices, vertex)
    painted = _OF_CORNERS.search(face) or (b"material" in said and _OF_A_MATERIAL.search(face))
    if not images and not unread and of_faces is None and not painted:
        return None
    try:
        elements = read_elements(path)
        if any(map(Path.is_file, images)):
            return _textured(path.stem, elements, images)
        colored = _colored(path.stem, elements, of_vertices, of_faces)
        if colored is None and images and of_vertices is None:
            return _textured(path.stem, elements, images)  # whose image is counted as missing
        return colored
    except DAMAGE:
        return None  # Blender's importer reports what is wrong


def whole(path: Path, polygons: int) -> RawMesh | None:
    """The model, of which an importer found `polygons`, with all that can be faces; None where it found them.

    Blender drops polygons that name a vertex twice.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER).partition(b"end_header")[0]
    said = re.search(rb"^[ \t]*element[ \t]+face[ \t]+(\d{1,20})", header, re.MULTILINE)
    if said is None or int(said[1]) <= polygons or path.stat().st_size > _LARGEST:
        return None
    try:
        elements = read_elements(path)
        names = _color_names({name.encode(): b"" for name in elements["vertex"].scalars})
        vertices, lists, welded = _polygons(elements)
        found = simple(welded, lists.sizes, len(vertices))
        if found is None or len(found.sizes) <= polygons:
            return None
        corners = lists.values.astype(np.int64)
        channels = [elements["vertex"].scalars[name] for name in names or ()]
        colors = srgb_to_linear(_fractions(channels)[corners]) if channels else None
        normals = _normals(elements["vertex"], corners)
        return RawMesh(path.stem, vertices, welded, lists.sizes, colors=colors, normals=normals)
    except DAMAGE:
        return None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape").strip()


def _color_names(types: dict[bytes, bytes]) -> Names | None:
    """The properties that are a color, by whichever names."""
    spelled = {name.lower(): name.decode() for name in types}
    for usual in _COLORS:
        if all(name in spelled for name in usual):
            red, green, blue = (spelled[name] for name in usual)
            return red, green, blue
    return None


def _is_usual(names: Names, properties: bytes) -> bool:
    """Whether Blender reads these colors of vertices as they are meant, by their names and types."""
    types = {name: kind for kind, name in _PROPERTY.findall(properties)}
    return names == tuple(name.decode() for name in _COLORS[0]) and all(
        types[name.encode()] in _READ for name in names
    )


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


def _polygons(elements: dict[str, Element]) -> tuple[np.ndarray, Lists, np.ndarray]:
    """Distinct positions (V, 3), the polygons of the file's vertices, and their corners (C,) among those."""
    vertex, face = elements["vertex"], elements["face"]
    polygons = next(face.lists[name] for name in _CORNERS if name in face.lists)
    positions = np.stack([vertex.scalars[axis] for axis in "xyz"], 1).astype(float)
    vertices, where = np.unique(positions, axis=0, return_inverse=True)
    return vertices, polygons, where.ravel()[polygons.values.astype(np.int64)]


def _textured(name: str, elements: dict[str, Element], images: list[Path]) -> RawMesh:
    """The polygons with their images."""
    vertices, polygons, welded = _polygons(elements)
    uv = _texcoords(elements["vertex"], elements["face"], polygons.values.astype(np.int64))
    slots = tuple(RawMaterial(image.name, texture=image) for image in images)
    number = elements["face"].scalars.get("texnumber", np.zeros(len(polygons.sizes)))
    number = np.clip(number.astype(np.int64), 0, len(images) - 1)
    return RawMesh(name, vertices, welded, polygons.sizes, uv=uv, slots=slots, slot_of_face=number)


def _colored(
    name: str, elements: dict[str, Element], of_vertices: Names | None, of_faces: Names | None
) -> RawMesh | None:
    """The polygons with the color of their vertices, their own or their corners'; None where Blender does.

    Vertices that are white throughout say nothing beside faces that have a color.
    """
    vertices, polygons, welded = _polygons(elements)
    vertex, sizes, corners = elements["vertex"], polygons.sizes, polygons.values.astype(np.int64)
    own = _of_polygons(elements, of_faces, sizes)
    normals = _normals(vertex, corners)
    if of_vertices is not None:
        channels = [vertex.scalars[channel] for channel in of_vertices]
        display = _fractions(channels)
        if own is None or display.min(initial=1) < 1:
            if _is_read(channels, of_vertices):
                return None
            own = display[corners]
    if own is None:
        return None
    return RawMesh(name, vertices, welded, sizes, colors=srgb_to_linear(own), normals=normals)


def _of_polygons(
    elements: dict[str, Element], of_faces: Names | None, sizes: np.ndarray
) -> np.ndarray | None:
    """Display values (C, 3) that the faces have, or their corners, or the materials that they name."""
    face, material = elements["face"], elements.get("material")
    if of_faces is not None:
        return np.repeat(_fractions([face.scalars[channel] for channel in of_faces]), sizes, 0)
    if "color" in face.lists:
        values = face.lists["color"].values
        rows = _fractions(list(values.reshape(-1, 3).T))
        return rows if len(rows) == sizes.sum() else np.repeat(rows, sizes, 0)
    if material is None or "material_index" not in face.scalars:
        return None
    names = _color_names({name.encode(): b"" for name in material.scalars})
    if names is None:
        return None
    rows = _fractions([material.scalars[channel] for channel in names])
    return np.repeat(rows[face.scalars["material_index"].astype(np.int64)], sizes, 0)


def _texcoords(vertex: Element, face: Element, corners: np.ndarray) -> np.ndarray:
    """(C, 2) float: those of the corners, or of their vertices."""
    if "texcoord" in face.lists and len(face.lists["texcoord"].values) == 2 * len(corners):
        return face.lists["texcoord"].values.reshape(-1, 2).astype(float)
    u, v = next(names for names in _TEXCOORDS if all(name in vertex.scalars for name in names))
    return np.stack([vertex.scalars[u], vertex.scalars[v]], 1).astype(float)[corners]


def _is_read(channels: list[np.ndarray], names: Names) -> bool:
    """Whether Blender reads these colors as they are meant: by their usual names, in their type's range."""
    largest, dtype = max(values.max(initial=0) for values in channels), channels[0].dtype.str
    in_range = ("f" in dtype and largest <= 1) or ("u2" in dtype and largest > 255) or "u1" in dtype
    return names[0] == "red" and in_range


def _fractions(channels: list[np.ndarray]) -> np.ndarray:
    """Display values (V, 3) float from 0 to 1 of colors in any type; larger ones of 0..255 or 0..65535.

    A byte with a sign holds one without.
    """
    channels = [values.view(np.uint8) if values.dtype == np.int8 else values for values in channels]
    values = np.nan_to_num(np.stack(channels, 1).astype(float), nan=0.8)
    kind, width, largest = channels[0].dtype.kind, channels[0].dtype.itemsize, values.max(initial=0)
    if kind == "f" and not are_bytes(values):
        return np.clip(values, 0, 1)
    return np.clip(values / (255 if width == 1 or largest <= 255 else 65535), 0, 1)


def _normals(vertex: Element, corners: np.ndarray) -> np.ndarray | None:
    """Those of the corners (C, 3), unit; None where the file has none that are usable."""
    if not all(name in vertex.scalars for name in ("nx", "ny", "nz")):
        return None
    normals = np.stack([vertex.scalars[name] for name in ("nx", "ny", "nz")], 1).astype(float)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return (normals / length)[corners] if (length > 0).all() and np.isfinite(length).all() else None
