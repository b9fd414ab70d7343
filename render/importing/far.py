"""Models far from their origin (map meters, Earth-centered nodes), moved to it before Blender reads them.

Blender keeps positions in float32: 4,000 km from the origin they lie on a grid of half a meter. `moved`
writes a copy of the file, below the scratch folder, from whose coordinates an offset was subtracted in
float64. It can for text (OBJ, ascii PLY and STL), for PLY with doubles and for the nodes of glTF and USD. The
other formats stay as they are, and `coarseness` says what that costs. Formats that Blender does not read need
none of this: `rawmesh.build` moves them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np

from render.failures import DAMAGE
from render.importing import gltf, obj, ply_elements, usd
from render.importing.rawmesh import Y_UP, far_offset

_OBJ_VERTEX = re.compile(rb"^([ \t]*v[ \t]+)([^\s]+)[ \t]+([^\s]+)[ \t]+([^\s]+)", re.MULTILINE)
_STL_VERTEX = re.compile(rb"^([ \t]*vertex[ \t]+)([^\s]+)[ \t]+([^\s]+)[ \t]+([^\s]+)", re.MULTILINE)


def scene_offset() -> np.ndarray:
    """(3,) float64: the middle of the scene if it lies too far from the origin for float32, else zero."""
    box = _scene_box()
    return np.zeros(3) if box is None else far_offset(*box)


def coarseness() -> str:
    """How much of its shape a scene that stays far from its origin lost."""
    box = _scene_box()
    if box is None or not far_offset(*box).any():
        return ""
    low, high = box
    size = float((high - low).max())
    step = float(np.spacing(np.abs([low, high]).max().astype(np.float32)))
    return (
        f"lies {np.abs((low + high) / 2).max() / size:.3g} times its size from the origin: Blender keeps its "
        f"shape to {step / 2 / size:.1g} of its size"
    )


def moved(path: Path, kind: str, scratch: Path, offset: np.ndarray) -> Path | None:
    """A copy of the model moved by -`offset` (3,), in Blender's axes; None if its format cannot be moved, or
    if it is damaged where its importer does not look."""
    move = _MOVERS.get(kind)
    try:
        return None if move is None else move(path, scratch, offset)
    except DAMAGE:
        return None


def _scene_box() -> tuple[np.ndarray, np.ndarray] | None:
    """The lowest and highest corner, (3,) float64 each, of a box around all faces; None without any."""
    bpy.context.view_layer.update()
    corners: dict[bpy.types.Mesh, np.ndarray] = {}
    boxes = []
    for thing in bpy.context.view_layer.objects:
        if thing.type == "MESH" and len(thing.data.polygons):
            if thing.data not in corners:
                corners[thing.data] = _box_corners(thing.data)
            matrix = np.array(thing.matrix_world, np.float64)
            placed = corners[thing.data] @ matrix[:3, :3].T + matrix[:3, 3]
            boxes += [(placed.min(0), placed.max(0))] if len(placed) and np.isfinite(placed).all() else []
    if not boxes:
        return None
    return np.min([low for low, _ in boxes], 0), np.max([high for _, high in boxes], 0)


def _box_corners(mesh: bpy.types.Mesh) -> np.ndarray:
    """(8, 3) float64, own frame: the corners of the box around a mesh's faces; (0, 3) if none is finite."""
    points, corners = np.empty(len(mesh.vertices) * 3, np.float32), np.empty(len(mesh.loops), np.int32)
    mesh.attributes["position"].data.foreach_get("vector", points)  # far faster than from `vertices`, `loops`
    mesh.attributes[".corner_vert"].data.foreach_get("value", corners)
    points = points.reshape(-1, 3)
    used = np.isfinite(points).all(1)
    of_faces = np.zeros(len(points), bool)
    of_faces[corners] = True
    used &= of_faces
    if not used.any():
        return np.zeros((0, 3))
    low, high = points[used].min(0).astype(np.float64), points[used].max(0).astype(np.float64)
    return np.array(list(itertools.product(*zip(low, high, strict=True))))


def _obj(path: Path, scratch: Path, offset: np.ndarray) -> Path:
    text = _shifted(obj.joined(path.read_bytes()), _OBJ_VERTEX, Y_UP[:3, :3].T @ offset)
    return _written(scratch / path.name, obj.from_elsewhere(text, path, scratch))


def _stl(path: Path, scratch: Path, offset: np.ndarray) -> Path | None:
    text = path.read_bytes()
    if _STL_VERTEX.search(text) is None:
        return None  # binary, whose float32 lost the digits already
    return _written(scratch / path.name, _shifted(text, _STL_VERTEX, offset))


def _gltf(path: Path, scratch: Path, offset: np.ndarray) -> Path | None:
    return gltf.moved_gltf(path, scratch, Y_UP[:3, :3].T @ offset)


def _ply(path: Path, scratch: Path, offset: np.ndarray) -> Path | None:
    """Text, or binary with doubles."""
    try:
        elements = ply_elements.read_elements(path)
        columns = elements["vertex"].scalars
        for axis, less in zip("xyz", offset, strict=True):
            if columns[axis].dtype.itemsize < 8:
                return None  # float32 lost the digits already
            columns[axis] = columns[axis] - less
        return _written(scratch / path.name, ply_elements.written(elements))
    except DAMAGE:
        return None


def _shifted(text: bytes, pattern: re.Pattern[bytes], offset: np.ndarray) -> bytes:
    """`text` with `offset` (3,) subtracted from every position that `pattern` finds; others stay."""

    def less(match: re.Match[bytes]) -> bytes:
        try:
            numbers = [float(match[i + 2]) - offset[i] for i in range(3)]
        except ValueError:
            return match[0]
        return match[1] + b"%.17g %.17g %.17g" % tuple(numbers)

    return pattern.sub(less, text)


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


_MOVERS: dict[str, Callable[[Path, Path, np.ndarray], Path | None]] = {
    "obj": _obj,
    "stl": _stl,
    "ply": _ply,
    **dict.fromkeys(("glb", "gltf"), _gltf),
    **dict.fromkeys(("usd", "usda", "usdc"), usd.moved_usd),
}
