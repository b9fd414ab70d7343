"""X3D and VRML 2 scenes as meshes: groups, transforms, DEF and USE, inlined files, shapes, colors, textures.

Geometry nodes: IndexedFaceSet, IndexedTriangleSet, TriangleSet, IndexedQuadSet, QuadSet, ElevationGrid,
Extrusion, Box, Sphere, Cylinder, Cone. Lines, points and text have no faces and are left out. Y is up.
ISO/IEC 19775-1.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from render.failures import DAMAGE, FailureClass, ModelFailure
from render.importing import primitives
from render.importing.rawmesh import Y_UP, RawMaterial, RawMesh, find_texture
from render.importing.vrml import Node, read_nodes
from render.srgb import srgb_to_linear

_DEPTH = 200
_MOST = 100_000  # shapes; nested USE can multiply without end
_HIDDEN = {"ProtoDeclare", "ExternProtoDeclare", "Script", "head", "Missing"}


def read_x3d(path: Path) -> list[RawMesh]:
    """Every shape with faces, Z up. Raises ModelFailure."""
    meshes: list[RawMesh] = []
    try:
        for node, matrix in _shapes(read_nodes(path), Y_UP, path, 0):
            if len(meshes) >= _MOST:
                raise ValueError(f"more than {_MOST} shapes")
            mesh = _shape(node, matrix, path)
            if mesh is not None:
                meshes.append(mesh)
    except DAMAGE as error:
        raise ModelFailure(FailureClass.INVALID, f"{path.name}: {error}") from error
    return meshes


def _shapes(
    nodes: list[Node], matrix: np.ndarray, path: Path, depth: int
) -> Iterator[tuple[Node, np.ndarray]]:
    """(Shape node, world matrix) of every shape that is shown."""
    if depth > _DEPTH:
        raise ValueError(f"groups are nested more than {_DEPTH} deep, or one holds itself")
    for node in nodes:
        if node.type == "Shape":
            yield node, matrix
        elif node.type == "Inline":
            yield from _inlined(node, matrix, path, depth)
        elif node.type not in _HIDDEN:
            yield from _shapes(_shown(node), matrix @ _transform(node), path, depth + 1)


def _shown(node: Node) -> list[Node]:
    """The children that are drawn: one of a Switch, the finest of a LOD, no collision proxy."""
    children = [child for name, child in node.children if name not in ("proxy", "metadata")]
    if node.type == "Switch":
        choice = int(node.numbers("whichChoice", "-1")[0])
        return children[choice : choice + 1] if choice >= 0 else []
    return children[:1] if node.type == "LOD" else children


def _inlined(node: Node, matrix: np.ndarray, path: Path, depth: int) -> Iterator[tuple[Node, np.ndarray]]:
    for url in node.strings("url"):
        file = path.parent / url
        if file.is_file():
            yield from _shapes(read_nodes(file), matrix, file, depth + 20)
            return


def _transform(node: Node) -> np.ndarray:
    """The standard's T C R SR S -SR -C; the identity for plain groups."""
    if node.type not in ("Transform", "HAnimHumanoid", "HAnimJoint", "HAnimSite"):
        return np.eye(4)
    center, scale = node.numbers("center", "0 0 0"), node.numbers("scale", "1 1 1")
    turn, skew = (_rotation(node.numbers(name, "0 0 1 0")) for name in ("rotation", "scaleOrientation"))
    linear = turn @ skew @ np.diag(scale) @ skew.T
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = node.numbers("translation", "0 0 0") + center - linear @ center
    return matrix


def _rotation(axis_angle: np.ndarray) -> np.ndarray:
    """The (3, 3) rotation about an axis by an angle in radians (Rodrigues)."""
    axis, angle = axis_angle[:3], axis_angle[3]
    length = np.linalg.norm(axis)
    if length == 0:
        return np.eye(3)
    x, y, z = axis / length
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _shape(node: Node, matrix: np.ndarray, path: Path) -> RawMesh | None:
    geometry = next((child for _, child in node.children if child.type in _GEOMETRY), None)
    if geometry is None:
        return None
    mesh = _GEOMETRY[geometry.type](geometry)
    if mesh is None or len(mesh.sizes) == 0:
        return None
    appearance = node.child("Appearance") or Node("Appearance")
    material, uv = _material(appearance, path), _moved_uv(mesh.uv, appearance.child("TextureTransform"))
    return RawMesh(
        geometry.type,
        mesh.vertices,
        mesh.corners,
        mesh.sizes,
        uv,
        mesh.colors,
        material=material,
        matrix=matrix,
    )


def _material(appearance: Node, path: Path) -> RawMaterial:
    found = appearance.child("Material", "PhysicalMaterial", "UnlitMaterial") or Node("Material")
    red, green, blue = (float(c) for c in srgb_to_linear(_shown_color(found)))
    image = appearance.child("ImageTexture")
    urls = image.strings("url") if image else []
    files = [find_texture(url, path.parent) for url in urls]
    texture = next((file for file in files if file.is_file()), files[0] if files else None)
    return RawMaterial(
        found.type, (red, green, blue), 1 - float(found.numbers("transparency", "0")[0]), texture
    )


def _shown_color(material: Node) -> np.ndarray:
    """(3,) sRGB: the diffuse color; what the surface emits where that is black."""
    name = {"PhysicalMaterial": "baseColor", "UnlitMaterial": "emissiveColor"}.get(material.type)
    color = material.numbers(name or "diffuseColor", "0.8 0.8 0.8")[:3]
    return color if name or color.any() else material.numbers("emissiveColor", "0 0 0")[:3]


def _moved_uv(uv: np.ndarray | None, moved: Node | None) -> np.ndarray | None:
    """The standard's -C S R C T: texture coordinates under a TextureTransform."""
    if uv is None or moved is None:
        return uv
    center, angle = moved.numbers("center", "0 0"), float(moved.numbers("rotation", "0")[0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shifted = (uv + moved.numbers("translation", "0 0") + center) @ turn.T
    return shifted * moved.numbers("scale", "1 1") - center


def _faces(node: Node) -> RawMesh | None:
    """IndexedFaceSet: polygons that end at -1; colors by vertex or by face, with their own indices or
    without."""
    points = _points(node)
    split = _Split(node.numbers("coordIndex").astype(int))
    per_vertex = node.flag("colorPerVertex", True)
    color = _colors(node)
    colors = None
    if color is not None:
        index = node.numbers("colorIndex").astype(int)
        if per_vertex:
            colors = _picked(color, split.same(index) if len(index) else split.corners)
        else:
            of_face = index[: len(split.sizes)] if len(index) else np.arange(len(split.sizes))
            colors = np.repeat(_picked(color, of_face), split.sizes, 0)
    uv, texture = None, node.child("TextureCoordinate")
    if texture is not None:
        index = node.numbers("texCoordIndex").astype(int)
        uv = _picked(
            texture.numbers("point").reshape(-1, 2), split.same(index) if len(index) else split.corners
        )
    ccw = node.flag("ccw", True)
    corners, sizes = split.wound(ccw)
    uv, colors = split.turned(ccw, uv, colors)
    return RawMesh("", points, corners, sizes, uv, colors)


class _Split:
    """Indices in which -1 ends a polygon."""

    def __init__(self, index: np.ndarray):
        if len(index) and index[-1] != -1:
            index = np.append(index, -1)
        ends = np.flatnonzero(index == -1)
        self._kept = index != -1
        self.corners = index[self._kept]
        self.sizes = np.diff(ends, prepend=-1) - 1

    def same(self, index: np.ndarray) -> np.ndarray:
        """Another index field with the same ends, as one index per corner."""
        kept = index[index != -1]
        if len(kept) != len(self.corners):
            raise ValueError(f"{len(kept)} color or texture indices for {len(self.corners)} corners")
        return kept

    def wound(self, ccw: bool) -> tuple[np.ndarray, np.ndarray]:
        return self.corners if ccw else self.corners[self._reverse()], self.sizes

    def turned(self, ccw: bool, *values: np.ndarray | None) -> list[np.ndarray | None]:
        return [v if v is None or ccw else v[self._reverse()] for v in values]

    def _reverse(self) -> np.ndarray:
        """Each polygon's corners backwards."""
        start = np.repeat(np.cumsum(self.sizes) - self.sizes, self.sizes)
        within = np.arange(len(self.corners)) - start
        return start + np.repeat(self.sizes, self.sizes) - 1 - within


def _points(node: Node) -> np.ndarray:
    coordinate = node.child("Coordinate", "CoordinateDouble")
    if coordinate is None:
        raise ValueError(f"{node.type} has no coordinates")
    return coordinate.numbers("point").reshape(-1, 3)


def _colors(node: Node) -> np.ndarray | None:
    """Linear (N, 3)."""
    color = node.child("Color", "ColorRGBA")
    if color is None:
        return None
    return srgb_to_linear(color.numbers("color").reshape(-1, 4 if color.type == "ColorRGBA" else 3)[:, :3])


def _picked(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    if len(values) == 0:
        raise ValueError("colors or texture coordinates are indexed, but there are none")
    return values[np.clip(index, 0, len(values) - 1)]


def _sets(node: Node) -> RawMesh | None:
    """TriangleSet, QuadSet and their indexed kinds: corners in threes or fours."""
    points = _points(node)
    size = 4 if "Quad" in node.type else 3
    corners = node.numbers("index").astype(int) if node.type.startswith("Indexed") else np.arange(len(points))
    corners = corners[: len(corners) // size * size]
    color, texture = _colors(node), node.child("TextureCoordinate")
    return RawMesh(
        "",
        points,
        corners,
        np.full(len(corners) // size, size),
        uv=None if texture is None else _picked(texture.numbers("point").reshape(-1, 2), corners),
        colors=None if color is None else _picked(color, corners),
    )


def _grid(node: Node) -> RawMesh | None:
    """ElevationGrid: heights over x and z."""
    columns, rows = (int(node.numbers(name, "0")[0]) for name in ("xDimension", "zDimension"))
    height = node.numbers("height")
    if columns < 2 or rows < 2 or len(height) < columns * rows:
        return None
    x, z = (float(node.numbers(name, "1")[0]) for name in ("xSpacing", "zSpacing"))
    across, along = np.meshgrid(np.arange(columns), np.arange(rows))
    points = np.stack([across.ravel() * x, height[: columns * rows], along.ravel() * z], 1)
    corners = primitives.grid(rows, columns).ravel()
    uv = np.stack([across.ravel() / (columns - 1), along.ravel() / (rows - 1)], 1)[corners]
    color, colors = _colors(node), None
    if color is not None:
        per_vertex = node.flag("colorPerVertex", True)
        colors = _picked(color, corners if per_vertex else np.repeat(np.arange(len(corners) // 4), 4))
    return RawMesh("", points, corners, np.full(len(corners) // 4, 4), uv, colors)


def _box(node: Node) -> RawMesh:
    return primitives.box(node.numbers("size", "2 2 2"))


def _sphere(node: Node) -> RawMesh:
    angle = np.linspace(-np.pi / 2, np.pi / 2, 33)
    radius = float(node.numbers("radius", "1")[0])
    return primitives.lathe(radius * np.stack([np.abs(np.cos(angle)).round(12), np.sin(angle)], 1))


def _cylinder(node: Node) -> RawMesh:
    radius, half = float(node.numbers("radius", "1")[0]), float(node.numbers("height", "2")[0]) / 2
    rings = [[0, -half]] * node.flag("bottom", True)
    side = [[radius, -half], [radius, half]] if node.flag("side", True) else []
    return primitives.lathe(np.array([*rings, *side, *[[0, half]] * node.flag("top", True)], float))


def _cone(node: Node) -> RawMesh:
    radius, half = float(node.numbers("bottomRadius", "1")[0]), float(node.numbers("height", "2")[0]) / 2
    rings = [[0, -half]] * node.flag("bottom", True)
    return primitives.lathe(np.array([*rings, [radius, -half], [0, half]], float))


def _extrusion(node: Node) -> RawMesh:
    return primitives.extrusion(
        node.numbers("crossSection", "1 1 1 -1 -1 -1 -1 1 1 1").reshape(-1, 2),
        node.numbers("spine", "0 0 0 0 1 0").reshape(-1, 3),
        node.numbers("scale", "1 1").reshape(-1, 2),
        [_rotation(turn) for turn in node.numbers("orientation", "0 0 1 0").reshape(-1, 4)],
        (node.flag("beginCap", True), node.flag("endCap", True)),
    )


_GEOMETRY = {
    "IndexedFaceSet": _faces,
    **dict.fromkeys(("IndexedTriangleSet", "TriangleSet", "IndexedQuadSet", "QuadSet"), _sets),
    "ElevationGrid": _grid,
    "Extrusion": _extrusion,
    "Box": _box,
    "Sphere": _sphere,
    "Cylinder": _cylinder,
    "Cone": _cone,
}
