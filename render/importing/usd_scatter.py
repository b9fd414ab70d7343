"""Point instancers that give each instance a `displayColor`, which Blender's importer drops.

The instances become ordinary prims, each below one of its own color, which the prototype's shapes inherit.
"""

from __future__ import annotations

from typing import Any

_MOST = 1_000  # instances that become prims
_PER_INSTANCE = ("vertex", "varying", "uniform", "faceVarying")


def spread(stage: Any) -> int:
    """Make prims of the instances that have colors; of how many instancers."""
    from pxr import UsdGeom

    found = [UsdGeom.PointInstancer(prim) for prim in stage.Traverse() if prim.IsA(UsdGeom.PointInstancer)]
    return sum(_spread(instancer) for instancer in found)


def _spread(instancer: Any) -> bool:
    from pxr import Sdf, UsdGeom

    color = UsdGeom.PrimvarsAPI(instancer).GetPrimvar("displayColor")
    if not color:
        return False
    stage, path = instancer.GetPrim().GetStage(), instancer.GetPath()
    start = stage.GetStartTimeCode()
    numbers = instancer.GetProtoIndicesAttr().Get(start) or ()
    values = color.ComputeFlattened(start) if color.GetInterpolation() in _PER_INSTANCE else None
    if not values or not len(values) == len(numbers) <= _MOST:
        return False
    matrices = instancer.ComputeInstanceTransformsAtTime(
        start, start, instancer.ExcludeProtoXform, instancer.IgnoreMask
    )
    shown = instancer.ComputeMaskAtTime(start) or [True] * len(numbers)
    prototypes = instancer.GetPrototypesRel().GetForwardedTargets()
    group = UsdGeom.Xform.Define(stage, f"{path}_InsideOut")
    place = UsdGeom.Xformable(instancer).GetLocalTransformation(start)
    group.MakeMatrixXform().Set(place)
    for i in (i for i, number in enumerate(numbers) if shown[i] and 0 <= number < len(prototypes)):
        own = UsdGeom.Xform.Define(stage, group.GetPath().AppendChild(f"i{i}"))
        own.MakeMatrixXform().Set(matrices[i])
        said = UsdGeom.PrimvarsAPI(own).CreatePrimvar(
            "displayColor", Sdf.ValueTypeNames.Color3fArray, "constant"
        )
        said.Set([values[i]])
        inner = stage.DefinePrim(own.GetPath().AppendChild("prototype"))
        inner.GetReferences().AddInternalReference(prototypes[numbers[i]])
    instancer.GetPrim().SetActive(False)
    return True
