"""Denoised color: nearer the truth than its samples, its alpha is coverage, and its bytes are certain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from render.bundle import Bundle, Camera, Mesh
from render.cameras import look_at_origin
from render.shading.coverage import WIDTH, Occluder, coverage
from render.shading.sample_count import MOST

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
    faces = np.array([(0, 1, 2), (1, 2, 3)], np.int32)
    occluder = Occluder(Mesh(corners, faces), np.ones(2, np.float32))
    sampled = np.where(np.arange(size) < size // 2, 0, 1) * np.ones((size, 1), np.float32)
    found = coverage(sampled.astype(np.float32), camera, occluder)
    for column in range(size // 2 - 1, size // 2 + 1):
        edge = (size / 2 + 0.3 - (column + 0.5)) / WIDTH  # from the pixel's center, in filter widths
        assert found[:, column] == pytest.approx(1 - _blackman_harris_below(edge), abs=1 / 64)
    assert (found[:, : size // 2 - 2] == 0).all() and (found[:, size // 2 + 2 :] == 1).all()


def test_clear_triangles_keep_back_their_share_of_the_light() -> None:
    camera = Camera(look_at_origin(np.array([0.0, 0.0, 1.0]), 4.0), 0.5)
    sheet = np.array([(x, y, 0) for x in (-9, 9) for y in (-9, 9)], np.float32)
    far = sheet - (0, 0, 1)
    right = far.clip([0, -9, -9], None)  # an opaque one, behind the right half of the others
    faces = np.array([(0, 1, 2), (1, 2, 3)], np.int32)
    mesh = Mesh(
        np.concatenate([sheet, far, right - (0, 0, 1)]).astype(np.float32),
        np.concatenate([faces, faces + 4, faces + 8]),
    )
    occluder = Occluder(mesh, np.repeat([0.25, 0.5, 1], 2).astype(np.float32))
    found = coverage(np.ones((32, 32), np.float32), camera, occluder)
    assert found[:, :14] == pytest.approx(1 - 0.75 * 0.5, abs=1e-6)
    assert (found[:, 18:] == 1).all()


def test_nothing_in_sight_has_no_coverage() -> None:
    corners = np.array([(0, 0, 9), (1, 0, 9), (0, 1, 9)], np.float32)  # behind the camera
    glass = Occluder(Mesh(corners, np.array([(0, 1, 2)], np.int32)), np.array([0.5], np.float32))
    camera = Camera(look_at_origin(np.array([0.0, 0.0, 1.0]), 4.0), 0.5)
    assert not coverage(np.zeros((8, 8), np.float32), camera, glass).any()


@pytest.mark.parametrize(
    ("shader", "alpha"),
    [
        ("principled.inputs['Alpha'].default_value = 0.2", 0.2),
        ("mix('ShaderNodeBsdfDiffuse', 'ShaderNodeBsdfTransparent')", 0.75),
        ("mix('ShaderNodeEmission', 'ShaderNodeBsdfGlass')", 1),
        ("link('ShaderNodeTexNoise', principled.inputs['Alpha'])", None),
        ("link('ShaderNodeFresnel', mix('ShaderNodeBsdfDiffuse', 'ShaderNodeBsdfTransparent'))", None),
    ],
)
def test_which_alphas_are_constant(blender: Blender, shader: str, alpha: float | None) -> None:
    blender(f"""
        from render.shading import materials
        material = bpy.data.materials.new("m")
        material.use_nodes = True
        tree = material.node_tree
        output, principled = tree.nodes["Material Output"], tree.nodes["Principled BSDF"]

        def mix(first, second):
            node = tree.nodes.new("ShaderNodeMixShader")
            node.inputs[0].default_value = 0.25
            for index, kind in enumerate((first, second), 1):
                side = tree.nodes.new(kind)
                tree.links.new(side.outputs[0], node.inputs[index])
                if kind == "ShaderNodeBsdfTransparent":
                    side.inputs["Color"].default_value = (1, 1, 1, 1)
            tree.links.new(node.outputs[0], output.inputs["Surface"])
            return node.inputs[0]

        def link(kind, socket):
            tree.links.new(tree.nodes.new(kind).outputs[0], socket)

        {shader}
        bpy.ops.mesh.primitive_plane_add()
        plane = bpy.context.object
        plane.data.materials.append(material)
        found = materials.triangle_alphas([plane, plane])
        expected = {alpha}
        if expected is None:
            assert found is None, found
        else:
            assert found.shape == (4,) and abs(found - expected).max() < 1e-6, found
    """)


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


@pytest.mark.parametrize(("checks", "samples"), [(1, 2), (25, 8)])
def test_a_model_has_as_many_samples_as_it_needs(
    render: Render, blender: Blender, tmp_path: Path, checks: int, samples: int
) -> None:
    path = tmp_path / "ball.blend"
    blender(
        BALL.format(path=path, alpha=1)
        + f"""
    texture = material.node_tree.nodes.new("ShaderNodeTexChecker")
    texture.inputs["Scale"].default_value = {checks}
    color = material.node_tree.nodes["Principled BSDF"].inputs["Base Color"]
    material.node_tree.links.new(texture.outputs["Color"], color)
    bpy.ops.wm.save_as_mainfile(filepath="{path}")
"""
    )
    settings = {"views": 4, "resolution": 64, "hidden": False}
    found = render(path, "ball", **settings, samples=0)
    assert found.meta["samples"] == samples
    if samples == MOST:  # the parts of the views tried are the whole sequence, as in the others
        whole = render(path, "whole", **settings, samples=MOST)
        for one, other in zip(found.views(), whole.views(), strict=True):
            assert np.abs(one.rgba.astype(int) - other.rgba).max() <= 1


def test_the_denoiser_takes_noise_and_leaves_light_and_texture(blender: Blender) -> None:
    blender("""
        import numpy as np
        from render.shading.denoiser import Denoiser
        light = np.linspace(0.2, 0.8, 61, dtype=np.float32)[:, None, None] * np.ones((1, 47, 3), np.float32)
        noisy = light + np.random.default_rng(0).normal(0, 0.05, light.shape).astype(np.float32)
        with Denoiser("fast", 1) as denoiser:
            clean = denoiser.clean(noisy, np.full_like(light, 0.5))
            assert clean.shape == light.shape
            assert np.abs(clean - light).mean() < 0.3 * np.abs(noisy - light).mean()

            checks = 0.4 + 0.2 * (np.indices(light.shape)[:2].sum(0) // 2 % 2)
            noisy = checks + 2 * (noisy - light)
            guided, alone = (denoiser.clean(noisy, base) for base in (checks, np.full_like(light, 0.5)))
            assert np.abs(guided - checks).mean() < 0.7 * np.abs(alone - checks).mean()
    """)


@pytest.mark.parametrize("alpha", [1, 0.5])
def test_same_bytes_with_any_number_of_threads(
    render: Render, blender: Blender, tmp_path: Path, alpha: float
) -> None:
    path = tmp_path / "ball.blend"
    blender(BALL.format(path=path, alpha=alpha))
    one, two = (render(path, f"{n}", views=2, resolution=64, threads=n).path.read_bytes() for n in (1, 2))
    assert one == two
