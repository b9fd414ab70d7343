"""Plain meshes and materials of the readers that are not Blender's, and how they become Blender objects.

The readers (`render.importing.convert`, `collada`, `stl`, `ply`) describe what they found in these types;
`build` makes the objects. Blender keeps positions in float32, so `build` moves a scene that lies far from
its origin next to it, in float64, and returns the offset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

from render.importing.polygons import simple
from render.references.lookup import LocalTree, Search
from render.references.spelling import spelled

Y_UP = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], float)
"""Takes Y-up, -Z-forward coordinates to Blender's Z-up, as Blender's own importers do."""


NONE_KNOWN: Mapping[str, bpy.types.Material] = {}
COLOR = "Color"
"""The color attribute of a mesh that has colors of its own."""
_NORMALS = "normals to be"
FAR = 32
"""A scene this many sizes away from the origin is moved to it: there float32 still has 1e-5 of its size."""


@dataclass(frozen=True)
class Opacity:
    """A texture that scales a material's alpha."""

    texture: Path
    luminance: bool = False
    """Its brightness counts, not its alpha."""
    inverted: bool = False


@dataclass(frozen=True)
class RawMaterial:
    """What a fixed-function format says of a surface."""

    name: str = "Material"
    color: tuple[float, float, float] = (0.8, 0.8, 0.8)
    """Diffuse, linear."""
    alpha: float = 1.0
    texture: Path | None = None
    """Color texture; a path that does not exist is kept, so that it is counted as missing."""
    opacity: Opacity | None = None


@dataclass(frozen=True)
class RawMesh:
    """Polygons in their own frame, and where they stand. A corner is one vertex of one polygon."""

    name: str
    vertices: np.ndarray  # (V, 3) float
    corners: np.ndarray  # (C,) int, vertex indices, polygon after polygon
    sizes: np.ndarray  # (F,) int, corners of each polygon
    uv: np.ndarray | None = None  # (C, 2) float, origin at the lower left
    colors: np.ndarray | None = None  # (C, 3 or 4) float, linear
    normals: np.ndarray | None = None  # (C, 3) float, unit
    material: RawMaterial | None = None
    slots: tuple[RawMaterial | None, ...] = ()  # instead of `material`, where faces differ in it
    slot_of_face: np.ndarray | None = None  # (F,) int
    matrix: np.ndarray = field(default_factory=lambda: np.eye(4))  # (4, 4), to world


def find_texture(name: str, folder: Path) -> Path:
    """The image that a model in `folder` calls `name`, or where it would lie if there is none."""
    named = folder / name.replace("\\", "/")
    found = (
        None if named.is_file() else Search(LocalTree(folder.parent), folder.name).find(name, anywhere=True)
    )
    return folder.parent / found.path if found else named


@dataclass(frozen=True)
class Built:
    """What `build` did besides making objects."""

    notes: list[str]
    offset: np.ndarray
    """(3,) float64: position in the file's world = position in Blender + offset."""


def build(meshes: list[RawMesh], known: Mapping[str, bpy.types.Material] = NONE_KNOWN) -> Built:
    """Make one object per mesh in the current scene; notes on missing textures. Equal materials are shared.

    A material whose name is in `known` is that one.
    The matrix becomes the inverse of a parent at the origin: only there does Blender keep a sheared one.
    """
    materials: dict[tuple[RawMaterial, bool], bpy.types.Material] = {}
    shared: dict[tuple, bpy.types.Mesh] = {}
    offset, size = _far_offset(meshes)
    root = bpy.data.objects.new("Model", None)
    bpy.context.scene.collection.objects.link(root)
    for raw in meshes:
        origin = _own_origin(raw, size)
        key = (id(raw.vertices), id(raw.corners), id(raw.uv), _slots(raw), origin.tobytes())
        if key not in shared:
            shared[key] = _mesh(raw, origin)
            _fill_slots(shared[key], raw, materials, known)
        matrix = raw.matrix.copy()
        matrix[:3, 3] += matrix[:3, :3] @ origin - offset
        thing = bpy.data.objects.new(spelled(raw.name), shared[key])
        thing.parent = root
        thing.matrix_parent_inverse = Matrix(matrix.tolist())
        bpy.context.scene.collection.objects.link(thing)
    bpy.context.view_layer.update()
    own = {material for raw in meshes for material in _slots(raw) if material is not None}
    used = {material for material in own if material.name not in known}
    textures = {m.texture for m in used if m.texture} | {m.opacity.texture for m in used if m.opacity}
    notes = [
        f"texture missing: {spelled(texture.name)}" for texture in sorted(textures) if not texture.is_file()
    ]
    return Built(notes, offset)


def far_offset(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(3,) float64: the middle of a box (3,), (3,) that lies far from the origin for its size, else zero."""
    middle, size = (low + high) / 2, (high - low).max()
    far = np.isfinite(middle).all() and size > 0 and np.abs(middle).max() > FAR * size
    return middle if far else np.zeros(3)


def _far_offset(meshes: list[RawMesh]) -> tuple[np.ndarray, float]:
    """`far_offset` of a scene in world, and the largest side of its box; without faces (0, 0, 0) and 0."""
    boxes = [box for raw in meshes if (box := _world_box(raw)) is not None]
    if not boxes:
        return np.zeros(3), 0.0
    low, high = np.min([low for low, _ in boxes], 0), np.max([high for _, high in boxes], 0)
    return far_offset(low, high), float((high - low).max())


def _world_box(raw: RawMesh) -> tuple[np.ndarray, np.ndarray] | None:
    used = raw.vertices[np.unique(_in_range(raw.corners, len(raw.vertices)))] if len(raw.vertices) else []
    placed = np.asarray(used, np.float64).reshape(-1, 3) @ raw.matrix[:3, :3].T + raw.matrix[:3, 3]
    placed = placed[np.isfinite(placed).all(1)]
    return (placed.min(0), placed.max(0)) if len(placed) else None


def _own_origin(raw: RawMesh, size: float) -> np.ndarray:
    """(3,) float64, own frame: what the mesh's vertices become relative to; zero unless they lie far away."""
    finite = np.isfinite(raw.vertices).all(1)
    if not finite.any() or size <= 0:
        return np.zeros(3)
    middle = (raw.vertices[finite].min(0) + raw.vertices[finite].max(0)) / 2
    return middle if np.abs(raw.matrix[:3, :3] @ middle).max() > FAR * size else np.zeros(3)


def _mesh(raw: RawMesh, origin: np.ndarray) -> bpy.types.Mesh:
    """The mesh with its vertices relative to `origin` (3,), without polygons that Blender cannot take.

    Those have indices out of range. Normals on them would crash it, so normals wait in an attribute until
    the mesh is validated.
    """
    raw = _simple(raw)
    mesh = bpy.data.meshes.new(spelled(raw.name))
    sizes = np.ascontiguousarray(raw.sizes, np.int32)
    mesh.vertices.add(len(raw.vertices))
    mesh.vertices.foreach_set("co", np.ascontiguousarray(raw.vertices - origin, np.float32).ravel())
    mesh.loops.add(len(raw.corners))
    mesh.loops.foreach_set("vertex_index", _in_range(raw.corners, len(raw.vertices)))
    mesh.polygons.add(len(sizes))
    mesh.polygons.foreach_set("loop_start", (np.cumsum(sizes) - sizes).astype(np.int32))
    if raw.slot_of_face is not None:
        mesh.polygons.foreach_set("material_index", np.ascontiguousarray(raw.slot_of_face, np.int32))
    if raw.uv is not None:
        _fill(mesh.uv_layers.new(name="UVMap").uv, "vector", raw.uv)
    if raw.colors is not None:
        rgba = np.ones((len(raw.corners), 4), np.float32)
        rgba[:, : raw.colors.shape[1]] = raw.colors
        _fill(mesh.color_attributes.new(COLOR, "FLOAT_COLOR", "CORNER").data, "color", rgba)
    if raw.normals is not None:
        _fill(mesh.attributes.new(_NORMALS, "FLOAT_VECTOR", "CORNER").data, "vector", raw.normals)
    mesh.update(calc_edges=True)
    mesh.validate()
    mesh.shade_flat()
    _apply_normals(mesh)
    return mesh


def _simple(raw: RawMesh) -> RawMesh:
    """The mesh without polygons that name a vertex twice."""
    found = simple(_in_range(raw.corners, len(raw.vertices)), raw.sizes, len(raw.vertices))
    if found is None:
        return raw
    by_corner = {
        name: values[found.kept_corners]
        for name in ("uv", "colors", "normals")
        if (values := getattr(raw, name)) is not None
    }
    slots = None if raw.slot_of_face is None else raw.slot_of_face[found.kept_faces]
    vertices = np.concatenate([raw.vertices, raw.vertices[found.copied]])
    changed = {"vertices": vertices, "corners": found.corners, "sizes": found.sizes, "slot_of_face": slots}
    return replace(raw, **changed, **by_corner)


def _slots(raw: RawMesh) -> tuple[RawMaterial | None, ...]:
    return raw.slots or (() if raw.material is None else (raw.material,))


def _fill_slots(
    mesh: bpy.types.Mesh,
    raw: RawMesh,
    materials: dict[tuple[RawMaterial, bool], bpy.types.Material],
    known: Mapping[str, bpy.types.Material],
) -> None:
    """Append the mesh's materials; equal ones are made once."""
    for material in _slots(raw):
        key = None if material is None else (material, raw.colors is not None)
        if key is not None and key not in materials:
            materials[key] = known.get(key[0].name) or _material(*key)
        mesh.materials.append(None if key is None else materials[key])


def _in_range(corners: np.ndarray, vertices: int) -> np.ndarray:
    """Vertex indices as int32; one out of range becomes 0, so that its polygon is at worst degenerate."""
    corners = np.asarray(corners, np.int64)
    return np.where((corners >= 0) & (corners < vertices), corners, 0).astype(np.int32)


def _fill(collection: Any, name: str, values: np.ndarray) -> None:
    collection.foreach_set(name, np.ascontiguousarray(values, np.float32).ravel())


def _apply_normals(mesh: bpy.types.Mesh) -> None:
    stored = mesh.attributes.get(_NORMALS)
    if stored is None:
        return
    normals = np.empty(len(mesh.loops) * 3, np.float32)
    stored.data.foreach_get("vector", normals)
    mesh.attributes.remove(stored)
    mesh.shade_smooth()
    mesh.normals_split_custom_set(np.nan_to_num(normals).reshape(-1, 3).tolist())


def _material(raw: RawMaterial, colored: bool) -> bpy.types.Material:
    """A Principled material; colors of vertices or faces stand in for the diffuse color, a texture for
    both."""
    material = bpy.data.materials.new(spelled(raw.name))
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    shader = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Base Color"].default_value = (*raw.color, 1.0)
    shader.inputs["Alpha"].default_value = raw.alpha
    material.diffuse_color = (*raw.color, raw.alpha)
    if raw.texture is not None:
        image = nodes.new("ShaderNodeTexImage")
        image.image = _image(raw.texture)
        links.new(image.outputs["Color"], shader.inputs["Base Color"])
    elif colored:
        attribute = nodes.new("ShaderNodeVertexColor")
        attribute.layer_name = COLOR
        links.new(attribute.outputs["Color"], shader.inputs["Base Color"])
    if raw.opacity is not None:
        links.new(_opacity(material.node_tree, raw), shader.inputs["Alpha"])
    return material


def _opacity(tree: bpy.types.NodeTree, raw: RawMaterial) -> bpy.types.NodeSocket:
    """The output of nodes that read an opacity texture and scale it by the material's alpha."""
    assert raw.opacity is not None
    image = tree.nodes.new("ShaderNodeTexImage")
    image.image = _image(raw.opacity.texture)
    if raw.opacity.inverted:
        image.image.alpha_mode = "CHANNEL_PACKED"  # there, colors show where alpha is zero
    value = image.outputs["Alpha"]
    if raw.opacity.luminance:
        gray = tree.nodes.new("ShaderNodeRGBToBW")
        tree.links.new(image.outputs["Color"], gray.inputs["Color"])
        value = gray.outputs["Val"]
    scaled = tree.nodes.new("ShaderNodeMath")
    scaled.operation = "MULTIPLY"
    scaled.inputs[1].default_value = raw.alpha
    tree.links.new(value, scaled.inputs[0])
    if not raw.opacity.inverted:
        return scaled.outputs[0]
    rest = tree.nodes.new("ShaderNodeMath")
    rest.operation = "SUBTRACT"
    rest.inputs[0].default_value = 1.0
    tree.links.new(scaled.outputs[0], rest.inputs[1])
    return rest.outputs[0]


def _image(path: Path) -> bpy.types.Image:
    """The image at `path`, or a placeholder with that path, as Blender's importers leave one."""
    try:
        return bpy.data.images.load(str(path), check_existing=True)
    except (RuntimeError, UnicodeError):  # of a name that is not UTF-8 Blender cannot say that it is missing
        image = bpy.data.images.new(spelled(path.name), 1, 1)
        image.source = "FILE"
        image.filepath = str(path)
        return image
