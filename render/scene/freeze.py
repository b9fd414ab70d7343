"""The scene that is rendered: imported objects frozen as Blender evaluates them, in the normalized frame.

Importers leave rigs, modifiers, constraints, instances, cameras and lights behind. `freeze` evaluates all of
it once (depsgraph, instances included), keeps one plain mesh for each distinct evaluated geometry and one
object for each place where it stands, and throws the rest away. What is rendered is what `mesh.npz` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Matrix

from render.bundle import Mesh
from render.failures import FailureClass, ModelFailure
from render.scene import meshes

GEOMETRY = {"MESH", "CURVE", "SURFACE", "META", "FONT"}
SMALLEST_AREA = 1e-14  # of all faces together, longest side 1


@dataclass(frozen=True)
class Placed:
    """One evaluated mesh and one place where it stands."""

    mesh: bpy.types.Mesh
    matrix: np.ndarray  # (4, 4) float64, to world


@dataclass(frozen=True)
class Frozen:
    """The frozen scene: `x_normalized = (x_world - center) * scale`."""

    objects: list[bpy.types.Object]
    mesh: Mesh
    center: np.ndarray  # (3,) float64, world units
    scale: float
    counts: dict[str, int]
    notes: list[str]

    @property
    def radius(self) -> float:
        """Of the bounding sphere about the origin, normalized units."""
        return float(np.linalg.norm(self.mesh.vertices.astype(np.float64), axis=1).max())


def reset() -> None:
    """An empty scene and factory settings: nothing of the model before survives."""
    bpy.ops.wm.read_factory_settings(use_empty=True)


def freeze(path_name: str) -> Frozen:
    """Evaluate the imported scene, normalize it and replace it by plain meshes. Raises ModelFailure."""
    counts = count_imported()
    frame = _show_what_renders()
    notes: list[str] = []
    placed = list(_evaluated(notes))
    if not placed:
        raise ModelFailure(
            FailureClass.EMPTY,
            f"{path_name}: imported, but nothing in it has a face that renders. A point cloud, a rig?",
        )
    vertices, faces = _triangles(placed)
    center, scale = normalization(vertices, faces, path_name)
    anchor = _replace_scene()
    objects = [_place(p, center, scale, anchor) for p in placed]
    mesh = Mesh(((vertices - center) * scale).astype(np.float32), faces)
    counts |= {"frame": frame, "placed": len(placed), "faces": len(faces), "vertices": len(vertices)}
    return Frozen(objects, mesh, center, scale, counts, notes)


def normalization(vertices: np.ndarray, faces: np.ndarray, path_name: str) -> tuple[np.ndarray, float]:
    """Center (3,) and scale that bring the box of all faces to longest side -1..1. Raises ModelFailure."""
    used = vertices[np.unique(faces)]
    low, high = used.min(0), used.max(0)
    side = float((high - low).max())
    if not np.isfinite(side) or side <= 0:
        raise ModelFailure(
            FailureClass.EMPTY,
            f"{path_name}: its box has no size ({low} to {high}): every face is degenerate.",
        )
    corners = (vertices[faces] - low) / side
    area = (
        np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()
        / 2
    )
    if area < SMALLEST_AREA:
        raise ModelFailure(
            FailureClass.EMPTY,
            f"{path_name}: every face is degenerate: {len(faces)} of them without any area.",
        )
    return (low + high) / 2, 2 / side


def count_imported() -> dict[str, int]:
    """What the importer brought, for `meta.json`."""
    return {
        "objects": len(bpy.data.objects),
        "meshes": len(bpy.data.meshes),
        "materials": len(bpy.data.materials),
        "textures": sum(image.source != "VIEWER" for image in bpy.data.images),
        "animations": len(bpy.data.actions),
        "armatures": len(bpy.data.armatures),
        "shape_keys": len(bpy.data.shape_keys),
    }


def _show_what_renders() -> int:
    """Make the viewport's evaluation equal to a render's, at frame 1 or the first. Returns the frame."""
    scene = bpy.context.scene
    for collection in bpy.data.collections:
        collection.hide_viewport = collection.hide_render
    for layer in _layer_collections(bpy.context.view_layer.layer_collection):
        layer.hide_viewport = False
    for thing in scene.objects:
        thing.hide_viewport = thing.hide_render or not thing.visible_camera
        if thing.name in bpy.context.view_layer.objects:
            thing.hide_set(False)
        for modifier in thing.modifiers:
            modifier.show_viewport = modifier.show_render
            if modifier.type in {"SUBSURF", "MULTIRES"}:
                modifier.levels = modifier.render_levels
    frame = 1 if scene.frame_start <= 1 <= scene.frame_end else scene.frame_start
    scene.frame_set(frame)
    return frame


def _layer_collections(layer: bpy.types.LayerCollection) -> Iterator[bpy.types.LayerCollection]:
    yield layer
    for child in layer.children:
        yield from _layer_collections(child)


def _evaluated(notes: list[str]) -> Iterator[Placed]:
    """Every place where the depsgraph puts renderable faces; equal geometry is converted once."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    known: dict[tuple, tuple[bpy.types.Mesh, np.ndarray] | None] = {}
    for instance in depsgraph.object_instances:
        thing = instance.object
        if not instance.show_self or thing.type not in GEOMETRY or thing.hide_render or thing.data is None:
            continue
        slots = tuple(slot.material.name if slot.material else "" for slot in thing.material_slots)
        key = (thing.data.as_pointer(), thing.type, slots)
        if key not in known:
            known[key] = _plain_mesh(thing, depsgraph, notes)
        found = known[key]
        if found is None:
            continue
        mesh, origin = found
        matrix = np.array(instance.matrix_world, np.float64) @ _translation(origin)
        if np.isfinite(matrix).all():
            yield Placed(mesh, matrix)
        else:
            notes.append(f"{thing.name}: its transform is not finite; left out")


def _plain_mesh(
    thing: bpy.types.Object, depsgraph: bpy.types.Depsgraph, notes: list[str]
) -> tuple[bpy.types.Mesh, np.ndarray] | None:
    """The evaluated geometry of one object as a mesh of its own and its origin, or None without faces."""
    mesh = bpy.data.meshes.new_from_object(thing, preserve_all_data_layers=True, depsgraph=depsgraph)
    if mesh is None:
        return None
    notes += [f"{thing.name}: {note}" for note in meshes.mend(mesh)]
    if not len(mesh.polygons):
        return None
    for index, slot in enumerate(thing.material_slots):
        if slot.link == "OBJECT" and slot.material and index < len(mesh.materials):
            mesh.materials[index] = slot.material.original
    return mesh, meshes.bring_near(mesh)


def _translation(offset: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


def _triangles(placed: list[Placed]) -> tuple[np.ndarray, np.ndarray]:
    """All places' triangles in one: (V, 3) float64 world, (F, 3) int32."""
    own = {p.mesh: (meshes.vertices(p.mesh).astype(np.float64), meshes.triangles(p.mesh)) for p in placed}
    vertices, faces, start = [], [], 0
    for p in placed:
        corners, triangles = own[p.mesh]
        vertices.append(corners @ p.matrix[:3, :3].T + p.matrix[:3, 3])
        faces.append(triangles + start)
        start += len(corners)
    return np.concatenate(vertices), np.concatenate(faces).astype(np.int32)


def _replace_scene() -> bpy.types.Object:
    """Remove every object, light, camera and world of the model; keep meshes, materials and images."""
    scene = bpy.context.scene
    bpy.data.batch_remove(
        [*bpy.data.objects, *bpy.data.collections, *(s for s in bpy.data.scenes if s != scene)]
    )
    scene.world = None
    scene.render.use_compositing = scene.render.use_sequencer = False
    scene.render.use_freestyle = scene.render.use_border = False
    anchor = bpy.data.objects.new("anchor", None)
    scene.collection.objects.link(anchor)
    return anchor


def _place(placed: Placed, center: np.ndarray, scale: float, anchor: bpy.types.Object) -> bpy.types.Object:
    """A new object for one place, in the normalized frame."""
    matrix = placed.matrix.copy()
    matrix[:3, 3] -= center
    matrix[:3] *= scale
    thing = bpy.data.objects.new(placed.mesh.name, placed.mesh)
    bpy.context.scene.collection.objects.link(thing)
    # an object's own matrix is rebuilt from location, rotation and scale: shear survives in the parent's only
    thing.parent = anchor
    thing.matrix_parent_inverse = Matrix(matrix.tolist())
    return thing
