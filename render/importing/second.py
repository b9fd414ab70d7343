"""A second reading of a model whose import the file itself contradicts, taken where the file bears it out.

    taken = second_reading(path, imported, doubt, scratch)  # None: the import stays, and the doubt is a note

`render.importing.witness` finds the doubt. Assimp reads glTF, OBJ, PLY and STL apart from Blender (USD has no
other library). Its shape is taken if it has the file's box and, where known, area. The importer's materials
stay, by their names; if images would be lost all the same, only the shape of an import that is `FAR_OFF` is
replaced.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import bpy
import numpy as np

from render.failures import ModelFailure
from render.importing import convert, rawmesh
from render.importing.blender import Imported
from render.importing.rawmesh import RawMesh
from render.importing.witness import Doubt, disagreement

FAR_OFF = 0.05
"""Of the longest side, or of the area: shape matters more than colors."""
_KINDS = frozenset({"glb", "gltf", "obj", "ply", "stl"})


def second_reading(path: Path, imported: Imported, doubt: Doubt, scratch: Path) -> Imported | None:
    """Replace all objects of the scene, made from `path`, if assimp reads what the file says; else None."""
    if imported.format not in _KINDS:
        return None
    try:
        meshes = convert.read_assimp(path, imported.format, scratch)
    except ModelFailure:
        return None
    if not meshes or disagreement(path, imported.format, *_triangles(meshes)) is not None:
        return None
    if _lost_images(meshes) and doubt.share < FAR_OFF:
        return None
    bpy.data.batch_remove([*bpy.data.objects, *bpy.data.meshes])
    built = rawmesh.build(meshes, _kept(meshes))
    note = f"assimp's shape is taken, which the file bears out; {imported.importer} read another: {doubt}"
    return Imported(imported.format, "assimp", [*imported.notes, *built.notes, note], built.offset)


def _triangles(meshes: list[RawMesh]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) float64 in world, and triangles (F, 3) int."""
    counts = np.cumsum([0, *(len(raw.vertices) for raw in meshes)])
    vertices = [raw.vertices @ raw.matrix[:3, :3].T + raw.matrix[:3, 3] for raw in meshes]
    faces = [raw.corners.reshape(-1, 3) + first for raw, first in zip(meshes, counts, strict=False)]
    return np.concatenate(vertices), np.concatenate(faces)


def _kept(meshes: list[RawMesh]) -> dict[str, bpy.types.Material]:
    """The importer's materials whose names the second reading has, each for one material."""
    names = Counter(material.name for material in {raw.material for raw in meshes} if material)
    ours = bpy.data.materials
    return {name: ours[name] for name, count in names.items() if count == 1 and name in ours}


def _lost_images(meshes: list[RawMesh]) -> bool:
    """Whether materials with images are in use that would not be kept."""
    kept = set(_kept(meshes).values())
    return any(_has_image(one) for one in bpy.data.materials if one.users and one not in kept)


def _has_image(material: bpy.types.Material) -> bool:
    nodes = material.node_tree.nodes if material.node_tree else ()
    return any(isinstance(node, bpy.types.ShaderNodeTexImage) and node.image for node in nodes)
