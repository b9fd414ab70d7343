"""Polygons of USD meshes that name a vertex twice (`render.importing.polygons`), which Blender drops."""

from __future__ import annotations

from typing import Any

import numpy as np

from render.importing.polygons import Simple, simple

_OF_POINTS = ("vertex", "varying")


def simplify(prim: Any) -> bool:
    """Say in the stage's edit target what a mesh's polygons are instead; whether any change."""
    from pxr import UsdGeom, Vt

    if not prim.IsA(UsdGeom.Mesh) or prim.HasAPI("SkelBindingAPI"):
        return False
    mesh = UsdGeom.Mesh(prim)
    attributes = (mesh.GetFaceVertexIndicesAttr(), mesh.GetFaceVertexCountsAttr(), mesh.GetPointsAttr())
    if any(one.ValueMightBeTimeVarying() for one in attributes):
        return False
    corners, sizes, points = (np.array(one.Get() or ()) for one in attributes)
    if len(corners) and not 0 <= corners.min() <= corners.max() < len(points):
        return False
    found = simple(corners, sizes, len(points))
    if found is None:
        return False
    attributes[0].Set(Vt.IntArray.FromNumpy(found.corners.astype(np.int32)))
    attributes[1].Set(Vt.IntArray.FromNumpy(found.sizes.astype(np.int32)))
    attributes[2].Set(_picked(attributes[2].Get(), _kept("vertex", found, len(points))))
    _pick(mesh.GetNormalsAttr(), mesh.GetNormalsInterpolation(), found, len(points))
    for primvar in UsdGeom.PrimvarsAPI(prim).GetPrimvars():
        if primvar.GetElementSize() == 1:
            own = primvar.GetIndicesAttr() if primvar.IsIndexed() else primvar.GetAttr()
            _pick(own, primvar.GetInterpolation(), found, len(points))
    for subset in UsdGeom.Subset.GetAllGeomSubsets(mesh):
        old = np.array(subset.GetIndicesAttr().Get() or (), np.int64)
        new = np.flatnonzero(np.isin(found.kept_faces, old)).astype(np.int32)
        subset.GetIndicesAttr().Set(Vt.IntArray.FromNumpy(new))
    return True


def _pick(attribute: Any, interpolation: str, found: Simple, points: int) -> None:
    """Give an attribute the values of what is kept, unless it has one for all, or another number of them."""
    kept, values = _kept(interpolation, found, points), attribute.Get()
    if kept is None or values is None or attribute.ValueMightBeTimeVarying():
        return
    if len(values) > kept.max(initial=-1):
        attribute.Set(_picked(values, kept))


def _kept(interpolation: str, found: Simple, points: int) -> np.ndarray | None:
    """(N,) int: the places in an array of this interpolation that stay, and whose copies come last."""
    if interpolation in _OF_POINTS:
        return np.concatenate([np.arange(points), found.copied])
    return {"faceVarying": found.kept_corners, "uniform": found.kept_faces}.get(interpolation)


def _picked(values: Any, kept: np.ndarray | None) -> Any:
    return type(values)([values[i] for i in ([] if kept is None else kept.tolist())])
