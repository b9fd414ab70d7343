"""Triangles, colours and materials that no Blender importer read, turned into Blender meshes.

The readers of formats that Blender lacks (`render.convert`, `render.stl`) describe what they found in these plain types.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import bpy
import numpy as np

Y_UP = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], float)
"""Takes Y-up, -Z-forward coordinates to Blender's Z-up, as Blender's own importers do."""


@dataclass(frozen=True)
class RawMaterial:
    """What a fixed-function format says of a surface."""

    name: str = "Material"
    colour: tuple[float, float, float] = (0.8, 0.8, 0.8)
    """Diffuse, linear."""
    alpha: float = 1.0
    texture: Path | None = None
    """Colour texture; a path that does not exist is kept, so that it is counted as missing."""


@dataclass(frozen=True)
class RawMesh:
    """Triangles in their own frame, and where they stand."""

    name: str
    vertices: np.ndarray  # (V, 3) float
    triangles: np.ndarray  # (T, 3) int
    uv: np.ndarray | None = None  # (T * 3, 2) float, one a corner, origin at the lower left
    colours: np.ndarray | None = None  # (T * 3, 4) float, one a corner, linear
    normals: np.ndarray | None = None  # (T * 3, 3) float, one a corner, unit
    material: RawMaterial | None = None
    matrix: np.ndarray = field(default_factory=lambda: np.eye(4))  # (4, 4), to world


def srgb_to_linear(encoded: np.ndarray) -> np.ndarray:
    """sRGB 0..1 to linear 0..1, IEC 61966-2-1; keeps the shape."""
    encoded = np.clip(np.asarray(encoded, np.float64), 0, 1)
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def build(meshes: list[RawMesh]) -> None:
    """Make one object a mesh in the current scene; equal materials are shared."""
    materials: dict[RawMaterial, bpy.types.Material] = {}
    for raw in meshes:
        thing = bpy.data.objects.new(raw.name, _mesh(raw))
        thing.matrix_world = raw.matrix.tolist()
        bpy.context.scene.collection.objects.link(thing)
        if raw.material is not None:
            if raw.material not in materials:
                materials[raw.material] = _material(raw.material)
            thing.data.materials.append(materials[raw.material])


def _mesh(raw: RawMesh) -> bpy.types.Mesh:
    """The mesh, in the order given: validated last, which drops faces with indices out of range or repeated."""
    mesh = bpy.data.meshes.new(raw.name)
    triangles = np.ascontiguousarray(raw.triangles, np.int32)
    mesh.vertices.add(len(raw.vertices))
    mesh.vertices.foreach_set("co", np.ascontiguousarray(raw.vertices, np.float32).ravel())
    mesh.loops.add(triangles.size)
    mesh.loops.foreach_set("vertex_index", triangles.ravel())
    mesh.polygons.add(len(triangles))
    mesh.polygons.foreach_set("loop_start", np.arange(0, triangles.size, 3, dtype=np.int32))
    if raw.uv is not None:
        layer = mesh.uv_layers.new(name="UVMap")
        layer.uv.foreach_set("vector", np.ascontiguousarray(raw.uv, np.float32).ravel())
    if raw.colours is not None:
        attribute = mesh.color_attributes.new("Color", "FLOAT_COLOR", "CORNER")
        attribute.data.foreach_set("color", np.ascontiguousarray(raw.colours, np.float32).ravel())
    mesh.update(calc_edges=True)
    if raw.normals is not None:
        mesh.normals_split_custom_set(raw.normals.tolist())
    mesh.validate()
    return mesh


def _material(raw: RawMaterial) -> bpy.types.Material:
    material = bpy.data.materials.new(raw.name)
    material.use_nodes = True
    shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Base Color"].default_value = (*raw.colour, 1.0)
    shader.inputs["Alpha"].default_value = raw.alpha
    material.diffuse_color = (*raw.colour, raw.alpha)
    if raw.texture is not None:
        image = material.node_tree.nodes.new("ShaderNodeTexImage")
        image.image = _image(raw.texture)
        material.node_tree.links.new(image.outputs["Color"], shader.inputs["Base Color"])
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
