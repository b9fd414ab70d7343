"""Faults of real files that a dataset must not show: black faces, magenta, parts that lose precision."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from render.bundle import Bundle
from tests.helpers.rays import RayCaster, points_of

Render = Callable[..., Bundle]
Blender = Callable[[str], None]

QUAD = """v -1 0 -1
v 1 0 -1
v 1 0 1
v -1 0 1
vt 0 0
vt 1 0
vt 1 1
vt 0 1
"""


def darkest(bundle: Bundle) -> float:
    """Mean ratio of lit color to albedo, in linear light, over the darkest 5 % of all opaque pixels."""
    ratios = [
        (view.rgba[..., :3].astype(float).mean(-1) / 255)[view.rgba[..., 3] == 255] ** 2.2
        / (view.albedo.astype(float).mean(-1) / 255)[view.rgba[..., 3] == 255].clip(0.01) ** 2.2
        for view in bundle.views()
    ]
    flat = np.sort(np.concatenate(ratios))
    return float(flat[: max(1, len(flat) // 20)].mean())


def test_duplicate_faces_are_not_black(render: Render, tmp_path: Path) -> None:
    path = tmp_path / "twice.obj"
    path.write_text(QUAD + QUAD.split("vt")[0] + "f 1 2 3 4\nf 8 7 6 5\n")
    bundle = render(path, samples=16)
    assert len(bundle.mesh().faces) == 2
    assert "faces removed: 1 duplicate" in str(bundle.meta["notes"])
    assert darkest(bundle) > 0.2


@pytest.mark.parametrize("stray", ["1000 1000 1000", "nan 0 0"])
def test_vertices_without_faces_are_nowhere(stray: str, render: Render, tmp_path: Path) -> None:
    path = tmp_path / "stray.off"
    path.write_text(f"OFF\n5 2 0\n-1 0 -1\n1 0 -1\n1 0 1\n-1 0 1\n{stray}\n3 0 1 2\n3 0 2 3\n")
    bundle = render(path)
    assert np.allclose(np.ptp(bundle.mesh().vertices, axis=0), [2, 0, 2], atol=1e-6)
    assert max((view.depth > 0).mean() for view in bundle.views()) > 0.1


def test_a_face_that_is_a_point_is_nowhere(render: Render, tmp_path: Path) -> None:
    """Of three vertices in one place far away; one within the others' box harms nothing."""
    path = tmp_path / "point.off"
    stray, inner = "900 0 900\n" * 3, "0 0 0\n" * 3
    quad = "-1 0 -1\n1 0 -1\n1 0 1\n-1 0 1\n"
    path.write_text(f"OFF\n10 4 0\n{quad}{stray}{inner}3 0 1 2\n3 0 2 3\n3 4 5 6\n3 7 8 9\n")
    bundle = render(path)
    assert np.allclose(np.ptp(bundle.mesh().vertices, axis=0), [2, 0, 2], atol=1e-6)
    assert "faces removed: 1 point-like" in str(bundle.meta["notes"])


def test_non_finite_and_duplicate_faces_of_one_mesh_are_removed(
    render: Render, blender: Blender, tmp_path: Path
) -> None:
    path = tmp_path / "both.blend"
    blender(f"""
        mesh = bpy.data.meshes.new("both")
        triangle = [(-1, 0, -1), (1, 0, -1), (1, 0, 1)]
        faces = [(0, 1, 2), (3, 4, 5), (6, 7, 8)]
        mesh.from_pydata([(math.nan, 0, 0)] * 3 + triangle * 2, [], faces)
        bpy.context.scene.collection.objects.link(bpy.data.objects.new("both", mesh))
        bpy.ops.wm.save_as_mainfile(filepath="{path}")
    """)
    bundle = render(path)
    assert len(bundle.mesh().faces) == 1
    assert [note.split(": ", 1)[1] for note in bundle.meta["notes"]] == [
        "faces removed: 1 non-finite",
        "faces removed: 1 duplicate",
    ]


def test_normals_that_contradict_their_faces_are_not_black(render: Render, tmp_path: Path) -> None:
    path = tmp_path / "inward.obj"
    path.write_text(
        QUAD + "vn 0 -1 0\nf 1/1/1 4/4/1 3/3/1 2/2/1\n"
    )  # wound to face +y, but normals point to -y
    bundle = render(path, samples=16)
    assert "shaded flat" in str(bundle.meta["notes"])
    assert darkest(bundle) > 0.2


def test_a_texture_with_a_stale_path_is_found_beside_the_model(render: Render, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "Textures").mkdir(parents=True)
    Image.new("RGB", (4, 4), (200, 100, 50)).save(folder / "Textures" / "Paint.PNG")
    (folder / "quad.mtl").write_text("newmtl m\nmap_Kd C:/Users/Somebody/Desktop/paint.png\n")
    (folder / "quad.obj").write_text("mtllib quad.mtl\n" + QUAD + "usemtl m\nf 1/1 2/2 3/3 4/4\n")
    bundle = render(folder / "quad.obj")
    assert bundle.meta["missing_textures"] == []
    assert "found beside" in str(bundle.meta["notes"])
    colors = np.concatenate([view.albedo[view.depth > 0] for view in bundle.views()])
    assert np.abs(colors.astype(int) - (200, 100, 50)).max() <= 3
    shutil.rmtree(folder / "Textures")
    assert render(folder / "quad.obj").meta["missing_textures"] == ["paint.png"]


def test_a_part_far_from_its_origin_keeps_its_precision(
    render: Render, blender: Blender, tmp_path: Path
) -> None:
    path = tmp_path / "far.blend"
    blender(f"""
        bpy.ops.mesh.primitive_uv_sphere_add(segments=128, ring_count=64)
        for vertex in bpy.context.object.data.vertices:
            vertex.co.x += 1000
        bpy.ops.wm.save_as_mainfile(filepath="{path}")
    """)
    bundle = render(path)
    assert bundle.meta["center"][0] == pytest.approx(1000, abs=1e-3)
    for view in bundle.views():
        hit = np.flatnonzero(view.depth)[::20]
        error = np.abs(view.depth.ravel()[hit] - RayCaster(bundle.mesh()).depth(view, hit))
        assert (
            np.quantile(error, 0.99) < 3e-5
        )  # in world coordinates, float32 would be off by more than 1e-4 everywhere
        assert (
            np.abs(np.linalg.norm(points_of(view), axis=1) - 1).max() < 2e-3
        )  # the precision of the file's own float32
