"""Exports open in the tools they are meant for, with the points that the shard holds; pictures show them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open3d as o3d
import pytest
from PIL import Image

from fuse.dataset.layout import Layout
from fuse.dataset.shard import decode, decode_normal
from fuse.export.model import ExportError, export, find_row
from fuse.preview.cutaway import draw_inside
from fuse.preview.picture import BACKGROUND, draw_cloud
from fuse.sampling import farthest_points
from tests.helpers import fuse_scenes as scenes


def test_ply_opens_in_open3d(whole: Path, tmp_path: Path) -> None:
    path = export(whole, "cube", tmp_path / "new" / "cube.ply")
    cloud = o3d.io.read_point_cloud(path)
    row = find_row(Layout(whole), "cube")
    assert np.array_equal(np.asarray(cloud.points, np.float32), decode(row, "outside_xyz"))
    assert np.array_equal(np.rint(np.asarray(cloud.colors) * 255), decode(row, "outside_rgb"))
    assert np.allclose(np.asarray(cloud.normals), decode_normal(decode(row, "outside_normal")), atol=1e-6)


def test_albedo_on_request(whole: Path, tmp_path: Path) -> None:
    cloud = o3d.io.read_point_cloud(export(whole, "ball", tmp_path / "b.ply", albedo=True))
    assert np.array_equal(np.rint(np.asarray(cloud.colors) * 255)[0], [200, 100, 50])


def test_all_kinds_of_points_are_labeled(whole: Path, tmp_path: Path) -> None:
    row = find_row(Layout(whole), "cube")
    counts = [row_count(row, kind) for kind in ("outside", "hidden", "solid")]
    assert counts[0] and counts[2]
    with np.load(export(whole, "cube", tmp_path / "all.npz", points="all")) as arrays:
        assert np.bincount(arrays["label"].astype(int), minlength=3).tolist() == counts
        assert np.array_equal(arrays["coords"][-counts[2] :] * 2, decode(row, "solid_xyz"))
    solid = o3d.io.read_point_cloud(export(whole, "cube", tmp_path / "solid.ply", points="solid"))
    assert np.array_equal(np.asarray(solid.points, np.float32), decode(row, "solid_xyz"))
    ply = export(whole, "cube", tmp_path / "all.ply", points="all").read_bytes()
    assert b"uchar label\nproperty uchar openness\nend_header" in ply
    vertex = np.frombuffer(ply.split(b"end_header\n")[1], np.uint8).reshape(sum(counts), -1)
    assert np.array_equal(vertex[: counts[0], -1], decode(row, "outside_openness"))
    assert not vertex[-counts[2] :, -1].any() and (vertex[-counts[2] :, -2] == 2).all()
    with pytest.raises(ExportError, match="cube has no hidden points"):
        export(whole, "cube", tmp_path / "hidden.ply", points="hidden")


def row_count(row: dict, kind: str) -> int:
    return len(decode(row, f"{kind}_xyz"))


def test_the_cut_open_picture_shows_the_hidden_in_color() -> None:
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(20_000, 3))
    ball = (ball / np.linalg.norm(ball, axis=1, keepdims=True)).astype(np.float32)
    gray, red = np.full((20_000, 3), 128, np.uint8), np.tile(np.array([230, 20, 20], np.uint8), (20_000, 1))
    panels = np.split(np.asarray(draw_inside(ball, gray, ball * 0.4, red, 96)).astype(int), 3, axis=1)
    reds = [(panel[..., 0] - panel[..., 1] > 100).sum() for panel in panels]
    assert reds[0] == 0 and reds[1] > 300 and reds[2] > 150
    assert panels[0][48, 48].max() < 170 < panels[1][20, 48].min(), "the outside is a ghost"


def test_npz_is_point_es(whole: Path, tmp_path: Path) -> None:
    arrays = np.load(export(whole, "plate.glb", tmp_path / "plate.npz"))
    assert set(arrays) == {"coords", "R", "G", "B"}
    assert np.array_equal(arrays["coords"], decode(find_row(Layout(whole), "plate"), "outside_xyz") / 2)
    assert np.abs(arrays["coords"]).max() <= 0.5001
    assert arrays["G"] == pytest.approx(200 / 255, abs=1e-6) and arrays["G"].shape == (300,)


def test_folder_is_a_nerf_dataset(whole: Path, tmp_path: Path) -> None:
    folder = export(whole, "tower.glb", tmp_path / "tower")
    frames = json.loads((folder / "transforms.json").read_text())["frames"]
    assert len(frames) == 6
    assert all((folder / frame["file_path"]).is_file() for frame in frames)
    assert np.array(frames[0]["transform_matrix"]).shape == (4, 4)
    assert len(list((folder / "pictures").glob("*.png"))) == 6


def test_nerfstudio_reads_the_true_depth(whole: Path, tmp_path: Path) -> None:
    """nerfstudio's dataparser and depth loader, restated: every depth pixel lies on the tower."""
    folder = export(whole, "tower.glb", tmp_path / "tower")
    meta = json.loads((folder / "transforms.json").read_text())
    mesh = o3d.t.geometry.RaycastingScene()
    tensor: Any = o3d.core.Tensor  # its type stubs know no arrays
    box = o3d.t.geometry.TriangleMesh.create_box(0.6, 0.4, 2)
    mesh.add_triangles(box.translate(tensor([-0.3, -0.2, -1.0])))
    for frame in meta["frames"]:
        depth = np.asarray(Image.open(folder / frame["depth_file_path"])).astype(np.float64) * 1e-3
        y, x = np.nonzero(depth)
        z = depth[y, x]
        across = (x + 0.5 - frame["cx"]) / frame["fl_x"] * z
        down = (y + 0.5 - frame["cy"]) / frame["fl_y"] * z
        pose = np.array(frame["transform_matrix"])
        points = np.stack([across, -down, -z], 1) @ pose[:3, :3].T + pose[:3, 3]
        distance = mesh.compute_distance(tensor(points.astype(np.float32))).numpy()
        assert len(points) > 50 and distance.max() < 6e-4
        assert (folder / frame["coded_depth_file_path"]).is_file()
    names = [frame["file_path"] for frame in meta["frames"]]
    assert sorted(meta["train_filenames"] + meta["test_filenames"]) == names
    assert meta["val_filenames"] == meta["test_filenames"] and meta["train_filenames"]


def test_splats_start_from_the_cloud(whole: Path, tmp_path: Path) -> None:
    """The layout that 3DGS reads: two files of poses, names without suffix, points with normals."""
    folder = export(whole, "tower.glb", tmp_path / "tower")
    frames = []
    for split in ("train", "test"):
        meta = json.loads((folder / f"transforms_{split}.json").read_text())
        assert meta["camera_angle_x"] > 0
        frames += meta["frames"]
        assert all((folder / f"{frame['file_path']}.png").is_file() for frame in meta["frames"])
    assert len(frames) == 6
    name = json.loads((folder / "transforms.json").read_text())["ply_file_path"]
    cloud = o3d.io.read_point_cloud(folder / name)
    row = find_row(Layout(whole), "tower.glb")
    assert np.array_equal(np.asarray(cloud.points, np.float32), decode(row, "outside_xyz"))
    assert cloud.has_colors() and cloud.has_normals()


def test_unknown_names_are_told_what_is_near(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no model 'cubes'\. Did you mean cube"):
        export(whole, "cubes", tmp_path / "x.ply")
    with pytest.raises(ExportError, match=r"no model 'towr'\. Did you mean tower"):
        export(whole, "towr", tmp_path / "folder")
    with pytest.raises(ExportError, match=r"cannot write \.obj"):
        export(whole, "cube", tmp_path / "x.obj")


def test_picture_shows_the_near_side_on_gray() -> None:
    rng = np.random.default_rng(0)
    flat = rng.uniform(-1, 1, (20_000, 3)).astype(np.float32)
    flat[:, 1] = np.sign(flat[:, 1])
    flat = flat[farthest_points(flat, 3000)]
    rgb = np.where(flat[:, 1:2] < 0, [220, 0, 0], [0, 0, 220]).astype(np.uint8)
    image = np.asarray(draw_cloud(flat, rgb, size=96, direction=(0, -1, 0)))
    assert image.shape == (96, 96, 3)
    middle = image[30:66, 30:66].reshape(-1, 3).astype(int)
    assert (middle[:, 0] > middle[:, 2] + 60).mean() > 0.99, "the far, blue side shows through"
    assert (image[0] == BACKGROUND).all() and (image[:, 0] == BACKGROUND).all()


def test_picture_by_a_camera_agrees_with_the_view(whole: Path) -> None:
    row = find_row(Layout(whole), "ball")
    camera = scenes.cameras(6)[2]
    image = np.asarray(
        draw_cloud(decode(row, "outside_xyz"), decode(row, "outside_rgb"), 48, camera, radius=0.06)
    )
    drawn = (image != BACKGROUND).any(-1)
    seen = scenes.render(scenes.sphere(40), camera, 48).depth > 0
    assert (drawn & seen).sum() / (drawn | seen).sum() > 0.8


def test_picture_of_no_points_is_empty() -> None:
    empty = np.zeros((0, 3))
    assert (np.asarray(draw_cloud(empty, empty.astype(np.uint8), 16)) == BACKGROUND).all()
    one = draw_cloud(np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8), 16)
    assert (np.asarray(one) < 100).any()
