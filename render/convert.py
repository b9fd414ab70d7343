"""Formats without a Blender importer, read by assimp and built as Blender meshes: 3ds, 3mf, x3d, and stubborn Collada.

Node transforms, material colours, colour textures, texture coordinates, normals and vertex colours survive. Assimp turns
3ds, dae and x3d to Y-up; they are turned back to Blender's Z-up. Colours in 3ds, 3mf and x3d are display values and are
taken as sRGB; Collada's are taken as they are, which is what Blender's own Collada importer does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import assimp_py
import numpy as np

from render import rawmesh
from render.failures import ModelFailure
from render.rawmesh import RawMaterial, RawMesh, srgb_to_linear

_FLAGS = assimp_py.Process_Triangulate | assimp_py.Process_SortByPType
_Z_UP = {"3mf", "off"}


def build(path: Path, kind: str, scratch: Path) -> tuple[str, list[str]]:
    """Read `path` as format `kind` and make its objects in the current scene: (what read it, notes). Raises ModelFailure."""
    meshes = read_assimp(path, kind, scratch)
    rawmesh.build(meshes)
    return "assimp", _missing(meshes)


def _missing(meshes: list[RawMesh]) -> list[str]:
    textures = {mesh.material.texture for mesh in meshes if mesh.material and mesh.material.texture}
    return [f"texture missing: {texture.name}" for texture in sorted(textures) if not texture.is_file()]


def read_assimp(path: Path, kind: str, scratch: Path) -> list[RawMesh]:
    """Every mesh of the scene at its place, Z up. Raises ModelFailure with assimp's words."""
    named = path
    if path.suffix.lower() != f".{kind}":  # assimp picks its reader by the name
        named = scratch / f"renamed.{kind}"
        named.unlink(missing_ok=True)
        named.symlink_to(path)
    try:
        scene = assimp_py.import_file(str(named), _FLAGS)
    except RuntimeError as error:
        raise ModelFailure(
            "import_error", f"{path.name}: {str(error).replace(str(named), path.name)[:500]}"
        ) from error
    linear = kind == "dae"
    materials = [_material(material, path, linear) for material in scene.materials]
    up = np.eye(4) if kind in _Z_UP else rawmesh.Y_UP
    placed = _placed(scene.root_node, up)
    return [raw for i, matrix in placed if (raw := _mesh(scene.meshes[i], matrix, materials, linear))]


def _placed(node: Any, parent: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(mesh index, world matrix) of every mesh under `node`."""
    matrix = parent @ np.array(node.transformation, float)
    for index in node.mesh_indices:
        yield index, matrix
    for child in node.children:
        yield from _placed(child, matrix)


def _mesh(mesh: Any, matrix: np.ndarray, materials: list[RawMaterial], linear: bool) -> RawMesh | None:
    """One mesh with its coinciding vertices welded, or None where it is not of triangles."""
    if mesh.num_faces == 0 or mesh.num_indices != 3 * mesh.num_faces:
        return None
    corners = np.asarray(mesh.indices, np.int64).ravel()
    vertices, where = np.unique(_rows(mesh.vertices, mesh), axis=0, return_inverse=True)
    colours = _rows(mesh.colors[0], mesh) if mesh.colors else None
    if colours is not None and not linear:
        colours[:, :3] = srgb_to_linear(colours[:, :3])
    return RawMesh(
        name=mesh.name or "Mesh",
        vertices=vertices,
        triangles=where.ravel()[corners].reshape(-1, 3),
        uv=_rows(mesh.texcoords[0], mesh)[corners, :2] if mesh.texcoords else None,
        colours=None if colours is None else colours[corners],
        normals=_rows(mesh.normals, mesh)[corners] if mesh.normals else None,
        material=materials[mesh.material_index] if mesh.material_index < len(materials) else None,
        matrix=matrix,
    )


def _rows(values: Any, mesh: Any) -> np.ndarray:
    """assimp_py's flat memory view as one row a vertex."""
    return np.array(values, np.float64).reshape(mesh.num_vertices, -1)


def _material(found: dict[str, Any], path: Path, linear: bool) -> RawMaterial:
    colour = np.array(found.get("COLOR_DIFFUSE", (0.8, 0.8, 0.8))[:3], float)
    red, green, blue = (float(c) for c in (colour if linear else srgb_to_linear(colour)))
    opacity = float(found.get("OPACITY", 1.0))
    textures = found.get("TEXTURES", {}).get(assimp_py.TextureType_DIFFUSE, [])
    return RawMaterial(
        name=found.get("NAME") or "Material",
        colour=(red, green, blue),
        alpha=opacity if opacity > 0 else 1.0,  # many exporters write 0 and mean opaque
        texture=find_texture(textures[0], path.parent) if textures else None,
    )


def find_texture(name: str, folder: Path) -> Path:
    """The image that a model in `folder` calls `name`: as told, else of the same name beside it, whatever the case."""
    told = folder / name.replace("\\", "/")
    if told.is_file():
        return told
    wanted = told.name.lower()
    for place in (folder, folder / "textures", folder / "images", folder.parent / "textures"):
        if place.is_dir():
            for entry in place.iterdir():
                if entry.name.lower() == wanted:
                    return entry
    return told
