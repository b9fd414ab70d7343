"""The scene to render: imported objects as Blender evaluates them, frozen, in the normalized frame.

Importers leave rigs, modifiers, constraints, instances, cameras and lights. `freeze` evaluates the dependency
graph once, keeps one plain mesh per distinct evaluated geometry and one object per instance of it, and
removes the rest. So the renders show exactly the triangles of `mesh.npz`.
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
from render.scene.frames import settled_frame

MIN_AREA = 1e-14  # of all faces together, with the longest side scaled to 1
_AT_ONCE = 1 << 16  # faces whose area is summed in one go


@dataclass(frozen=True)
class Placed:
    """One instance of an evaluated mesh."""

    mesh: bpy.types.Mesh
    matrix: np.ndarray  # (4, 4) float64, to world


@dataclass(frozen=True)
class FrozenScene:
    """The frozen scene; `x_normalized = (x_world - center) * scale`."""

    objects: list[bpy.types.Object]
    mesh: Mesh
    center: np.ndarray  # (3,) float64, world units
    scale: float
    counts: dict[str, int]
    notes: list[str]

    @property
    def radius(self) -> float:
        """Radius of the bounding sphere about the origin, normalized units."""
        return float(np.linalg.norm(self.mesh.vertices.astype(np.float64), axis=1).max())


def reset() -> None:
    """Load factory settings and an empty scene: nothing of the previous model remains."""
    bpy.ops.wm.read_factory_settings(use_empty=True)


def freeze(path_name: str, offset: np.ndarray) -> FrozenScene:
    """Evaluate the imported scene, normalize it and replace it with plain meshes. Raises ModelFailure.

    `offset` (3,) float64 is how far the importer moved a scene that lay far from its origin.
    """
    counts = _count_imported()
    frame = _show_what_renders()
    notes: list[str] = []
    placed = list(_evaluated(notes))
    if not placed:
        raise ModelFailure(
            FailureClass.EMPTY,
            f"{path_name}: imported, but nothing in it has faces that render. Is it a point cloud or a rig?",
        )
    vertices, faces = _triangles(placed)
    center, scale = _normalization(vertices, faces, path_name)
    anchor = _replace_scene()
    objects = [_place(p, center, scale, anchor) for p in placed]
    mesh = Mesh(((vertices - center) * scale).astype(np.float32), faces)
    counts |= {"frame": frame, "placed": len(placed), "faces": len(faces), "vertices": len(vertices)}
    return FrozenScene(objects, mesh, center + offset, scale, counts, notes)


def _normalization(vertices: np.ndarray, faces: np.ndarray, path_name: str) -> tuple[np.ndarray, float]:
    """Center (3,) and scale that fit the faces' bounding box into -1..1 along its longest side.

    `vertices` (V, 3) float64 world units, `faces` (F, 3) int32. Raises ModelFailure.
    """
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    low, high = vertices[used].min(0), vertices[used].max(0)
    side = float((high - low).max())
    if not np.isfinite(side) or side <= 0:
        raise ModelFailure(
            FailureClass.EMPTY,
            f"{path_name}: its bounding box has no size ({low} to {high}): every face is degenerate.",
        )
    if not _has_area((vertices - low) / side, faces):
        raise ModelFailure(
            FailureClass.EMPTY,
            f"{path_name}: all {len(faces)} faces are degenerate: they have no area.",
        )
    return (low + high) / 2, 2 / side


def _has_area(vertices: np.ndarray, faces: np.ndarray) -> bool:
    """Whether the faces (F, 3) of vertices (V, 3) float64 have MIN_AREA together; mostly the first do."""
    area = 0.0
    for start in range(0, len(faces), _AT_ONCE):
        a, b, c = vertices[faces[start : start + _AT_ONCE]].swapaxes(0, 1)
        area += np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
        if area >= MIN_AREA:
            return True
    return False


def _count_imported() -> dict[str, int]:
    """What the importer created, for `meta.json`."""
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
    """Make the viewport evaluate what a render would, at `settled_frame` of frame 1 or else the first.

    Returns the frame.
    """
    scene = bpy.context.scene
    for collection in bpy.data.collections:
        collection.hide_viewport = collection.hide_render
    for layer in _layer_collections(bpy.context.view_layer.layer_collection):
        layer.hide_viewport = False
    shown = set(bpy.context.view_layer.objects)
    for obj in bpy.data.objects:  # includes objects of collections that are only instanced
        obj.hide_viewport = obj.hide_render or not obj.visible_camera
        if obj in shown:
            obj.hide_set(False)
        for modifier in obj.modifiers:
            modifier.show_viewport = modifier.show_render
            if modifier.type in {"SUBSURF", "MULTIRES"}:
                modifier.levels = modifier.render_levels
    frame = settled_frame(1 if scene.frame_start <= 1 <= scene.frame_end else scene.frame_start)
    scene.frame_set(frame)
    return frame


def _layer_collections(layer: bpy.types.LayerCollection) -> Iterator[bpy.types.LayerCollection]:
    yield layer
    for child in layer.children:
        yield from _layer_collections(child)


def _evaluated(notes: list[str]) -> Iterator[Placed]:
    """Every instance with renderable faces in the dependency graph; equal geometry is converted once.

    As in Cycles, only instances whose data is a mesh render. Curves, texts and metaballs have such an
    instance beside their own; so does all geometry that geometry nodes place, under the name of the object
    with the modifier.
    """
    depsgraph = bpy.context.evaluated_depsgraph_get()
    known: dict[tuple, tuple[bpy.types.Mesh, np.ndarray] | None] = {}
    for instance in depsgraph.object_instances:
        obj = instance.object
        if not instance.show_self or not isinstance(obj.data, bpy.types.Mesh):
            continue
        if obj.hide_render and not instance.is_instance:
            continue
        slots = tuple(slot.material.name if slot.material else "" for slot in obj.material_slots)
        key = (obj.data.as_pointer(), slots)
        if key not in known:
            known[key] = _plain_mesh(obj, depsgraph, notes)
        found = known[key]
        if found is None:
            continue
        mesh, origin = found
        matrix = np.array(instance.matrix_world, np.float64) @ _translation(origin)
        if np.isfinite(matrix).all():
            yield Placed(mesh, matrix)
        else:
            notes.append(f"{obj.name}: its transform is not finite; skipped")


def _plain_mesh(
    obj: bpy.types.Object, depsgraph: bpy.types.Depsgraph, notes: list[str]
) -> tuple[bpy.types.Mesh, np.ndarray] | None:
    """A copy of one instance's mesh, and its origin (3,); None if it has no faces."""
    if obj.original.evaluated_get(depsgraph).data == obj.data:
        mesh = bpy.data.meshes.new_from_object(obj, preserve_all_data_layers=True, depsgraph=depsgraph)
    else:  # not the object's own mesh, which is all that `new_from_object` would give
        mesh = obj.data.copy()
    notes += [f"{obj.name}: {note}" for note in meshes.clean(mesh)]
    if not len(mesh.polygons):
        return None
    for index, slot in enumerate(obj.material_slots):
        if slot.link == "OBJECT" and slot.material and index < len(mesh.materials):
            mesh.materials[index] = slot.material.original
    return mesh, meshes.recenter(mesh)


def _translation(offset: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


def _triangles(placed: list[Placed]) -> tuple[np.ndarray, np.ndarray]:
    """The triangles of all instances together: (V, 3) float64 world, (F, 3) int32."""
    own = {p.mesh: (meshes.vertices(p.mesh).astype(np.float64), meshes.triangles(p.mesh)) for p in placed}
    vertices, faces, start = [], [], 0
    for p in placed:
        corners, triangles = own[p.mesh]
        vertices.append(corners @ p.matrix[:3, :3].T + p.matrix[:3, 3])
        faces.append(triangles + start)
        start += len(corners)
    return np.concatenate(vertices), np.concatenate(faces).astype(np.int32)


def _replace_scene() -> bpy.types.Object:
    """Remove all objects, lights, cameras and worlds of the model; keep meshes, materials and images."""
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
    """A new object for one instance, in the normalized frame."""
    matrix = placed.matrix.copy()
    matrix[:3, 3] -= center
    matrix[:3] *= scale
    obj = bpy.data.objects.new(placed.mesh.name, placed.mesh)
    bpy.context.scene.collection.objects.link(obj)
    # an object's own matrix is rebuilt from location, rotation and scale: only the parent inverse keeps shear
    obj.parent = anchor
    obj.matrix_parent_inverse = Matrix(matrix.tolist())
    return obj
