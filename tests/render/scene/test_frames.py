"""Parts that grow from nothing are rendered at their size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from render.bundle import Bundle

SCRIPT = """
    bpy.ops.mesh.primitive_cube_add(size=2)
    still = bpy.context.object
    bpy.ops.mesh.primitive_cube_add(size=2, location=(6, 0, 0))
    part = bpy.context.object
    for frame, scale in {keys}.items():
        part.scale = scale
        part.keyframe_insert("scale", frame=frame)
    for frame, scale in {others}.items():
        still.scale = scale
        still.keyframe_insert("scale", frame=frame)
    bpy.context.scene.frame_end = 60
    bpy.ops.wm.save_as_mainfile(filepath="{path}")
"""
ONE, NONE, FLAT = (1, 1, 1), (0, 0, 0), (1, 1, 0)


@pytest.mark.parametrize(
    ("keys", "others", "frame", "size"),
    [
        ({1: NONE, 20: ONE, 40: ONE}, {}, 20, (8, 2, 2)),  # grows
        ({1: FLAT, 30: ONE}, {}, 30, (8, 2, 2)),  # grows along one axis
        ({1: (0.3, 0.3, 0.3), 30: ONE}, {}, 30, (8, 2, 2)),  # has begun to grow
        ({1: (0.7, 0.7, 0.7), 30: ONE}, {}, 1, (7.7, 2, 2)),  # is there, if smaller
        ({1: NONE, 20: ONE, 40: ONE}, {1: ONE, 10: NONE, 30: ONE}, 30, (8, 2, 2)),  # after the other shrank
        ({1: NONE, 20: ONE, 40: NONE}, {1: ONE, 20: NONE, 40: ONE}, 1, (2, 2, 2)),  # they take turns
    ],
)
def test_the_frame_is_one_where_every_part_has_its_size(
    keys: dict[int, tuple[float, ...]],
    others: dict[int, tuple[float, ...]],
    frame: int,
    size: tuple[float, ...],
    render: Callable[..., Bundle],
    blender: Callable[[str], None],
    tmp_path: Path,
) -> None:
    path = tmp_path / "grows.blend"
    blender(SCRIPT.format(keys=keys, others=others, path=path))
    bundle = render(path, resolution=32)
    assert bundle.meta["counts"]["frame"] == frame
    vertices = bundle.mesh().vertices.astype(float) / bundle.meta["scale"]
    used = vertices[np.unique(bundle.mesh().faces)]
    assert np.ptp(used, axis=0) == pytest.approx(size, abs=0.01) or frame == 1


SHAPES = """
    bpy.ops.mesh.primitive_cube_add(size=2)
    bpy.ops.mesh.primitive_cube_add(size=2, location=(6, 0, 0))
    part = bpy.context.object
    part.shape_key_add(name="Basis")
    shape = part.shape_key_add(name='to "nothing"')
    for point in shape.data:
        point.co *= {least}
    for frame, value in {{1: 1, 20: 0, 40: 0}}.items():
        shape.value = value
        shape.keyframe_insert("value", frame=frame)
    bpy.context.scene.frame_end = 60
    bpy.ops.wm.save_as_mainfile(filepath="{path}")
"""


@pytest.mark.parametrize(("least", "frame", "size"), [(0.0, 20, (8, 2, 2)), (0.9, 1, (7.9, 2, 2))])
def test_a_part_that_grows_by_a_blend_shape(
    least: float,
    frame: int,
    size: tuple[float, ...],
    render: Callable[..., Bundle],
    blender: Callable[[str], None],
    tmp_path: Path,
) -> None:
    path = tmp_path / "grows.blend"
    blender(SHAPES.format(least=least, path=path))
    bundle = render(path, resolution=32)
    assert bundle.meta["counts"]["frame"] == frame
    assert np.ptp(bundle.mesh().vertices, axis=0) / bundle.meta["scale"] == pytest.approx(size, abs=0.01)
