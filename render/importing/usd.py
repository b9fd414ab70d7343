"""USD as Blender's importer reads it: under the suffix of its kind, and with what meshes inherit.

A constant primvar, such as a group's `displayColor`, holds for every shape below its prim. The importer looks
at each shape alone. So a layer over the model says of each shape what it inherits; instances become ordinary
prims first, for each may inherit another value. The layer also says

- of a sheared or flat matrix that it varies, by equal samples: of a constant one the importer makes
  translation, rotation and scale;
- of a prim that resets the transforms above it where it stands;
- of polygons that name a vertex twice that they do not (`render.importing.usd_polygons`);
- of shapes without a color that their material reads the one that it falls back on
  (`render.importing.usd_fallbacks`);
- of skeletons that hold a pose that they rest in it (`render.importing.usd_poses`);
- of instancers whose instances have colors where each instance is (`render.importing.usd_scatter`);
- of solids that they are meshes (`render.importing.usd_solids`);
- of faces beside those that have a material of their own what they have (`render.importing.usd_faces`);
- of a `displayColor` without a value that there is none;
- of tiled textures where their tiles lie (`render.importing.usd_tiles`);
- of shapes bound to a material by a collection that they are bound to it.
"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from render.failures import DAMAGE
from render.importing import gltf_nodes
from render.importing.rawmesh import Y_UP
from render.importing.usd_faces import name_others
from render.importing.usd_fallbacks import say_fallbacks
from render.importing.usd_polygons import simplify
from render.importing.usd_poses import hold_pose
from render.importing.usd_scatter import spread
from render.importing.usd_solids import become_mesh, is_solid
from render.importing.usd_tiles import find_tiles
from render.references.closure import companions

LAYER = "inherited.usda"
_NESTED = 8  # instances within instances
_MOST = 100_000  # shapes looked at
_OF_THE_ROOT = ("defaultPrim", "upAxis", "metersPerUnit", "startTimeCode", "endTimeCode")
"""What only a root layer can say."""
_TEXCOORDS = ("texCoord2f[]", "texCoord2d[]", "texCoord2h[]", "float2[]")


def readable(path: Path, kind: str, scratch: Path) -> tuple[Path, Any]:
    """What to import in place of the USD file at `path`: itself, or a file in `scratch`; and its stage.

    As long as something holds the stage, its layers need not be read again, by the importer or by
    `render.importing.witness`. If it is held beyond the model, another file at the same path is not read.
    """
    fitting = {kind, "usd"} if kind != "usdz" else {kind}
    if path.suffix.lower()[1:] not in fitting:
        path = _under_suffix(path, kind, scratch)
    bpy.utils.expose_bundled_modules()  # pxr
    return _with_what_is_lost(path, scratch / LAYER)


def _under_suffix(path: Path, suffix: str, scratch: Path) -> Path:
    """Copies of the file, under the suffix that USD picks a reader by, and of the files it names.

    References are resolved relative to the layer, so all keep their places. A confined process cannot make
    symbolic links.
    """
    around, below = path.parent.parent, scratch / "renamed"
    renamed = below / path.parent.name / f"{path.stem}.{suffix}"
    copies = {below / file.relative_to(around): file for file in companions(path, around)} | {renamed: path}
    for target, file in copies.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return renamed


def moved_usd(path: Path, scratch: Path, offset: np.ndarray) -> Path | None:
    """A layer below `scratch` over the model, moved by -`offset` (3,) in Blender's axes, or None."""
    bpy.utils.expose_bundled_modules()
    from pxr import Gf, Tf, UsdGeom

    target = scratch / "moved.usd"
    try:
        stage = _over(path, target)
        if stage is None:
            return None
        turned = offset if UsdGeom.GetStageUpAxis(stage) == "Z" else Y_UP[:3, :3].T @ offset
        prims, document = _nodes(stage)
        before = [list(node["matrix"]) for node in document.get("nodes", [])]
        if not prims or not gltf_nodes.move(document, turned / UsdGeom.GetStageMetersPerUnit(stage)):
            return None
        for prim, old, node in zip(prims, before, document["nodes"], strict=True):
            if old != node["matrix"]:
                UsdGeom.Xformable(prim).MakeMatrixXform().Set(Gf.Matrix4d(*node["matrix"]))
        stage.GetRootLayer().Save()
    except (Tf.ErrorException, *DAMAGE):
        return None
    return target


def _nodes(stage: Any) -> tuple[list[Any], dict[str, Any]]:
    """The prims and, as the document of `gltf_nodes.move`, their tree; no prims where one cannot be moved."""
    from pxr import Usd, UsdGeom

    prims = list(itertools.islice(Usd.PrimRange.Stage(stage), _MOST + 1))
    places = [UsdGeom.Xformable(prim) for prim in prims]
    number = {prim.GetPath(): i for i, prim in enumerate(prims)}
    nodes: list[dict[str, Any]] = [{"matrix": m, "children": []} for m in _matrices(prims)]
    for i, prim in enumerate(prims):
        if prim.IsA(UsdGeom.Boundable) or prim.IsInstance():
            nodes[i]["mesh"] = 0
        if prim.GetParent().GetPath() in number:
            nodes[number[prim.GetParent().GetPath()]]["children"].append(i)
    moving = [i for i, place in enumerate(places) if place and place.TransformMightBeTimeVarying()]
    channels = [{"target": {"node": i}} for i in moving]
    if len(prims) > _MOST or any(place and place.GetResetXformStack() for place in places):
        return [], {}
    return prims, {"nodes": nodes, "animations": [{"channels": channels}]}


def _matrices(prims: list[Any]) -> list[list[float]]:
    """The 16 numbers of each prim's local matrix: USD's rows are glTF's columns."""
    from pxr import Gf, UsdGeom

    places = [UsdGeom.Xformable(prim) for prim in prims]
    local = [place.GetLocalTransformation() if place else Gf.Matrix4d(1) for place in places]
    return [[matrix[i][j] for i in range(4) for j in range(4)] for matrix in local]


def _over(path: Path, target: Path) -> Any:
    """A stage whose root, a new layer at `target`, lies over the model; None if that is no USD inside."""
    from pxr import Sdf, Usd

    root = Sdf.Layer.FindOrOpen(str(path))
    if root is None:
        return None
    layer = Sdf.Layer.CreateNew(str(target))
    layer.subLayerPaths.append(str(path))
    for name in filter(root.pseudoRoot.HasInfo, _OF_THE_ROOT):
        layer.pseudoRoot.SetInfo(name, root.pseudoRoot.GetInfo(name))
    return Usd.Stage.Open(layer)


def _with_what_is_lost(path: Path, target: Path) -> tuple[Path, Any]:
    """A layer at `target` over the model, if the importer would lose anything, else `path`; and the stage."""
    from pxr import Tf

    try:
        stage = _over(path, target)
        if stage is None:  # the importer says so
            return path, None
        scattered = spread(stage)
        for _ in range(_NESTED):
            if not _single_out(stage):
                break
        own = [prim for prim in _places(stage) if not prim.IsInstanceProxy()]
        changes = sum(_state(prim) + _keep_matrix(prim) + become_mesh(prim) for prim in own)
        changes += sum(_block_empty(prim) for prim in own) + _bind_directly(own)
        changes += scattered + find_tiles(stage, path)
        changes += sum(simplify(prim) + hold_pose(prim) + say_fallbacks(prim) for prim in own)
        if not changes + sum(name_others(prim) for prim in own):
            return path, stage
        stage.GetRootLayer().Save()
    except (Tf.ErrorException, *DAMAGE):  # the importer says what is wrong
        return path, None
    return target, stage


def _places(stage: Any) -> list[Any]:
    """The prims that stand somewhere, also those within instances."""
    from pxr import Usd, UsdGeom

    prims = Usd.PrimRange.Stage(stage, Usd.TraverseInstanceProxies())
    return list(itertools.islice((prim for prim in prims if prim.IsA(UsdGeom.Xformable)), _MOST))


def _unseen(prim: Any) -> list[Any]:
    """The primvars of a shape that the importer does not see: inherited ones, and one texture coordinate."""
    from pxr import UsdGeom

    if not prim.IsA(UsdGeom.Gprim):
        return []
    found = UsdGeom.PrimvarsAPI(prim).FindPrimvarsWithInheritance()
    return [one for one in found if one.HasValue() and (_owner(one) != prim.GetPath() or _is_texcoord(one))]


def _owner(primvar: Any) -> Any:
    return primvar.GetAttr().GetPrim().GetPath()


def _is_texcoord(primvar: Any) -> bool:
    """Whether this is one texture coordinate for a whole shape."""
    return primvar.GetInterpolation() == "constant" and str(primvar.GetTypeName()) in _TEXCOORDS


def _single_out(stage: Any) -> bool:
    """Make ordinary prims of the outermost instances in which the importer would lose something; whether
    any."""
    instances: dict[Any, None] = {}
    for prim in filter(lambda prim: prim.IsInstanceProxy(), _places(stage)):
        outer = prim
        while outer.IsInstanceProxy():
            outer = outer.GetParent()
        inherits = any(outer.GetPath().HasPrefix(_owner(one)) for one in _unseen(prim))
        if inherits or _is_lost(prim) or is_solid(prim):
            instances[outer] = None
    for outer in instances:
        outer.SetInstanceable(False)
    return bool(instances)


def _state(prim: Any) -> int:
    """Say of a shape what the importer does not see; how many primvars that is."""
    from pxr import UsdGeom

    unseen = _unseen(prim)
    for one in unseen:
        values, interpolation = one.ComputeFlattened(), "constant"
        if values is None or (_is_texcoord(one) and not values):
            continue  # damaged: it says nothing
        if _is_texcoord(one) and prim.IsA(UsdGeom.PointBased):
            points = UsdGeom.PointBased(prim).GetPointsAttr().Get() or ()
            values, interpolation = [values[0]] * len(points), "vertex"
        own = UsdGeom.PrimvarsAPI(prim).CreatePrimvar(one.GetPrimvarName(), one.GetTypeName(), interpolation)
        own.BlockIndices()
        own.Set(values)
    return len(unseen)


def _block_empty(prim: Any) -> bool:
    """Say of an array of colors without any, which the importer takes for white, that there is none."""
    color = prim.GetAttribute("primvars:displayColor")
    if not color.HasAuthoredValue() or color.ValueMightBeTimeVarying() or color.Get():
        return False
    color.Block()
    return True


def _keep_matrix(prim: Any) -> bool:
    """Say of a prim's matrix what the importer would lose; whether it would lose anything."""
    from pxr import UsdGeom

    if not _is_lost(prim):
        return False
    place, start = UsdGeom.Xformable(prim), prim.GetStage().GetStartTimeCode()
    matrix = place.GetLocalTransformation()
    if place.GetResetXformStack():
        matrix *= UsdGeom.XformCache(start).GetLocalToWorldTransform(prim.GetParent()).GetInverse()
    operation = place.MakeMatrixXform()
    operation.Set(matrix, start)
    operation.Set(matrix, start + 1)
    return True


def _is_lost(prim: Any) -> bool:
    """Whether the importer makes another matrix of a prim's own."""
    from pxr import UsdGeom

    place = UsdGeom.Xformable(prim)
    if not place.GetXformOpOrderAttr().HasAuthoredValue() or place.TransformMightBeTimeVarying():
        return False
    matrix = np.array(place.GetLocalTransformation()).T
    return place.GetResetXformStack() or not gltf_nodes.decomposable(matrix)


def _bind_directly(prims: list[Any]) -> int:
    """Bind each shape to the material that a collection gives it; how many there are."""
    from pxr import UsdGeom, UsdShade

    if not any(str(name).startswith("CollectionAPI") for prim in prims for name in prim.GetAppliedSchemas()):
        return 0
    bound = 0
    for prim in (prim for prim in prims if prim.IsA(UsdGeom.Gprim)):
        binding = UsdShade.MaterialBindingAPI(prim)
        material, relation = binding.ComputeBoundMaterial()
        if material and relation and "collection" in str(relation.GetName()):
            UsdShade.MaterialBindingAPI.Apply(prim).Bind(material)
            bound += 1
    return bound
