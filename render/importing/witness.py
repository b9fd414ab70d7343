"""What a file itself says of its size, read apart from the importer, which may lie.

    doubt = disagreement(path, "glb", vertices, faces)

glTF, STL, PLY, OBJ and USD are cheap to read: the box of what is placed and, of the first three, its area.
Where a pose decides (skins, animations, blend shapes), where geometry is compressed, large or odd, there is
no witness; it never fails a model. docs/dataset.md has the other formats, and what a witness costs;
`render.importing.second` acts on what is found.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from render.importing import gltf, gltf_nodes, stl
from render.importing.rawmesh import Y_UP

Json = dict[str, Any]
TOLERANCE = 0.01
"""Of the longest side, and of the area: smaller differences are rounding."""
_MOST_TRIANGLES = 1_000_000
_MOST_BYTES = 64 << 20
_MOST_PRIMS = 20_000
_PER_PART = 50  # triangles that a part of a glTF counts for: what it costs besides
_Y_UP = Y_UP[:3, :3]
_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC3": 3}
_TRIANGLES = 4
_POSITION = re.compile(rb"^v[ \t]+([^\r\n#]*)", re.MULTILINE)
_FACE = re.compile(rb"^f[ \t]+([^\r\n#]*)", re.MULTILINE)


@dataclass(frozen=True)
class Doubt:
    """What differs between a file and its import."""

    words: str
    share: float
    """Of the longest side, or of the area."""

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Measures:
    """Box and area in Blender's axes and the file's unit."""

    low: np.ndarray
    """(3,) float64"""
    high: np.ndarray
    """(3,) float64"""
    area: float | None
    """None of points without faces."""

    def differs(self, other: Measures) -> Doubt | None:
        """What differs by more than the tolerance."""
        side = max(float((self.high - self.low).max()), float((other.high - other.low).max()))
        off = max(np.abs(self.low - other.low).max(), np.abs(self.high - other.high).max())
        if off > TOLERANCE * side:
            said = f"the file's box is {other.box()}, that of what was imported {self.box()}"
            return Doubt(said, float(off) / side)
        if self.area is None or other.area is None:
            return None
        off, most = abs(self.area - other.area), max(self.area, other.area)
        if off > TOLERANCE * most:
            said = f"the file's faces have an area of {other.area:.4g}, what was imported {self.area:.4g}"
            return Doubt(said, off / most)
        return None

    def box(self) -> str:
        """Its sizes and its middle, in words."""
        sizes = " x ".join(f"{size:.4g}" for size in self.high - self.low)
        return f"{sizes} around ({', '.join(f'{x:.4g}' for x in (self.low + self.high) / 2)})"


def disagreement(path: Path, kind: str, vertices: np.ndarray, faces: np.ndarray) -> Doubt | None:
    """How what was imported has another box or area than the file of format `kind` says; None if it has not.

    `vertices` (V, 3) float64 in world, in Blender's axes, and `faces` (F, 3) int are what was imported.
    """
    read = _WITNESSES.get(kind)
    try:
        if read is None or len(faces) > _MOST_TRIANGLES or path.stat().st_size > _MOST_BYTES:
            return None
        said = read(path)
        if said is None or not len(said) or not np.isfinite(said).all():
            return None
        ours = vertices[faces] if said.ndim == 3 else _of_faces(vertices, faces)
        return _compared(ours, said, lambda: _used(path, kind, said))
    except Exception:  # a damaged file raises whatever its bytes lead to, also in trimesh and USD
        return None


def _compared(ours: np.ndarray, said: np.ndarray, again: Callable[[], np.ndarray]) -> Doubt | None:
    """What differs between two sets of triangles (F, 3, 3) or of points (N, 3).

    Only where something does, what takes its time: an importer may drop vertices without faces (`again` gives
    those with faces), and equal or empty faces.
    """
    if _measured(ours).differs(_measured(said)) is None:
        return None
    return _measured(_distinct(ours)).differs(_measured(_distinct(again())))


def _of_faces(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Those of `points` (N, 3) that any corner names."""
    used = np.zeros(len(points), bool)
    used[corners] = True
    return points[used]


def _measured(corners: np.ndarray) -> Measures:
    """Of triangles (F, 3, 3) or points (N, 3) float64."""
    low, high = corners.reshape(-1, 3).min(0), corners.reshape(-1, 3).max(0)
    return Measures(low, high, float(_areas(corners).sum()) if corners.ndim == 3 else None)


def _areas(corners: np.ndarray) -> np.ndarray:
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.linalg.norm(cross, axis=1) / 2


def _distinct(corners: np.ndarray) -> np.ndarray:
    """Triangles (F, 3, 3) with an area, each once; points as they are."""
    if corners.ndim == 2:
        return corners
    side = float(np.ptp(corners.reshape(-1, 3), axis=0).max()) or 1.0
    corners = corners[_areas(corners) > 1e-12 * side**2]
    return corners[np.unique(np.round(corners.mean(1) / (side * 1e-6)), axis=0, return_index=True)[1]]


def _stl(path: Path) -> np.ndarray | None:
    found = stl.facets(path)
    return None if found is None else _fine(found["corners"].astype(np.float64))


def _ply(path: Path) -> np.ndarray | None:
    from trimesh.exchange.ply import load_ply  # here: it takes half a second, and only PLY needs it

    with path.open("rb") as file:
        found = load_ply(file, skip_materials=True)
    vertices, faces = np.asarray(found["vertices"], np.float64), np.asarray(found["faces"], np.int64)
    if len(faces) != found["metadata"]["_ply_raw"]["face"]["length"]:  # cut as if convex
        return _fine(vertices[np.unique(faces)])
    halves = [faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]] if faces.shape[1] == 4 else [faces]
    return _fine(vertices[np.concatenate(halves)])


def _fine(corners: np.ndarray) -> np.ndarray | None:
    """Triangles or points that were read as float32; None so far from the origin that this is coarse."""
    points = corners.reshape(-1, 3)
    if not len(points):
        return corners
    step = np.spacing(np.abs(points).max().astype(np.float32))
    return None if step > TOLERANCE * np.ptp(points, axis=0).max() else corners


def _obj(path: Path) -> np.ndarray:
    """All vertices (N, 3): reading the faces takes longer."""
    lines = _POSITION.findall(path.read_bytes())
    numbers = np.array(b" ".join(lines).split(), np.float64).reshape(len(lines), -1)
    return numbers[:, :3] @ _Y_UP.T


def _used(path: Path, kind: str, points: np.ndarray) -> np.ndarray:
    """The points (N, 3) of an OBJ that its faces name; others as they are."""
    if kind != "obj":
        return points
    faces = (line.split() for line in _FACE.findall(path.read_bytes()))
    corners = (int(word.partition(b"/")[0]) for words in faces if len(words) > 2 for word in words)
    used = np.fromiter(corners, np.int64)
    if used.min() <= 0:
        raise ValueError("counted from the end")
    return points[np.unique(used - 1)]


# ---- glTF -----------------------------------------------------------------------------------------------


def _gltf(path: Path) -> np.ndarray | None:
    """The triangles of the shown scene; None where a pose or a compression decides."""
    parsed = gltf.parse(path)
    if parsed is None or _is_uncertain(parsed[0]):
        return None
    document, binary = parsed
    reader = _Reader(document, gltf.read_buffers(document, binary, path))
    corners = []
    for mesh, matrix in _placed(document):
        own = reader.triangles(mesh)
        corners.append(own @ (_Y_UP @ matrix[:3, :3]).T + _Y_UP @ matrix[:3, 3])
    return np.concatenate(corners)


def _is_uncertain(document: Json) -> bool:
    used = " ".join(document.get("extensionsUsed", []))
    moved = any(document.get(key) for key in ("animations", "skins"))
    return moved or any(word in used for word in ("draco", "meshopt", "instancing", "visibility"))


def _placed(document: Json) -> Iterator[tuple[Json, np.ndarray]]:
    """(mesh, (4, 4) to world) of each node of the shown scene that has one."""
    nodes = document["nodes"]
    waiting = [(root, np.eye(4)) for root in document["scenes"][document.get("scene", 0)]["nodes"]]
    seen = 0
    while waiting:
        number, above = waiting.pop()
        seen += 1
        if seen > len(nodes):
            raise ValueError("a tree that is no tree")
        node = nodes[number]
        matrix = above @ gltf_nodes.local(node)
        waiting += [(child, matrix) for child in node.get("children", [])]
        if "mesh" in node:
            mesh = document["meshes"][node["mesh"]]
            if any(node.get("weights", mesh.get("weights", ()))):
                raise ValueError("a blend shape decides")
            yield mesh, matrix


class _Reader:
    """Triangles of a document's meshes; each is read once."""

    def __init__(self, document: Json, buffers: list[bytes]):
        self._document, self._buffers = document, buffers
        self._known: dict[int, np.ndarray] = {}
        self._placed = self._read = 0  # triangles

    def triangles(self, mesh: Json) -> np.ndarray:
        """(F, 3, 3) float64. ValueError for more than this is worth."""
        if id(mesh) not in self._known:
            self._known[id(mesh)] = np.concatenate([self._primitive(one) for one in mesh["primitives"]])
        self._placed += len(self._known[id(mesh)]) + _PER_PART
        if self._placed > _MOST_TRIANGLES:
            raise ValueError("too many")
        return self._known[id(mesh)]

    def _primitive(self, primitive: Json) -> np.ndarray:
        mode = primitive.get("mode", _TRIANGLES)
        if mode < _TRIANGLES:  # points and lines
            return np.zeros((0, 3, 3))
        if mode > _TRIANGLES:
            raise ValueError("strips and fans")
        points = self._values(primitive["attributes"]["POSITION"]).astype(np.float64)
        order = (
            self._values(primitive["indices"]).ravel() if "indices" in primitive else np.arange(len(points))
        )
        self._read += len(order) // 3 + len(points) + _PER_PART
        if self._read > 2 * _MOST_TRIANGLES:
            raise ValueError("too many")
        return points[order[: len(order) // 3 * 3].reshape(-1, 3)]

    def _values(self, number: int) -> np.ndarray:
        """(N, width) of an accessor, as numbers."""
        accessor = self._document["accessors"][number]
        if "sparse" in accessor:
            raise ValueError("sparse")
        view = self._document["bufferViews"][accessor["bufferView"]]
        dtype, width = np.dtype(_COMPONENTS[accessor["componentType"]]), _WIDTHS[accessor["type"]]
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        stride = view.get("byteStride") or dtype.itemsize * width
        shape, strides = (accessor["count"], width), (stride, dtype.itemsize)
        values = np.ndarray(shape, dtype, self._buffers[view["buffer"]], start, strides)
        return values / np.iinfo(dtype).max if accessor.get("normalized") else values


# ---- USD ---------------------------------------------------------------------------------------------------


def _usd(path: Path) -> np.ndarray | None:
    """The points (N, 3) of all faces, with the library that Blender's importer translates from."""
    bpy.utils.expose_bundled_modules()
    from pxr import Usd, UsdGeom

    stage = Usd.Stage.Open(str(path))
    prims = list(itertools.islice(Usd.PrimRange.Stage(stage, Usd.TraverseInstanceProxies()), _MOST_PRIMS + 1))
    if len(prims) > _MOST_PRIMS or any(map(_is_uncertain_prim, prims)):
        return None
    cache, found, total = UsdGeom.XformCache(), [], 0
    for mesh in map(UsdGeom.Mesh, (prim for prim in prims if prim.IsA(UsdGeom.Mesh))):
        points = np.array(mesh.GetPointsAttr().Get(), np.float64).reshape(-1, 3)
        total += len(points)
        if total > _MOST_TRIANGLES:
            return None
        points = _of_faces(points, np.array(mesh.GetFaceVertexIndicesAttr().Get()))
        matrix = np.array(cache.GetLocalToWorldTransform(mesh.GetPrim()))
        found.append(points @ matrix[:3, :3] + matrix[3, :3])
    turn = np.eye(3) if UsdGeom.GetStageUpAxis(stage) == "Z" else _Y_UP
    return np.concatenate(found) @ turn.T * UsdGeom.GetStageMetersPerUnit(stage)


def _is_uncertain_prim(prim: Any) -> bool:
    """Whether it moves, is hidden, or has geometry other than a mesh."""
    from pxr import UsdGeom

    if prim.GetTypeName() in ("PointInstancer", "SkelRoot") or prim.HasAPI("SkelBindingAPI"):
        return True
    if prim.IsA(UsdGeom.Gprim) and not prim.IsA(UsdGeom.Mesh):
        return True
    if prim.IsA(UsdGeom.Mesh) and UsdGeom.Mesh(prim).GetPointsAttr().ValueMightBeTimeVarying():
        return True
    shown = UsdGeom.Imageable(prim)
    if not shown:
        return False
    hidden = (
        shown.GetVisibilityAttr().Get() == "invisible" or shown.GetVisibilityAttr().ValueMightBeTimeVarying()
    )
    place = UsdGeom.Xformable(prim)
    return (
        hidden or shown.GetPurposeAttr().Get() != "default" or (place and place.TransformMightBeTimeVarying())
    )


_WITNESSES: dict[str, Callable[[Path], np.ndarray | None]] = {
    **dict.fromkeys(("glb", "gltf"), _gltf),
    "stl": _stl,
    "ply": _ply,
    "obj": _obj,
    **dict.fromkeys(("usd", "usda", "usdc", "usdz"), _usd),
}
