"""Which way the surfaces of a model's views are found: by Embree, or where a material needs it, by Cycles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from render.bundle import Camera, Mesh
from render.config import RenderConfig
from render.shading.basecolor import Base
from render.surfaces.cast import SurfaceCaster
from render.surfaces.corners import Corners
from render.surfaces.graph import NotKnown
from render.surfaces.paint import Paint
from render.surfaces.rays import Surfaces
from render.surfaces.record import GeometryRenderer, switch_to_records


@dataclass(frozen=True)
class Found:
    """The surfaces of each view, made one by one as they are asked for."""

    views: Iterable[Surfaces]
    way: str
    """For meta.json: `embree`, or `cycles` and why."""


def find_surfaces(
    objects: list[bpy.types.Object],
    mesh: Mesh,
    bases: dict[bpy.types.Material, Base],
    cameras: list[Camera],
    outline: np.ndarray,
    config: RenderConfig,
    threads: int,
    scratch: Path,
) -> Found:
    """The surfaces along the rays of each view. `mesh` has the objects' triangles in their order, `bases`
    are all that `base_colors` finds, `outline` (N, 3) encloses the objects.

    Call it after the lit views: materials lose their shaders where Cycles is needed.
    """
    deepest = config.layers if config.hidden else 1
    why = "asked for"
    if config.surfaces == "auto":
        try:
            caster = SurfaceCaster(mesh, Paint(Corners(objects), bases))
        except NotKnown as reason:
            why = str(reason)
        else:
            views = (caster.surfaces(camera, outline, config.resolution, deepest) for camera in cameras)
            return Found(views, "embree")
    renderer = GeometryRenderer(config.slots, config.resolution, threads, scratch)
    switch_to_records(renderer.group, bases)
    return Found(renderer.surfaces(cameras, outline, deepest), f"cycles: {why}")
