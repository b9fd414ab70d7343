"""Faces of USD meshes without a material of their own beside faces that have one.

Blender's importer gives them the first material that a subset of the mesh names: neither the mesh's own nor
its `displayColor` counts any more. A subset of those faces says what they have.
"""

from __future__ import annotations

from typing import Any

NAME = "InsideOutOthers"


def name_others(prim: Any) -> bool:
    """Say in the stage's edit target that a mesh's other faces are a subset too; whether there are any."""
    from pxr import UsdGeom, UsdShade

    if not prim.IsA(UsdGeom.Mesh):
        return False
    binding = UsdShade.MaterialBindingAPI(prim)
    if not binding.GetMaterialBindSubsets():
        return False
    others = UsdGeom.Subset.GetUnassignedIndices(UsdGeom.Mesh(prim), "face", "materialBind")
    if not others:
        return False
    subset = binding.CreateMaterialBindSubset(NAME, others)  # it inherits the mesh's material
    if not binding.ComputeBoundMaterial()[0]:
        UsdShade.MaterialBindingAPI.Apply(subset.GetPrim()).Bind(_plain(prim))
    return True


def _plain(prim: Any) -> Any:
    """A new material of the color that a mesh displays, or of none."""
    from pxr import Sdf, UsdGeom, UsdShade

    path = prim.GetPath().AppendChild(f"{NAME}Material")
    material = UsdShade.Material.Define(prim.GetStage(), path)
    shader = UsdShade.Shader.Define(prim.GetStage(), path.AppendChild("Surface"))
    shader.CreateIdAttr("UsdPreviewSurface")
    material.CreateSurfaceOutput().ConnectToSource(shader.ConnectableAPI(), "surface")
    if UsdGeom.PrimvarsAPI(prim).GetPrimvar("displayColor").HasValue():
        reader = UsdShade.Shader.Define(prim.GetStage(), path.AppendChild("Color"))
        reader.CreateIdAttr("UsdPrimvarReader_float3")
        reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("displayColor")
        color = shader.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f)
        color.ConnectToSource(reader.ConnectableAPI(), "result")
    return material
