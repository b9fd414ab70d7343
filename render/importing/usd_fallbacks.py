"""Colors that a USD material reads from its shape, where the shape has none: the reader's own fallback."""

from __future__ import annotations

from typing import Any

_READER = "UsdPrimvarReader_float3"


def say_fallbacks(prim: Any) -> int:
    """Say in the stage's edit target what a shape's material reads from it in vain; how many values."""
    from pxr import Sdf, Usd, UsdGeom, UsdShade

    if not prim.IsA(UsdGeom.Gprim):
        return 0
    material = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial()[0]
    said, primvars = 0, UsdGeom.PrimvarsAPI(prim)
    for shader in map(UsdShade.Shader, Usd.PrimRange(material.GetPrim()) if material else ()):
        if not shader or shader.GetIdAttr().Get() != _READER:
            continue
        name, color = (shader.GetInput(one) for one in ("varname", "fallback"))
        name, color = (one.Get() if one else None for one in (name, color))
        if name and color is not None and not primvars.FindPrimvarWithInheritance(str(name)).HasValue():
            own = primvars.CreatePrimvar(str(name), Sdf.ValueTypeNames.Color3fArray, "constant")
            own.Set([color])
            said += 1
    return said
