"""One evaluated mesh: what is wrong with it mended, and its triangles as arrays."""

from __future__ import annotations

import bmesh
import bpy
import numpy as np

FAR = 32  # a mesh this many sizes away from its own origin is moved next to it
CONTRADICTION = 0.03  # share of the area whose normals may point against their faces


def mend(mesh: bpy.types.Mesh) -> list[str]:
    """Drop faces that are not finite or repeat another, and normals that contradict faces. Returns notes."""
    notes = []
    for faces, why in (
        (_not_finite(mesh), "with corners that are not finite"),
        (_repeated(mesh), "repeated"),
    ):
        if len(faces):
            _drop(mesh, faces)
            notes.append(f"{len(faces)} faces {why}; left out")
    if len(mesh.polygons) and _normals_contradict_faces(mesh):
        if mesh.has_custom_normals:
            mesh.attributes.remove(mesh.attributes["custom_normal"])
        mesh.shade_flat()
        notes.append("normals point against their faces; lit flat")
    return notes


def bring_near(mesh: bpy.types.Mesh) -> np.ndarray:
    """Move vertices that lie far from their own origin next to it; returns the new origin, (3,) float64.

    Blender and Cycles transform in float32: a part modeled in map coordinates would lose its last digits.
    """
    own = vertices(mesh).astype(np.float64)
    low, high = own.min(0), own.max(0)
    origin = (low + high) / 2
    if np.abs(origin).max() < FAR * (high - low).max():
        return np.zeros(3)
    mesh.vertices.foreach_set("co", (own - origin).astype(np.float32).ravel())
    mesh.update()
    return origin


def vertices(mesh: bpy.types.Mesh) -> np.ndarray:
    """(V, 3) float32, the mesh's own frame."""
    return _read(mesh.vertices, "co", 3, np.float32)


def triangles(mesh: bpy.types.Mesh) -> np.ndarray:
    """(F, 3) int32, the triangulation that Cycles renders."""
    mesh.calc_loop_triangles()
    return _read(mesh.loop_triangles, "vertices", 3, np.int32)


def _read(collection: bpy.types.bpy_prop_collection, name: str, width: int, dtype: type) -> np.ndarray:
    """(N, width), or (N,) where width is 1: one property of every element."""
    out = np.empty(len(collection) * width, dtype)
    collection.foreach_get(name, out)
    return out.reshape(-1, width) if width > 1 else out


def _first_corners(mesh: bpy.types.Mesh) -> np.ndarray:
    """(P,) int32: where each polygon's corners begin; they lie one after the other."""
    return _read(mesh.polygons, "loop_start", 1, np.int32)


def _not_finite(mesh: bpy.types.Mesh) -> np.ndarray:
    """Indices of polygons with a NaN or an infinite corner."""
    bad = ~np.isfinite(vertices(mesh)).all(1)
    if not bad.any() or not len(mesh.polygons):
        return np.empty(0, np.int64)
    corners = bad[_read(mesh.loops, "vertex_index", 1, np.int32)]
    return np.flatnonzero(np.logical_or.reduceat(corners, _first_corners(mesh)))


def _repeated(mesh: bpy.types.Mesh) -> np.ndarray:
    """Indices of polygons whose corners lie where an earlier polygon's do: Cycles would shade both black."""
    if len(mesh.polygons) < 2:
        return np.empty(0, np.int64)
    corners = _place_hash(vertices(mesh))[_read(mesh.loops, "vertex_index", 1, np.int32)]
    polygons = np.add.reduceat(corners, _first_corners(mesh))  # the same whatever the order of the corners
    _, first = np.unique(polygons, return_index=True)
    return np.setdiff1d(np.arange(len(polygons)), first)


def _place_hash(places: np.ndarray) -> np.ndarray:
    """(V, 3) float32 -> (V,) uint64, equal for equal places; mixed as in SplitMix64 (Steele et al. 2014)."""
    bits = (places + np.float32(0)).view(np.uint32).astype(np.uint64)  # -0 becomes 0
    mixed = bits @ np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)
    for shift in (30, 27, 31):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(0xBF58476D1CE4E5B9)
    return mixed


def _drop(mesh: bpy.types.Mesh, faces: np.ndarray) -> None:
    """Remove polygons; the others keep their normals."""
    kept = np.ones(len(mesh.polygons), bool)
    kept[faces] = False
    normals = _read(mesh.corner_normals, "vector", 3, np.float32) if mesh.has_custom_normals else None
    corners = np.repeat(kept, _read(mesh.polygons, "loop_total", 1, np.int32))
    editable = bmesh.new()
    editable.from_mesh(mesh)
    editable.faces.ensure_lookup_table()
    bmesh.ops.delete(editable, geom=[editable.faces[i] for i in faces], context="FACES")
    editable.to_mesh(mesh)
    editable.free()
    if normals is not None and len(mesh.polygons):
        mesh.normals_split_custom_set(normals[corners].tolist())


def _normals_contradict_faces(mesh: bpy.types.Mesh) -> bool:
    """Whether normals face away from their polygons on a share of the area: Cycles shows that black."""
    shading = _read(mesh.corner_normals, "vector", 3, np.float32)
    flat = _read(mesh.polygons, "normal", 3, np.float32)  # `polygon_normals` would be the custom ones
    area = _read(mesh.polygons, "area", 1, np.float32)
    facing = (shading * np.repeat(flat, _read(mesh.polygons, "loop_total", 1, np.int32), 0)).sum(1)
    against = np.logical_or.reduceat(facing < -0.1, _first_corners(mesh))
    return bool(area[against].sum() > CONTRADICTION * area.sum())
