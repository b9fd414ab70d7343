"""Rules that merge clouds, against what they must give by construction."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fuse.export.model import write_ply, write_point_e
from pipeline.arguments import parse
from pipeline.cli import module_of
from render.failures import UserError
from training.merging.files import merge
from training.merging.rules import Shown, consensus, hull, mean, sample, silhouettes, support, union
from training.merging.settings import MergeSettings
from training.scores.clouds import read_cloud


def colored(xyz: np.ndarray, color: float, hidden: float | None = None) -> np.ndarray:
    """(N, 3) -> (C, N) of one color, with a label if one is given."""
    rest = [np.full((3, len(xyz)), color)] + ([] if hidden is None else [np.full((1, len(xyz)), hidden)])
    return np.concatenate([xyz.T, *rest]).astype(np.float32)


def line(count: int, first: float = 0.0) -> np.ndarray:
    """(count, 3): points 1 apart on the x axis."""
    return np.stack([first + np.arange(count), np.zeros(count), np.zeros(count)], 1)


def places(cloud: np.ndarray) -> list[float]:
    return sorted(cloud[0].tolist())


def test_the_union_spreads_over_all_clouds_and_keeps_colors() -> None:
    left, right = colored(line(4), -1), colored(line(4, first=4), 1)
    assert places(union([left, right], 8)) == list(range(8))
    half = union([left, right], 4)
    assert np.diff(places(half)).min() >= 2  # a farthest-point sample of 8 in a row takes no neighbors
    assert all((half[3:6, i] == (-1 if half[0, i] < 4 else 1)).all() for i in range(4))
    assert set(places(union([left, left], 6))) == {0, 1, 2, 3}  # four distinct points, two of them repeated


def test_a_sample_takes_an_equal_share_of_each_cloud() -> None:
    clouds = [colored(line(9), -1), colored(line(30, first=100), 0), colored(line(2, first=200), 1)]
    merged = sample(clouds, 8)
    assert places(merged) == [0, 4, 100, 110, 120, 200, 200, 201]
    assert merged[3].tolist() == [-1, -1, 0, 0, 0, 1, 1, 1]


def test_consensus_drops_what_no_other_cloud_has() -> None:
    whole, clean = line(6), line(6) + np.array([0.1, 0, 0])
    spoiled = np.concatenate([whole, [[50.0, 0, 0], [0, 90, 0]]])
    clouds = [colored(spoiled, 0), colored(clean, 0)]
    kept = consensus(clouds, 12)  # the radius is the spacing, 1
    assert kept[:2].max() < 6 and places(kept) == pytest.approx(sorted([*range(6), *clean[:, 0]]))
    assert union(clouds, 12)[:2].max() == 90
    few = consensus(clouds, 13, radius=0.05)  # none is confirmed: the nearest to being so
    assert places(few)[-1] == 50 and few[1].max() == 0


def test_support_is_the_distance_to_the_nearest_of_so_many_clouds() -> None:
    clouds = [colored(np.array([[x, 0.0, 0.0]]), 0) for x in (0.0, 1.0, 3.0)]
    assert support(clouds) == pytest.approx([1, 1, 2])
    assert support(clouds, least=2) == pytest.approx([3, 2, 3])
    alone = consensus([clouds[0]], 1)
    assert (alone == clouds[0]).all()


def test_silhouettes_drop_what_a_picture_rules_out() -> None:
    clouds = [colored(line(4), 0), colored(line(3, first=10), 1)]
    shown = np.array([1, 0.2, 0.9, 0, 0.6, 0.5, 0.4])
    assert places(silhouettes(clouds, 4, shown)) == [0, 2, 10, 11]
    assert places(silhouettes(clouds, 5, shown)) == [0, 2, 10, 11, 12]  # the nearest to being on the object


def test_a_hull_fills_what_the_clouds_leave_of_the_object() -> None:
    clouds = [colored(line(4), 0)]
    shown = Shown(np.array([1, 0.2, 0.9, 0]), colored(line(3, first=10), 1))
    assert places(hull(clouds, 5, shown)) == [0, 2, 10, 11, 12]
    assert set(places(hull(clouds, 6, shown))) == {0, 2, 10, 11, 12}  # rather repeated than off the object
    none = Shown(shown.alpha, colored(line(0), 1))
    assert places(hull(clouds, 3, none)) == [0, 1, 2]  # but for nothing at all


def test_files_are_merged_by_the_pictures_of_their_object(tmp_path: Path) -> None:
    """From above, only what is at the left, from the front, only what is below: a quarter stays."""
    rng, clouds, images, frames = np.random.default_rng(0), [], [], []
    for name in "ab":
        clouds.append(tmp_path / f"{name}.ply")
        write_ply(clouds[-1], rng.uniform(-1, 1, (400, 3)).astype(np.float32), np.zeros((400, 3), np.uint8))
    above, front = np.eye(4), np.eye(4)
    above[2, 3], front[:3, :3], front[1, 3] = 6, [[1, 0, 0], [0, 0, -1], [0, 1, 0]], -6
    for name, pose, box in (("above", above, (0, 0, 32, 64)), ("front", front, (0, 32, 64, 64))):
        images.append(tmp_path / f"{name}.png")
        picture = Image.new("RGBA", (64, 64))
        picture.paste((200, 0, 0, 255), box)
        picture.save(images[-1])
        frames.append({"file_path": images[-1].name, "transform_matrix": pose.tolist()})
    cameras, to = tmp_path / "transforms.json", tmp_path / "merged.ply"
    cameras.write_text(json.dumps({"camera_angle_x": 0.8, "frames": frames}))
    settings = MergeSettings(
        tuple(clouds), to, "silhouettes", image=tuple(images), cameras=cameras, points=100
    )
    x, _, z = read_cloud(merge(settings)).xyz.T
    assert len(x) == 100 and x.max() < 0.03 and z.max() < 0.03 and x.min() < -0.8 and z.min() < -0.8
    filled = read_cloud(merge(replace(settings, rule="hull", clouds=tuple(clouds), points=1000)))
    x, _, z = filled.xyz.T
    assert len(np.unique(filled.xyz, axis=0)) == 1000 and max(x.max(), z.max()) < 0.03 and x.min() < -0.8
    assert filled.rgb is not None and (filled.rgb[:, 0] > 190).mean() > 0.8  # of the pictures, but for 100
    Image.new("RGB", (64, 64)).save(images[0])
    with pytest.raises(UserError, match=r"above\.png: an opaque picture has no silhouette"):
        merge(settings)
    with pytest.raises(UserError, match="silhouettes needs --image"):
        MergeSettings(tuple(clouds), to, "silhouettes", image=tuple(images))


def test_the_mean_of_clouds_moves_partners_together() -> None:
    rng = np.random.default_rng(0)
    xyz = line(5) * 10
    shifted = (xyz + np.array([0, 2, 0]))[rng.permutation(5)]
    merged = mean([colored(xyz, -1, 1), colored(shifted, 1, 1), colored(xyz, 0, -1)], 5)
    assert places(merged) == pytest.approx([0, 10, 20, 30, 40])
    assert merged[1] == pytest.approx(np.full(5, 2 / 3)) and merged[3] == pytest.approx(np.zeros(5))
    assert (merged[6] == 1).all()  # two of three say hidden


def test_files_of_any_generator_are_merged(tmp_path: Path) -> None:
    """PLY with labels, Point-E's npz (in half our frame), PLY without colors, to a labeled PLY."""
    rng = np.random.default_rng(1)
    first, second, third = (rng.uniform(-1, 1, (40, 3)).astype(np.float32) for _ in range(3))
    red, blue = (np.tile(np.array(c, np.uint8), (40, 1)) for c in ((250, 0, 0), (0, 0, 240)))
    write_ply(tmp_path / "a.ply", first, red, label=np.ones(40, np.uint8))
    write_point_e(tmp_path / "b.npz", second, blue)
    (tmp_path / "c.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 40\nproperty float x\nproperty float y\nproperty float z\n"
        "end_header\n" + "".join(f"{x} {y} {z}\n" for x, y, z in third)
    )
    files = [str(tmp_path / name) for name in ("a.ply", "b.npz", "c.ply")]
    verb = module_of("merge")
    flags = ["--to", str(tmp_path / "out.ply"), "--rule", "union", "--points", "120"]
    command = parse(verb.Command, "merge", [*files, *flags])
    assert verb.run(command) == 0
    merged = read_cloud(tmp_path / "out.ply")
    assert merged.rgb is not None and merged.hidden is not None
    every = np.concatenate([first, second, third])
    found = np.linalg.norm(merged.xyz[:, None] - every, axis=2)
    assert found.min(1).max() < 1e-6 and len(set(found.argmin(1).tolist())) == 120
    of = found.argmin(1) // 40
    assert (merged.hidden == (of == 0)).all()
    assert (merged.rgb[of == 0] == (250, 0, 0)).all() and (merged.rgb[of == 1] == (0, 0, 240)).all()


def test_what_cannot_be_merged_is_refused(tmp_path: Path) -> None:
    one = tmp_path / "a.ply"
    write_ply(one, line(4).astype(np.float32), np.zeros((4, 3), np.uint8))
    with pytest.raises(UserError, match="two or more"):
        merge(MergeSettings((one,), tmp_path / "o.ply"))
    with pytest.raises(UserError, match="cannot write"):
        merge(MergeSettings((one, one), tmp_path / "o.xyz"))
    with pytest.raises(UserError, match="no such file"):
        merge(MergeSettings((one, tmp_path / "b.ply"), tmp_path / "o.ply"))
