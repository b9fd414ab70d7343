"""Formats without a Blender importer, read into plain meshes: 3ds, off, 3mf, x3d, wrl.

Assimp reads 3ds, and the Collada that pycollada cannot, with node transforms, material colors, color
textures, texture coordinates, normals and vertex colors. Its X3D reader stops at textures, its OFF reader
drops colors, its 3MF reader drops the materials of single triangles, and it has none for VRML: those four
have readers of their own (`render.importing.off`, `threemf`, `x3d`).

Vertical axis: assimp turns 3ds and dae to Y up, X3D and VRML are Y up; all are turned to Blender's Z up.
OFF and 3MF keep their axes. Colors of all these formats are display values and are taken as sRGB, except
that Collada's material colors are linear (see `render.importing.collada`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import assimp_py
import numpy as np

from render.failures import DAMAGE, FailureClass, ModelFailure
from render.importing import off, rawmesh, threemf, x3d
from render.importing.rawmesh import Built, RawMaterial, RawMesh
from render.srgb import srgb_to_linear

_Z_UP = frozenset({"ply", "stl"})  # as they are
_LINEAR_COLORS = frozenset({"glb", "gltf"})
_LINEAR_MATERIALS = _LINEAR_COLORS | {"dae"}
_FLAGS = assimp_py.Process_Triangulate | assimp_py.Process_SortByPType


def build(path: Path, kind: str, scratch: Path) -> tuple[str, Built]:
    """Make the objects of `path`, of format `kind`, in the current scene; what read it, and notes.

    Raises ModelFailure.
    """
    if kind == "off":
        name, meshes = "render.importing.off", off.read_off(path)
    elif kind == "3mf":
        name, meshes = "render.importing.threemf", threemf.read_3mf(path, scratch)
    elif kind in ("x3d", "wrl"):
        name, meshes = "render.importing.x3d", x3d.read_x3d(path)
    else:
        name, meshes = "assimp", read_assimp(path, kind, scratch)
    return name, rawmesh.build(meshes)


def read_assimp(path: Path, kind: str, scratch: Path) -> list[RawMesh]:
    """Every mesh of the scene at its place, in Blender's axes. Raises ModelFailure with assimp's words."""
    named = path
    if path.suffix.lower() != f".{kind}":  # assimp picks its reader by the name
        named = scratch / f"renamed.{kind}"
        shutil.copyfile(path, named)
    try:
        return _read_meshes(named, path, kind)
    except DAMAGE as error:  # ValueError: it holds polygons of two corners
        raise ModelFailure(
            FailureClass.IMPORT_ERROR, f"{path.name}: {str(error).replace(str(named), path.name)[:500]}"
        ) from error


def _read_meshes(file: Path, path: Path, kind: str) -> list[RawMesh]:
    """What assimp reads of `file`, a copy of the model at `path` or itself."""
    scene = assimp_py.import_file(str(file), _FLAGS)
    materials = [_material(material, path, kind in _LINEAR_MATERIALS) for material in scene.materials]
    placed = _placed(scene.root_node, np.eye(4) if kind in _Z_UP else rawmesh.Y_UP)
    linear = kind in _LINEAR_COLORS
    return [raw for i, matrix in placed if (raw := _mesh(scene.meshes[i], matrix, materials, linear))]


def _placed(node: Any, parent: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(mesh index, world matrix) of every mesh under `node`."""
    matrix = parent @ np.array(node.transformation, float)
    for index in node.mesh_indices:
        yield index, matrix
    for child in node.children:
        yield from _placed(child, matrix)


def _mesh(mesh: Any, matrix: np.ndarray, materials: list[RawMaterial], linear: bool) -> RawMesh | None:
    """One mesh with its coinciding vertices welded, or None where it is not of triangles.

    `linear` says that its colors are.
    """
    if mesh.num_faces == 0 or mesh.num_indices != 3 * mesh.num_faces:
        return None
    corners = np.asarray(mesh.indices, np.int64).ravel()
    vertices, where = np.unique(_rows(mesh.vertices, mesh), axis=0, return_inverse=True)
    colors = _rows(mesh.colors[0], mesh) if mesh.colors else None
    if colors is not None and not linear:
        colors[:, :3] = srgb_to_linear(colors[:, :3])
    return RawMesh(
        name=mesh.name or "Mesh",
        vertices=vertices,
        corners=where.ravel()[corners],
        sizes=np.full(mesh.num_faces, 3),
        uv=_rows(mesh.texcoords[0], mesh)[corners, :2] if mesh.texcoords else None,
        colors=None if colors is None else colors[corners],
        normals=_rows(mesh.normals, mesh)[corners] if mesh.normals else None,
        material=materials[mesh.material_index] if mesh.material_index < len(materials) else None,
        matrix=matrix,
    )


def _rows(values: Any, mesh: Any) -> np.ndarray:
    """assimp_py's flat memory view as one row per vertex."""
    return np.array(values, np.float64).reshape(mesh.num_vertices, -1)


def _material(found: dict[str, Any], path: Path, linear: bool) -> RawMaterial:
    color = np.array(found.get("COLOR_DIFFUSE", (0.8, 0.8, 0.8))[:3], float)
    red, green, blue = (float(c) for c in (color if linear else srgb_to_linear(color)))
    opacity = float(found.get("OPACITY", 1.0))
    textures = found.get("TEXTURES", {}).get(assimp_py.TextureType_DIFFUSE, [])
    return RawMaterial(
        name=found.get("NAME") or "Material",
        color=(red, green, blue),
        alpha=opacity if opacity > 0 else 1.0,  # many exporters write 0 and mean opaque
        texture=rawmesh.find_texture(textures[0], path.parent) if textures else None,
    )
