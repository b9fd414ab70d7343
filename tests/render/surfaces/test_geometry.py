"""Geometry: analytic shapes, exact normalization, framing, and comparison with an independent ray caster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from render.bundle import Bundle
from tests.helpers.rays import RayCaster, model, points_of
from tests.helpers.tiers import soak

Render = Callable[..., Bundle]
Blender = Callable[[str], None]

# Two roots, one rotated and scaled unevenly under a rotated parent (shear), one an instanced collection.
SCENE = """
    import bpy, math
    parent = bpy.data.objects.new("parent", None)
    parent.scale, parent.rotation_euler = (1, 2, 0.5), (0.3, 0.5, 0.1)
    bpy.context.scene.collection.objects.link(parent)
    bpy.ops.mesh.primitive_cube_add(size=1, location=(3, 0, 1), rotation=(0.4, 0.2, 0.9))
    bpy.context.object.parent = parent
    parts = bpy.data.collections.new("parts")
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=6, radius=1.5)
    ball = bpy.context.object
    ball.users_collection[0].objects.unlink(ball)
    parts.objects.link(ball)
    for i, place in enumerate([(-7, 0, 0), (2, 9, 1), (0, -6, 4)]):
        instancer = bpy.data.objects.new(f"instance {i}", None)
        instancer.instance_type, instancer.instance_collection = "COLLECTION", parts
        instancer.location = place
        bpy.context.scene.collection.objects.link(instancer)
    hidden = bpy.data.objects.new("hidden", ball.data)
    hidden.location, hidden.hide_render = (100, 0, 0), True
    bpy.context.scene.collection.objects.link(hidden)
    bpy.ops.object.camera_add(location=(50, 50, 50))
    bpy.ops.object.light_add(type="SUN")
    bpy.ops.wm.save_as_mainfile(filepath="{path}")
"""


def test_a_sphere_comes_back_within_its_own_tessellation(
    render: Render, blender: Blender, tmp_path: Path
) -> None:
    path = tmp_path / "sphere.stl"
    blender(f"""
        bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=8, radius=3, location=(5, -2, 7))
        bpy.ops.wm.stl_export(filepath="{path}")
    """)
    bundle = render(path, resolution=128)
    assert np.allclose(bundle.meta["center"], (5, -2, 7), atol=1e-5)
    assert bundle.meta["scale"] == pytest.approx(1 / 3, rel=1e-6)
    for view in bundle.views():
        radius = np.linalg.norm(points_of(view), axis=1)
        assert len(radius) > 5000
        assert np.quantile(np.abs(radius - 1), 0.99) < 4e-5
        facing = (view.normal[view.depth > 0] * points_of(view)).sum(1)
        assert facing.min() > 0.99  # normals are flat, 8-bit, and point out


def test_multi_root_instanced_sheared_scene_is_exact(
    render: Render, blender: Blender, tmp_path: Path
) -> None:
    path = tmp_path / "scene.blend"
    blender(SCENE.replace("{path}", str(path)))
    bundle = render(path, resolution=160, views=8)
    vertices = bundle.mesh().vertices
    assert np.abs(vertices.max(0) + vertices.min(0)).max() < 1e-6  # centered
    assert (vertices.max(0) - vertices.min(0)).max() == pytest.approx(2, abs=1e-6)
    assert bundle.meta["counts"]["placed"] == 4  # three instances and the cube; the hidden one is excluded
    assert bundle.meta["center"][1] == pytest.approx(1.5, abs=1e-3)  # the balls at y -6 and 9
    assert bundle.meta["scale"] == pytest.approx(2 / 18, rel=1e-4)
    center, scale = np.array(bundle.meta["center"]), bundle.meta["scale"]
    balls = (np.array([(-7, 0, 0), (2, 9, 1), (0, -6, 4)]) - center) * scale
    points = np.concatenate([points_of(view) for view in bundle.views()])
    to_balls = np.abs(np.linalg.norm(points[:, None] - balls, axis=2) - 1.5 * scale).min(1)
    error = np.minimum(to_balls, _distance_to_sheared_cube(points / scale + center) * scale)
    assert np.quantile(error, 0.99) < 1e-4
    assert (to_balls < 1e-4).mean() > 0.5 and (to_balls > 1e-3).mean() > 0.005  # balls and cube are both seen


def _distance_to_sheared_cube(world: np.ndarray) -> np.ndarray:
    """(N,): distance of world points (N, 3) from SCENE's cube, by inverting its transforms; exact at 0."""

    def euler(x: float, y: float, z: float) -> np.ndarray:
        cx, sx, cy, sy, cz, sz = np.cos(x), np.sin(x), np.cos(y), np.sin(y), np.cos(z), np.sin(z)
        rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        return rz @ ry @ rx

    parent = euler(0.3, 0.5, 0.1) @ np.diag([1, 2, 0.5])
    local = (world @ np.linalg.inv(parent).T - (3, 0, 1)) @ euler(0.4, 0.2, 0.9)
    return np.abs(np.abs(local).max(1) - 0.5) / np.abs(np.linalg.inv(parent)).sum()


@pytest.mark.parametrize("cameras", ["fibonacci", "random", "orbit"])
def test_no_view_is_cropped(render: Render, blender: Blender, tmp_path: Path, cameras: str) -> None:
    path = tmp_path / "slab.ply"
    blender(f"""
        bpy.ops.mesh.primitive_cube_add(size=1)
        bpy.context.object.scale = (4, 4, 0.3)
        bpy.ops.wm.ply_export(filepath="{path}")
    """)
    bundle = render(path, cameras=cameras, views=12, resolution=64)
    for view in bundle.views():
        border = np.concatenate([view.rgba[[0, -1], :, 3].ravel(), view.rgba[:, [0, -1], 3].ravel()])
        assert border.max() == 0
        assert (view.depth > 0).any()


@pytest.mark.parametrize("engine", [soak("eevee"), "workbench"])  # eevee compiles its shaders first
def test_geometry_does_not_depend_on_the_color_engine(render: Render, engine: str) -> None:
    path = model("kaykit/Furniture-Bits-1.0/Assets/gltf/couch_pillows.gltf")
    other = render(path, "other", engine=engine, views=2, resolution=64)
    cycles = render(path, "cycles", views=2, resolution=64)
    for ours, reference in zip(other.views(), cycles.views(), strict=True):
        assert np.array_equal(ours.depth, reference.depth)
        assert np.array_equal(ours.albedo, reference.albedo)
        inside = reference.rgba[..., 3] == 255
        alike = np.corrcoef(ours.rgba[inside][:, :3].ravel(), reference.rgba[inside][:, :3].ravel())[0, 1]
        assert alike > 0.8  # another engine's light, but the same couch


def test_same_bytes_twice(render: Render) -> None:
    path = model("kenney/Racing/vehicle-truck-green.glb")
    first, second = render(path, "first", views=2), render(path, "second", views=2)
    assert first.path.read_bytes() == second.path.read_bytes()


REAL = [
    "draco/CesiumMilkTruck/glTF/CesiumMilkTruck.gltf",
    "kaykit/Character-Pack-Adventures-1.0/Characters/gltf/Knight.glb",  # skinned
    "assimp/glTF2/MorphPrimitivesTest/glTF/MorphPrimitivesTest.gltf",
    "ufbx/blender_293_instancing_7400_binary.fbx",
    "sweethome3d/scopia/doll-house/doll-house.obj",
    "gazebo-models/tower_crane/meshes/tower_crane.dae",  # thin, and far from its origin
    "trimesh/featuretype.STL",
]


@pytest.mark.parametrize("name", REAL)
def test_depth_of_real_models_is_that_of_an_independent_ray_caster(render: Render, name: str) -> None:
    bundle = render(model(name), resolution=96)
    caster, some = RayCaster(bundle.mesh()), np.arange(0, 96 * 96, 3)
    ours = np.concatenate([view.depth.ravel()[some] for view in bundle.views()])
    theirs = np.concatenate([caster.depth(view, some) for view in bundle.views()])
    assert ((ours > 0) != (theirs > 0)).mean() < 1e-3
    both = (ours > 0) & (theirs > 0)
    assert both.sum() > 150
    assert (
        np.quantile(np.abs(ours - theirs)[both], 0.99) < 3e-5
    )  # half a step of the 16-bit depth, and float32
