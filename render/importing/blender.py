"""Imports a model file into the current, empty Blender scene; its content decides the importer.

    imported = import_model(Path("chair.glb"), scratch)  # in a process with bpy, after an empty factory reset

Blender's own importers read glb, gltf, obj, fbx, stl, ply, usd, abc and blend. `render.importing.collada`
reads dae, `render.importing.convert` 3ds, off, 3mf, x3d and wrl; `render.importing.gltf` rewrites glTF
extensions that Blender refuses. An importer that reports FINISHED proves nothing: an import counts when
something that can have faces arrived. Nothing is written beside the model, only below `scratch`; scripts
inside .blend files never run.

Colors: attributes end with linear values such that what the file meant as the sRGB byte c is
srgb_to_linear(c). Blender does so itself for PLY, OBJ and FBX (bytes and floats are taken as sRGB) and for
Collada; glTF's COLOR_0 and USD's displayColor are linear by their specifications and stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from render.failures import FailureClass, ModelFailure
from render.importing import collada, convert, far, gltf, obj, ply, rawmesh, stl, usd
from render.importing.formats import explain, sniff
from render.references import archives

GEOMETRY_TYPES = frozenset({"CURVE", "SURFACE", "FONT", "META"})
"""Object types besides meshes that can evaluate to faces."""


@dataclass(frozen=True)
class Imported:
    """How a model came in."""

    format: str
    """What the content is: glb, usda, 3ds, ..."""
    importer: str
    """What read it: a Blender operator, or `assimp` and the like."""
    notes: list[str] = field(default_factory=list)
    """What did not survive, in words for the ledger."""
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    """(3,) float64: position in the file's world (as Blender's axes have it) = position here + offset."""
    held: Any = None
    """What keeps the file's contents in memory, for those who read it again."""


def import_model(path: Path, scratch: Path) -> Imported:
    """Import `path` into the current, empty scene and set its first frame.

    `scratch` is a folder for files that must exist as long as the scene. Raises ModelFailure:
    `unsupported` where the content is of no known format, `import_error` with the importer's own reason,
    `empty` where nothing with faces arrived. Hostile files may kill the process: the supervisor handles that.
    """
    path = path.resolve()
    kind = _kind(path)
    scratch.mkdir(parents=True, exist_ok=True)
    imported = _near_origin(_READERS[kind](path, kind, scratch), path, scratch)
    _require_geometry(path, imported)
    scene = bpy.context.scene
    scene.frame_set(scene.frame_start)
    return imported


def _kind(path: Path) -> str:
    try:
        kind = sniff(path)
    except OSError as error:
        raise ModelFailure(FailureClass.IMPORT_ERROR, f"{path.name} cannot be read: {error}") from error
    if kind is None:
        raise ModelFailure(FailureClass.UNSUPPORTED, explain(path))
    return kind


def _near_origin(imported: Imported, path: Path, scratch: Path) -> Imported:
    """Import a model that lies far from its origin again, moved to it; or note how coarse it is."""
    offset = far.scene_offset()
    if not offset.any():
        return imported
    below = scratch / "near"
    below.mkdir(exist_ok=True)
    nearer = far.moved(path, imported.format, below, offset)
    if nearer is not None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        again = _READERS[imported.format](nearer, imported.format, below)
        imported = replace(again, offset=again.offset + offset)
    note = far.coarseness()
    return replace(imported, notes=[*imported.notes, *([note] if note else [])])


def _run(operator: Callable[..., set[str]], path: Path, file: Path | None = None, **options: Any) -> str:
    """Call a Blender import operator and return its name. An error becomes a ModelFailure with the reason.

    It reads `file` in place of the model at `path`, if one is given.
    """
    name = operator.idname_py()  # type: ignore[attr-defined]
    read = file or path
    try:
        result = operator(filepath=str(read), **options)
    except RuntimeError as error:
        reason = _reason(error, read, path.name)
        raise ModelFailure(FailureClass.IMPORT_ERROR, f"{path.name}: {name}: {reason}") from error
    if result != {"FINISHED"}:
        raise ModelFailure(
            FailureClass.IMPORT_ERROR, f"{path.name}: {name} refused the file without a reason: damaged?"
        )
    return name


def _reason(error: RuntimeError, file: Path, named: str) -> str:
    """Blender's report in one line, in which `file` is `named`; of an add-on's traceback the last line, which
    holds the exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any("Traceback" in line for line in lines):
        lines = [line for line in lines if not line.startswith(("Location:", "File "))][-1:]
    text = " ".join(lines).replace(str(file), named).removeprefix("Error: ").removeprefix("Python: ")
    return text[:500] or "no reason given"


def _gltf(path: Path, kind: str, scratch: Path) -> Imported:
    if gltf.is_first_version(path):
        return _converted(path, kind, scratch, ["glTF 1.0, through assimp"])
    plain, notes = gltf.plain_gltf(path, scratch)
    name = _run(bpy.ops.import_scene.gltf, path, plain, disable_bone_shape=True, loglevel=50)
    _leave_orphans_out()
    return Imported(kind, name, notes)


def _leave_orphans_out() -> None:
    """Hide nodes that belong to no scene (levels of detail, for example), unless nothing else is there."""
    layer = bpy.context.view_layer
    orphans = layer.layer_collection.children.get("Orphan Nodes")
    if orphans is not None:
        orphans.exclude = True
        if not any(map(_may_have_faces, layer.objects)):
            orphans.exclude = False


def _obj(path: Path, kind: str, scratch: Path) -> Imported:
    file = obj.readable(path, scratch)
    name = _run(bpy.ops.wm.obj_import, path, file)
    whole = obj.whole(file, scratch)
    if whole is not None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        name = _run(bpy.ops.wm.obj_import, path, whole)
    obj.correct_colors()
    obj.correct_grays(path)
    return Imported(kind, name)


def _fbx(path: Path, kind: str, scratch: Path) -> Imported:
    name = _run(bpy.ops.wm.fbx_import, path)
    _link_in_order()
    if not any(map(_may_have_faces, bpy.context.view_layer.objects)) and b"NurbsSurface" in path.read_bytes():
        raise ModelFailure(
            FailureClass.UNSUPPORTED,
            f"{path.name}: holds NURBS surfaces, which Blender does not read from FBX: export polygons",
        )
    return Imported(kind, name)


def _link_in_order() -> None:
    """Link FBX objects by name: Blender's order follows memory addresses and differs every time."""
    linked = bpy.context.collection.objects
    things = sorted(linked, key=lambda thing: thing.name)
    for thing in things:
        linked.unlink(thing)
    for thing in things:
        linked.link(thing)


def _ply(path: Path, kind: str, scratch: Path) -> Imported:
    ply.require_elements(path)
    colored = ply.colored_ply(path)
    if colored is not None:
        return _built(kind, "trimesh", rawmesh.build([colored]))
    name = _run(bpy.ops.wm.ply_import, path)
    whole = ply.whole(path, sum(len(mesh.polygons) for mesh in bpy.data.meshes))
    if whole is None:
        return Imported(kind, name)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return _built(kind, "render.importing.ply", rawmesh.build([whole]))


def _stl(path: Path, kind: str, scratch: Path) -> Imported:
    found = stl.unread(path)
    if found is None:
        return Imported(kind, _run(bpy.ops.wm.stl_import, path))
    mesh, notes = found
    return _built(kind, "render.importing.stl", rawmesh.build([mesh]), notes)


def _usd(path: Path, kind: str, scratch: Path) -> Imported:
    if kind == "usdz":
        archives.check(path)
    file, stage = usd.readable(path, kind, scratch)
    name = _run(
        bpy.ops.wm.usd_import,
        path,
        file,
        import_textures_mode="IMPORT_PACK",
        create_world_material=False,
        validate_meshes=True,
    )
    return Imported(kind, name, held=stage)


def _abc(path: Path, kind: str, scratch: Path) -> Imported:
    with path.open("rb") as file:
        if file.read(4) == b"\x89HDF":
            raise ModelFailure(
                FailureClass.UNSUPPORTED,
                f"{path.name} is Alembic in its obsolete HDF5 encoding, which Blender cannot read: "
                "rewrite it with `abcconvert -toOgawa`",
            )
    return Imported(
        kind, _run(bpy.ops.wm.alembic_import, path, as_background_job=False, validate_meshes=True)
    )


def _dae(path: Path, kind: str, scratch: Path) -> Imported:
    """Read with pycollada, or with assimp if that refuses; if both fail, report assimp's reason."""
    try:
        meshes, notes = collada.read_collada(path)
        if any(len(raw.sizes) for raw in meshes):
            return _built(kind, "pycollada", rawmesh.build(meshes), notes)
        reason = "; ".join(["no faces", *notes])
    except collada.UnreadableError as error:
        reason = str(error)
    return _converted(path, kind, scratch, [f"through assimp; pycollada: {reason}"])


def _converted(path: Path, kind: str, scratch: Path, notes: list[str] | None = None) -> Imported:
    importer, built = convert.build(path, kind, scratch)
    return _built(kind, importer, built, notes)


def _built(kind: str, importer: str, built: rawmesh.Built, notes: list[str] | None = None) -> Imported:
    return Imported(kind, importer, [*(notes or []), *built.notes], built.offset)


def _blend(path: Path, kind: str, scratch: Path) -> Imported:
    """Open the file (appending would skip the upgrade of old files), then move its active scene's contents
    into a new scene: without its engine, compositor and color management, and without running its scripts."""
    name = _run(bpy.ops.wm.open_mainfile, path, use_scripts=False, load_ui=False)
    old, layer = bpy.context.scene, bpy.context.view_layer
    scene = bpy.data.scenes.new("InsideOut")
    for child in old.collection.children:
        scene.collection.children.link(child)
    for thing in old.collection.objects:
        scene.collection.objects.link(thing)
    _copy_exclusions(layer.layer_collection, scene.view_layers[0].layer_collection)
    scene.frame_start, scene.frame_end = old.frame_start, max(old.frame_start, old.frame_end)
    bpy.context.window.scene = scene
    for other in [s for s in bpy.data.scenes if s != scene]:
        bpy.data.scenes.remove(other)
    missing = [
        lib.filepath for lib in bpy.data.libraries if not Path(bpy.path.abspath(lib.filepath)).is_file()
    ]
    return Imported(kind, name, [f"linked library missing: {file}" for file in missing])


def _copy_exclusions(old: bpy.types.LayerCollection, new: bpy.types.LayerCollection) -> None:
    for child in old.children:
        twin = new.children[child.name]
        twin.exclude = child.exclude
        _copy_exclusions(child, twin)


def _require_geometry(path: Path, imported: Imported) -> None:
    """Raise ModelFailure `empty` if nothing that can have faces arrived; the message says what did."""
    objects = list(bpy.context.view_layer.objects)
    if any(map(_may_have_faces, objects)):
        return
    meshes = [thing.data for thing in objects if thing.type == "MESH"]
    if any(len(mesh.edges) for mesh in meshes):
        what = "only lines, no faces"
    elif any(len(mesh.vertices) for mesh in meshes) or any(thing.type == "POINTCLOUD" for thing in objects):
        what = "only points, no faces"
    elif meshes:
        what = "a mesh without any vertices"
    elif objects:
        what = "no geometry, only " + ", ".join(sorted({thing.type.lower() for thing in objects}))
    else:
        what = "no objects at all"
    raise ModelFailure(
        FailureClass.EMPTY, f"{path.name}: {imported.importer} read it as {imported.format} and found {what}"
    )


def _may_have_faces(thing: bpy.types.Object) -> bool:
    if len(thing.modifiers):
        return True
    if thing.type == "MESH":
        return len(thing.data.polygons) > 0
    return thing.type in GEOMETRY_TYPES or (thing.type == "EMPTY" and thing.instance_type == "COLLECTION")


_READERS: dict[str, Callable[[Path, str, Path], Imported]] = {
    **dict.fromkeys(("glb", "gltf"), _gltf),
    **dict.fromkeys(("usd", "usda", "usdc", "usdz"), _usd),
    **dict.fromkeys(("3ds", "off", "3mf", "x3d", "wrl"), _converted),
    "obj": _obj,
    "fbx": _fbx,
    "stl": _stl,
    "ply": _ply,
    "abc": _abc,
    "dae": _dae,
    "blend": _blend,
}
