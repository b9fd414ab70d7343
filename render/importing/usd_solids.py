"""USD's solids as meshes: Blender's importer gives them few sides and no material."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from render.importing.primitives import SEGMENTS, box, lathe
from render.importing.rawmesh import RawMesh

_TURNS = {"X": [1, 2, 0], "Y": [0, 1, 2], "Z": [2, 0, 1]}
"""Which coordinates of a solid about y are x, y and z of one about this axis."""
_FLAT = {"X": [2, 1, 0], "Y": [0, 2, 1], "Z": [0, 1, 2]}
"""Which of width, length and 0 are x, y and z of a plane across this axis."""


def is_solid(prim: Any) -> bool:
    """Whether `become_mesh` knows this prim."""
    return prim.GetTypeName() in _SOLIDS and not any(
        attribute.ValueMightBeTimeVarying() for attribute in prim.GetAuthoredAttributes()
    )


def become_mesh(prim: Any) -> bool:
    """Say in the stage's edit target that a solid is a mesh of the same shape; False for all others."""
    from pxr import UsdGeom, Vt

    if not is_solid(prim):
        return False
    raw = _SOLIDS[prim.GetTypeName()](prim)
    prim.SetTypeName("Mesh")
    mesh = UsdGeom.Mesh(prim)
    mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(raw.vertices, np.float32)))
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(raw.sizes.astype(np.int32)))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(raw.corners.astype(np.int32)))
    mesh.CreateSubdivisionSchemeAttr("none")
    return True


def _number(prim: Any, name: str) -> float:
    """The solid's own value, or its schema's."""
    return float(prim.GetAttribute(name).Get())


def _cube(prim: Any) -> RawMesh:
    return box(np.full(3, _number(prim, "size")))


def _sphere(prim: Any) -> RawMesh:
    return lathe(_number(prim, "radius") * _arc(-1, 1))


def _cylinder(prim: Any) -> RawMesh:
    radius, half = _number(prim, "radius"), _number(prim, "height") / 2
    return _about_axis(prim, np.array([[0, -half], [radius, -half], [radius, half], [0, half]]))


def _cone(prim: Any) -> RawMesh:
    radius, half = _number(prim, "radius"), _number(prim, "height") / 2
    return _about_axis(prim, np.array([[0, -half], [radius, -half], [0, half]]))


def _capsule(prim: Any) -> RawMesh:
    radius, half = _number(prim, "radius"), _number(prim, "height") / 2
    below, above = radius * _arc(-1, 0) - [0, half], radius * _arc(0, 1) + [0, half]
    return _about_axis(prim, np.concatenate([below, above]))


def _plane(prim: Any) -> RawMesh:
    sides = np.array([_number(prim, "width"), _number(prim, "length"), 0]) / 2
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * sides
    return RawMesh("", corners[:, _FLAT[prim.GetAttribute("axis").Get()]], np.arange(4), np.array([4]))


def _arc(low: int, high: int) -> np.ndarray:
    """(N, 2) radius and height of a part of a unit circle, in quarters: from -1, the lowest, to 1."""
    angle = np.linspace(low, high, (high - low) * SEGMENTS // 4 + 1) * np.pi / 2
    return np.stack([np.where(np.abs(angle) == np.pi / 2, 0, np.cos(angle)), np.sin(angle)], 1)


def _about_axis(prim: Any, profile: np.ndarray) -> RawMesh:
    raw = lathe(profile)
    turned = raw.vertices[:, _TURNS[prim.GetAttribute("axis").Get()]]
    return RawMesh("", turned, raw.corners, raw.sizes)


_SOLIDS: dict[str, Callable[[Any], RawMesh]] = {
    "Cube": _cube,
    "Sphere": _sphere,
    "Cylinder": _cylinder,
    "Cone": _cone,
    "Capsule": _capsule,
    "Plane": _plane,
}
