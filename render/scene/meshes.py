"""One evaluated mesh: cleaning it, and reading its triangles as arrays."""

from __future__ import annotations

import bmesh
import bpy
import numpy as np

from render.elements import attribute, corner_vertices, has_triangles_only, read

FAR = 32  # a mesh farther from its own origin than this many times its size is recentered
CONTRADICTION = 0.03  # largest share of the area on which normals may point against their faces


def clean(mesh: bpy.types.Mesh) -> list[str]:
    """Drop non-finite, duplicate and point-like faces, vertices without faces, and normals that contradict
    their faces. Returns notes."""
    notes = []
    for find in (_non_finite, _repeating):
        found = find(mesh) if len(mesh.polygons) else {}
        if sum(map(len, found.values())):
            _drop(mesh, np.concatenate(list(found.values())))
        notes += [f"faces removed: {len(faces)} {kind}" for kind, faces in found.items() if len(faces)]
    if len(mesh.polygons):
        _gather_unused(mesh)
    if len(mesh.polygons) and _normals_contradict_faces(mesh):
        if mesh.has_custom_normals:
            mesh.attributes.remove(mesh.attributes["custom_normal"])
        mesh.shade_flat()
        notes.append("normals point against their faces; shaded flat")
    return notes


def recenter(mesh: bpy.types.Mesh) -> np.ndarray:
    """Move vertices that lie far from the mesh's origin next to it; return the new origin, (3,) float64.

    Blender and Cycles transform in float32, so a part modeled in map coordinates would lose precision.
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
    """(V, 3) float32 in the mesh's own frame."""
    return attribute(mesh, "position", "vector", 3, np.float32)


def triangles(mesh: bpy.types.Mesh) -> np.ndarray:
    """(F, 3) int32 vertex indices: the triangulation that Cycles renders."""
    if has_triangles_only(mesh):
        return corner_vertices(mesh).reshape(-1, 3)
    mesh.calc_loop_triangles()
    return read(mesh.loop_triangles, "vertices", 3, np.int32)


def _first_corners(mesh: bpy.types.Mesh) -> np.ndarray:
    """(P,) int32: index of each polygon's first corner; its corners are contiguous."""
    if has_triangles_only(mesh):
        return np.arange(0, len(mesh.loops), 3, dtype=np.int32)
    return read(mesh.polygons, "loop_start", 1, np.int32)


def _corner_counts(mesh: bpy.types.Mesh) -> np.ndarray:
    """(P,) int32: how many corners each polygon has."""
    if has_triangles_only(mesh):
        return np.full(len(mesh.polygons), 3, np.int32)
    return read(mesh.polygons, "loop_total", 1, np.int32)


def _non_finite(mesh: bpy.types.Mesh) -> dict[str, np.ndarray]:
    """Indices of polygons with a NaN or an infinite corner."""
    finite = np.isfinite(vertices(mesh))
    if finite.all():
        return {}
    corners = ~finite.all(1)[corner_vertices(mesh)]
    return {"non-finite": np.flatnonzero(np.logical_or.reduceat(corners, _first_corners(mesh)))}


def _repeating(mesh: bpy.types.Mesh) -> dict[str, np.ndarray]:
    """Indices of polygons that are a point apart, as exporters leave some at the origin, and of those with
    the corner positions of an earlier one: Cycles would shade both black."""
    corners = _position_hash(vertices(mesh))[corner_vertices(mesh)]
    points = _points(corners, mesh)
    polygons = np.add.reduceat(corners, _first_corners(mesh))  # independent of the corners' order
    ordered = np.sort(polygons)
    if not (ordered[1:] == ordered[:-1]).any():
        return {"point-like": points}
    _, first = np.unique(polygons, return_index=True)
    duplicates = np.setdiff1d(np.arange(len(polygons)), first)
    return {"point-like": points, "duplicate": np.setdiff1d(duplicates, points)}


def _points(corners: np.ndarray, mesh: bpy.types.Mesh) -> np.ndarray:
    """Indices of polygons whose corners (C,) have one hash and lie outside the box of the others."""
    first = _first_corners(mesh)
    if has_triangles_only(mesh):
        a, b, c = corners.reshape(-1, 3).T
        found = np.flatnonzero((a == b) & (a == c))
    else:
        found = np.flatnonzero(np.minimum.reduceat(corners, first) == np.maximum.reduceat(corners, first))
    others = np.ones(len(first), bool)
    others[found] = False
    if others.all() or not others.any():
        return np.empty(0, np.int64)
    own, index = vertices(mesh), corner_vertices(mesh)
    box = own[index[np.repeat(others, _corner_counts(mesh))]]
    places = own[index[first[found]]]
    return found[((places < box.min(0)) | (places > box.max(0))).any(1)]


def _position_hash(positions: np.ndarray) -> np.ndarray:
    """(V, 3) float32 -> (V,) uint64, equal for equal positions; mixed by SplitMix64 (Steele et al. 2014)."""
    bits = (positions + np.float32(0)).view(np.uint32).astype(np.uint64)  # -0 becomes 0
    mixed = bits @ np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)
    for shift in (30, 27, 31):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(0xBF58476D1CE4E5B9)
    return mixed


def _gather_unused(mesh: bpy.types.Mesh) -> None:
    """Put vertices without a face, which may lie anywhere, where one with a face is."""
    unused = np.ones(len(mesh.vertices), bool)
    corners = corner_vertices(mesh)
    unused[corners] = False
    if unused.any():
        own = vertices(mesh)
        own[unused] = own[corners[0]]
        mesh.vertices.foreach_set("co", own.ravel())
        mesh.update()


def _drop(mesh: bpy.types.Mesh, faces: np.ndarray) -> None:
    """Remove polygons (N,); the others keep their normals."""
    kept = np.ones(len(mesh.polygons), bool)
    kept[faces] = False
    normals = read(mesh.corner_normals, "vector", 3, np.float32) if mesh.has_custom_normals else None
    corners = np.repeat(kept, _corner_counts(mesh))
    editable = bmesh.new()
    editable.from_mesh(mesh)
    editable.faces.ensure_lookup_table()
    bmesh.ops.delete(editable, geom=[editable.faces[i] for i in faces], context="FACES")
    editable.to_mesh(mesh)
    editable.free()
    if normals is not None and len(mesh.polygons):
        mesh.normals_split_custom_set(normals[corners].tolist())


def _normals_contradict_faces(mesh: bpy.types.Mesh) -> bool:
    """Whether normals face away from their polygons on too much of the area: Cycles renders that black."""
    if mesh.normals_domain == "FACE" and not mesh.has_custom_normals:
        return False  # they are the polygons' own
    shading = read(mesh.corner_normals, "vector", 3, np.float32)
    flat = read(mesh.polygons, "normal", 3, np.float32)  # `polygon_normals` would be the custom ones
    area = read(mesh.polygons, "area", 1, np.float32)
    facing = np.einsum("ij,ij->i", shading, np.repeat(flat, _corner_counts(mesh), axis=0))
    against = np.logical_or.reduceat(facing < -0.1, _first_corners(mesh))
    return bool(area[against].sum() > CONTRADICTION * area.sum())
