"""Denoised color: nearer the truth than its samples, its alpha is coverage, and its bytes are certain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from render.bundle import Bundle, Camera
from render.cameras import look_at_origin
from render.shading.coverage import RAYS, WIDTH, coverage
from render.shading.raycaster import Raycaster

Render = Callable[..., Bundle]
Blender = Callable[[str], None]

BALL = """
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=5)
    material = bpy.data.materials.new("m")
    bpy.context.object.data.materials.append(material)
    material.use_nodes = True
    material.node_tree.nodes["Principled BSDF"].inputs["Alpha"].default_value = {alpha}
    bpy.ops.wm.save_as_mainfile(filepath="{path}")
"""


def test_coverage_of_a_half_plane_is_the_filters_integral() -> None:
    size, camera = 32, Camera(look_at_origin(np.array([0.0, 0.0, 1.0]), 4.0), 0.5)
    pixel = 4 * 2 * np.tan(camera.fov / 2) / size
    corners = np.array([(x, y, 0) for x in (0, 9) for y in (-9, 9)], np.float32)
    corners[:2, 0] = 0.3 * pixel  # the image's columns run along x
    caster = Raycaster([(corners, np.array([(0, 1, 2), (1, 2, 3)], np.int32))])
    sampled = np.where(np.arange(size) < size // 2, 0, 1) * np.ones((size, 1), np.float32)
    found = coverage(sampled.astype(np.float32), camera, caster)
    for column in range(size // 2 - 1, size // 2 + 1):
        edge = (size / 2 + 0.3 - (column + 0.5)) / WIDTH  # from the pixel's center, in filter widths
        assert found[:, column] == pytest.approx(1 - _blackman_harris_below(edge), abs=1 / RAYS)
    assert (found[:, : size // 2 - 2] == 0).all() and (found[:, size // 2 + 2 :] == 1).all()


def _blackman_harris_below(place: float) -> float:
    """The share of the window's area to the left of a place in -0.5..0.5, by its closed integral."""
    terms = ((0.48829, 1), (0.14128, 2), (0.01168, 3))
    waves = sum(a / (2 * np.pi * k) * np.sin(2 * np.pi * k * place) for a, k in terms)
    return (0.35875 * (place + 0.5) + waves) / 0.35875


@pytest.mark.parametrize("alpha", [1, 0.5])
def test_few_denoised_samples_are_nearer_many_than_as_many_raw_ones(
    render: Render, blender: Blender, tmp_path: Path, alpha: float
) -> None:
    path = tmp_path / "ball.blend"
    blender(BALL.format(path=path, alpha=alpha))
    settings = {"views": 1, "hidden": False}
    images = [
        next(render(path, name, **settings, samples=samples, denoise=denoise).views()).rgba.astype(float)
        for name, samples, denoise in (("many", 256, "off"), ("raw", 4, "off"), ("clean", 4, "fast"))
    ]
    many, raw, clean = (np.dstack([image[..., :3] * image[..., 3:] / 255, image[..., 3]]) for image in images)
    assert np.abs(clean - many)[..., :3].mean() < 0.8 * np.abs(raw - many)[..., :3].mean()
    assert np.abs(clean - many)[..., 3].mean() < 0.8 * np.abs(raw - many)[..., 3].mean()


@pytest.mark.parametrize("alpha", [1, 0.5])
def test_same_bytes_with_any_number_of_threads(
    render: Render, blender: Blender, tmp_path: Path, alpha: float
) -> None:
    path = tmp_path / "ball.blend"
    blender(BALL.format(path=path, alpha=alpha))
    one, two = (render(path, f"{n}", views=2, resolution=64, threads=n).path.read_bytes() for n in (1, 2))
    assert one == two


def test_the_number_of_slots_changes_nothing(render: Render, blender: Blender, tmp_path: Path) -> None:
    path = tmp_path / "balls.blend"
    blender(f"""
        for radius in (0.2, 0.4, 0.6, 0.8, 1):
            bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=3, radius=radius, location=(radius, 0, 0))
        bpy.ops.wm.save_as_mainfile(filepath="{path}")
    """)
    few, many = (render(path, f"{slots}", resolution=48, slots=slots) for slots in (3, 12))
    names = [name for frame in many.frames for name in frame.members()]
    assert max(len(view.hidden) for view in many.views()) == 9
    assert [name for frame in few.frames for name in frame.members()] == names
    assert all(few.read(name) == many.read(name) for name in names)
