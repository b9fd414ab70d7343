"""Triangles, colors and materials that no Blender importer read, turned into Blender meshes.

The readers of formats that Blender lacks (`render.importing.convert`, `render.importing.stl`) describe what they found in
these plain types.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

Y_UP = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], float)
"""Takes Y-up, -Z-forward coordinates to Blender's Z-up, as Blender's own importers do."""


COLOR = "Color"
"""The color attribute of a mesh that has colors of its own."""
_NORMALS = "normals to be"


@dataclass(frozen=True)
class RawMaterial:
    """What a fixed-function format says of a surface."""

    name: str = "Material"
    color: tuple[float, float, float] = (0.8, 0.8, 0.8)
    """Diffuse, linear."""
    alpha: float = 1.0
    texture: Path | None = None
    """Color texture; a path that does not exist is kept, so that it is counted as missing."""


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
    matrix: np.ndarray = field(default_factory=lambda: np.eye(4))  # (4, 4), to world


def find_texture(name: str, folder: Path) -> Path:
    """The image that a model in `folder` calls `name`: as told, else of the same name beside it, whatever the
    case."""
    told = folder / name.replace("\\", "/")
    if told.is_file():
        return told
    wanted = told.name.lower()
    for place in (folder, folder / "textures", folder / "images", folder.parent / "textures"):
        if place.is_dir():
            for entry in sorted(place.iterdir()):
                if entry.name.lower() == wanted:
                    return entry
    return told


def build(meshes: list[RawMesh]) -> list[str]:
    """Make one object a mesh in the current scene; notes on missing textures. Equal materials are shared.

    The matrix goes into the inverse of a parent at the origin: there alone Blender keeps a sheared one as
    it is.
    """
    materials: dict[tuple[RawMaterial, bool], bpy.types.Material] = {}
    root = bpy.data.objects.new("Model", None)
    bpy.context.scene.collection.objects.link(root)
    for raw in meshes:
        thing = bpy.data.objects.new(raw.name, _mesh(raw))
        thing.parent = root
        thing.matrix_parent_inverse = Matrix(raw.matrix.tolist())
        bpy.context.scene.collection.objects.link(thing)
        if raw.material is not None:
            key = (raw.material, raw.colors is not None)
            if key not in materials:
                materials[key] = _material(*key)
            thing.data.materials.append(materials[key])
    bpy.context.view_layer.update()
    textures = {raw.material.texture for raw in meshes if raw.material and raw.material.texture}
    return [f"texture missing: {texture.name}" for texture in sorted(textures) if not texture.is_file()]


def _mesh(raw: RawMesh) -> bpy.types.Mesh:
    """The mesh without polygons that Blender may not be given (indices out of range or repeated): normals on
    those would crash it, so they wait in an attribute until the mesh is validated."""
    mesh = bpy.data.meshes.new(raw.name)
    sizes = np.ascontiguousarray(raw.sizes, np.int32)
    mesh.vertices.add(len(raw.vertices))
    mesh.vertices.foreach_set("co", np.ascontiguousarray(raw.vertices, np.float32).ravel())
    mesh.loops.add(len(raw.corners))
    mesh.loops.foreach_set("vertex_index", _in_range(raw.corners, len(raw.vertices)))
    mesh.polygons.add(len(sizes))
    mesh.polygons.foreach_set("loop_start", (np.cumsum(sizes) - sizes).astype(np.int32))
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
    material = bpy.data.materials.new(raw.name)
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
    return material


def _image(path: Path) -> bpy.types.Image:
    """The image at `path`, or a placeholder with that path, as Blender's importers leave one."""
    try:
        return bpy.data.images.load(str(path), check_existing=True)
    except RuntimeError:
        image = bpy.data.images.new(path.name, 1, 1)
        image.source = "FILE"
        image.filepath = str(path)
        return image
