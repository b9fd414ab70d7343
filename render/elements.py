"""What Blender holds, taken out of it: the elements of a mesh as arrays, the file behind an image."""

from __future__ import annotations

import io

import bpy
import numpy as np
from PIL import Image

from render.failures import DAMAGE

UNREADABLE = (OSError, *DAMAGE, Image.DecompressionBombError)
"""What Pillow raises for a picture that is missing or damaged."""


def read(collection: bpy.types.bpy_prop_collection, name: str, width: int, dtype: type) -> np.ndarray:
    """(N, width), or (N,) if width is 1: one property of every element."""
    out = np.empty(len(collection) * width, dtype)
    collection.foreach_get(name, out)
    return out.reshape(-1, width) if width > 1 else out


def attribute(mesh: bpy.types.Mesh, name: str, value: str, width: int, dtype: type) -> np.ndarray:
    """As `read`, (N, width) or (N,) of one attribute: a copy of Blender's own array, and so a hundred times
    faster than the properties of loops and polygons."""
    return read(mesh.attributes[name].data, value, width, dtype)  # type: ignore[attr-defined]


def corner_vertices(mesh: bpy.types.Mesh) -> np.ndarray:
    """(C,) int32: index of each corner's vertex."""
    return attribute(mesh, ".corner_vert", "value", 1, np.int32)


def has_triangles_only(mesh: bpy.types.Mesh) -> bool:
    """Whether each three corners, in their order, are a polygon."""
    return len(mesh.loops) == 3 * len(mesh.polygons)  # no polygon has fewer corners


def opened(image: bpy.types.Image) -> Image.Image:
    """The file behind an image. Raises one of UNREADABLE, here or as its pixels are read."""
    packed = image.packed_file
    path = bpy.path.abspath(image.filepath).replace("\\", "/")  # as Blender reads names from Windows
    return Image.open(io.BytesIO(packed.data) if packed else path)
