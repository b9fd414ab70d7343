"""Skeletons in a pose that does not change, which Blender's importer leaves at rest."""

from __future__ import annotations

from typing import Any


def hold_pose(prim: Any) -> bool:
    """Say in the stage's edit target that a skeleton rests in the pose that it holds; whether it does."""
    from pxr import UsdSkel

    if not prim.IsA(UsdSkel.Skeleton):
        return False
    skeleton = UsdSkel.Skeleton(prim)
    query = UsdSkel.Cache().GetSkelQuery(skeleton)
    animation = query.GetAnimQuery() if query else None
    if not animation or animation.JointTransformsMightBeTimeVarying():
        return False
    pose = query.ComputeJointLocalTransforms(prim.GetStage().GetStartTimeCode())
    if not pose or pose == skeleton.GetRestTransformsAttr().Get():
        return False
    skeleton.GetRestTransformsAttr().Set(pose)
    return True
