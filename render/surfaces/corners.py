"""What the triangles of the frozen scene carry: materials, and values at their corners, such as UVs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import bpy
import numpy as np

from render.elements import corner_vertices, read

Reader = Callable[[bpy.types.Mesh, str], np.ndarray]
"""Gives an attribute of a mesh, by its name, at each corner: (L, C) float32."""


@dataclass(frozen=True)
class Places:
    """N places on triangles: each lies among three corners, which weigh in."""

    corner: np.ndarray  # (N, 3) int32, corners of all distinct meshes
    weight: np.ndarray  # (N, 3) float32

    def between(self, values: np.ndarray) -> np.ndarray:
        """(N, C) float32: what lies there of the corners' values (L, C)."""
        first, second, third = (
            values.take(self.corner[:, k], axis=0) * self.weight[:, k, None] for k in range(3)
        )
        return first + second + third


class Corners:
    """The F triangles of objects, in their order, as `FrozenScene.mesh` has them.

    Objects share meshes, so what a mesh carries is kept once: of its T triangles and L corners.
    """

    def __init__(self, objects: list[bpy.types.Object]):
        self._meshes = list(dict.fromkeys(obj.data for obj in objects))
        self.materials: list[bpy.types.Material] = list(
            dict.fromkeys(material for mesh in self._meshes for material in mesh.materials)
        )
        for mesh in self._meshes:
            mesh.calc_loop_triangles()
        counts = [len(mesh.loop_triangles) for mesh in self._meshes]
        start = dict(zip(self._meshes, np.cumsum([0, *counts]).tolist(), strict=False))
        self._triangle = np.concatenate(
            [start[obj.data] + np.arange(len(obj.data.loop_triangles), dtype=np.int32) for obj in objects]
        )
        self._known: dict[tuple[Reader, str], np.ndarray] = {}

    def places(self, triangle: np.ndarray, weight: np.ndarray) -> Places:
        """Places on triangles (N,), by the weights (N, 3) float32 of their corners."""
        return Places(self._corner.take(self._triangle[triangle], axis=0), weight)

    @cached_property
    def material(self) -> np.ndarray:
        """(F,) int32: index into `materials` of each triangle's."""
        number = {material: index for index, material in enumerate(self.materials)}
        own = []
        for mesh in self._meshes:
            slots = np.array([number[material] for material in mesh.materials], np.int32)
            own.append(slots[read(mesh.loop_triangles, "material_index", 1, np.int32)])
        return np.concatenate(own)[self._triangle]

    def uv(self, name: str) -> np.ndarray:
        """(L, 2) float32: the UV map of a name, or without one, each mesh's that renders; 0 where there is
        none, as in Cycles."""
        return self._gathered(_uv, name)

    def color(self, name: str) -> np.ndarray:
        """(L, 3) float32 linear: the color attribute of a name, or without one, each mesh's that renders."""
        return self._gathered(_color, name)

    @cached_property
    def _corner(self) -> np.ndarray:
        """(T, 3) int32: the corners of each triangle of the distinct meshes."""
        starts = np.cumsum([0, *(len(mesh.loops) for mesh in self._meshes)])
        own = (read(mesh.loop_triangles, "loops", 3, np.int32) for mesh in self._meshes)
        return np.concatenate([loops + start for loops, start in zip(own, starts.tolist(), strict=False)])

    def _gathered(self, read: Reader, name: str) -> np.ndarray:
        if (read, name) not in self._known:
            values = np.concatenate([read(mesh, name) for mesh in self._meshes])
            self._known[read, name] = np.nan_to_num(values, copy=False, posinf=0, neginf=0)
        return self._known[read, name]


def _uv(mesh: bpy.types.Mesh, name: str) -> np.ndarray:
    layers = mesh.uv_layers
    layer = layers.get(name) if name else next((one for one in layers if one.active_render), None)
    if layer is None:
        return np.zeros((len(mesh.loops), 2), np.float32)
    return read(layer.uv, "vector", 2, np.float32)


def _color(mesh: bpy.types.Mesh, name: str) -> np.ndarray:
    attributes = mesh.color_attributes
    index = attributes.find(name) if name else attributes.render_color_index
    if not 0 <= index < len(attributes):
        return np.zeros((len(mesh.loops), 3), np.float32)
    values = read(attributes[index].data, "color", 4, np.float32)[:, :3]
    if attributes[index].domain == "CORNER":
        return values
    return values[corner_vertices(mesh)]
