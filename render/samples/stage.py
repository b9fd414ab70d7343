"""The empty Blender scene in which one sample model is built: materials and objects.

stage = Stage(scratch)
stage.place("Ball", ball(1.0), stage.paint("Red", 0xC03030))
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from PIL import Image

from render.samples.paint import rgb
from render.samples.shapes import Point3, Shape
from render.srgb import srgb_to_linear

COLORS = "Color"
"""Name of the vertex color attribute that PLY and glTF exporters expect."""
SHARP = math.radians(35)
"""Edges with a larger angle stay sharp; the others are shaded smooth."""


class Stage:
    """Empties Blender, then holds the objects of one model."""

    def __init__(self, scratch: Path):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scratch = scratch

    def paint(
        self,
        name: str,
        color: int = 0xFFFFFF,
        *,
        metallic: float = 0.0,
        roughness: float = 0.5,
        glass: float = 0.0,
        glow: float = 0.0,
    ) -> Any:
        """A material of one color, 0xRRGGBB sRGB; `glass` is transmission, `glow` emission strength."""
        material, shader = _principled(name)
        linear = (*srgb_to_linear(rgb(color)).tolist(), 1.0)
        shader.inputs["Base Color"].default_value = linear
        shader.inputs["Metallic"].default_value = metallic
        shader.inputs["Roughness"].default_value = roughness
        shader.inputs["Transmission Weight"].default_value = glass
        if glow:
            shader.inputs["Emission Color"].default_value = linear
            shader.inputs["Emission Strength"].default_value = glow
        return material

    def textured(self, name: str, image: np.ndarray, *, roughness: float = 0.6, cut_out: bool = False) -> Any:
        """A material with a texture, (H, W, 4) uint8 sRGB; with `cut_out`, its alpha cuts holes."""
        material, shader = _principled(name)
        shader.inputs["Roughness"].default_value = roughness
        nodes, links = material.node_tree.nodes, material.node_tree.links
        texture = nodes.new("ShaderNodeTexImage")
        texture.image = self._image(name, image)
        links.new(texture.outputs["Color"], shader.inputs["Base Color"])
        if cut_out:
            step = nodes.new("ShaderNodeMath")  # the glTF exporter writes a rounded alpha as MASK
            step.operation = "ROUND"
            links.new(texture.outputs["Alpha"], step.inputs[0])
            links.new(step.outputs[0], shader.inputs["Alpha"])
        return material

    def vertex_colored(self, name: str, *, roughness: float = 0.6) -> Any:
        """A material that shows the object's vertex colors."""
        material, shader = _principled(name)
        shader.inputs["Roughness"].default_value = roughness
        source = material.node_tree.nodes.new("ShaderNodeVertexColor")
        source.layer_name = COLORS
        material.node_tree.links.new(source.outputs["Color"], shader.inputs["Base Color"])
        return material

    def place(
        self,
        name: str,
        shape: Shape,
        material: Any,
        location: Point3 = (0, 0, 0),
        rotation: Point3 = (0, 0, 0),
        *,
        parent: Any = None,
        colors: np.ndarray | None = None,
    ) -> Any:
        """A new object; `rotation` in degrees about x, y, z; `colors` (V, 3) float64 sRGB in 0..1."""
        mesh = _mesh(name, shape, colors)
        mesh.materials.append(material)
        return self.duplicate(name, mesh, location, rotation, parent=parent)

    def duplicate(
        self, name: str, mesh: Any, location: Point3, rotation: Point3 = (0, 0, 0), *, parent: Any = None
    ) -> Any:
        """A linked duplicate: another object with the same mesh."""
        obj = bpy.data.objects.new(name, mesh)
        obj.location, obj.rotation_euler = location, [math.radians(angle) for angle in rotation]
        obj.parent = parent
        bpy.context.scene.collection.objects.link(obj)
        return obj

    def group(self, name: str, objects: list[Any]) -> Any:
        """Move objects from the scene into a collection that only its instances show."""
        collection = bpy.data.collections.new(name)
        for obj in objects:
            bpy.context.scene.collection.objects.unlink(obj)
            collection.objects.link(obj)
        return collection

    def instance(
        self, name: str, collection: Any, location: Point3, rotation: Point3 = (0, 0, 0), size: float = 1.0
    ) -> Any:
        """An empty that instances a collection."""
        obj = self.duplicate(name, None, location, rotation)
        obj.instance_type, obj.instance_collection = "COLLECTION", collection
        obj.scale = (size, size, size)
        return obj

    def _image(self, name: str, pixels: np.ndarray) -> Any:
        path = self.scratch / f"{name.lower().replace(' ', '_')}.png"
        opaque = pixels[..., 3].min() == 255
        Image.fromarray(pixels[..., :3] if opaque else pixels).save(path, optimize=True)
        return bpy.data.images.load(str(path))


def _principled(name: str) -> tuple[Any, Any]:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    return material, material.node_tree.nodes["Principled BSDF"]


def _mesh(name: str, shape: Shape, colors: np.ndarray | None) -> Any:
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(shape.vertices.tolist(), [], [list(f) for f in shape.faces])
    mesh.uv_layers.new(name="UVMap").data.foreach_set("uv", shape.uv.astype(np.float32).ravel())
    if colors is not None:
        rgba = np.column_stack([colors, np.ones(len(colors))]).astype(np.float32)
        rgba = rgba[[i for face in shape.faces for i in face]]
        attribute = mesh.color_attributes.new(
            COLORS, "BYTE_COLOR", "CORNER"
        )  # the only kind that Alembic writes
        attribute.data.foreach_set("color_srgb", rgba.ravel())
    mesh.shade_smooth()
    mesh.set_sharp_from_angle(angle=SHARP)
    return mesh
