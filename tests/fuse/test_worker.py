"""The fuse worker: what it records and what it calls a failure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fuse.config import FuseConfig
from fuse.dataset.shard import decode, read_rows
from fuse.dataset.splits import UNDECIDED
from fuse.job import FuseJob, FuseRecord
from fuse.worker import process, singular_values
from render.bundle import View, write_bundle
from render.failures import ModelFailure
from render.job import Placement
from tests.helpers import fuse_scenes as scenes
from tests.helpers.fuse_dataset import bundle_path


def fuse(bundle: Path, output: Path, **config: object) -> FuseRecord:
    """Have the worker fuse a bundle."""
    job = FuseJob(uid=bundle.stem, config_hash="test", config=FuseConfig.model_validate(config), seed=3)
    return process(job, Placement(input=bundle, output=output, scratch=output.parent))


def test_the_record(whole: Path, tmp_path: Path) -> None:
    record = fuse(bundle_path(whole, "ball"), tmp_path / "ball.parquet", points=500)
    assert record.n_outside == 500 < record.dense_outside
    assert set(record.seconds) == {"decode", "project", "merge", "label", "sample", "solid", "write"}
    row = next(read_rows(tmp_path / "ball.parquet"))
    # 500 evenly spread points on the unit ball: hexagonal packing puts neighbors 0.17 apart
    assert 0.11 < record.spacing < 0.18
    assert row["quality"]["dense_outside"] == record.dense_outside
    assert row["quality"]["singular_values"] == pytest.approx([3**-0.5] * 3, abs=0.02)


def test_longer_clouds_begin_with_the_shorter(whole: Path, tmp_path: Path) -> None:
    clouds = []
    for points in (100, 400):
        path = tmp_path / f"{points}.parquet"
        fuse(bundle_path(whole, "tower"), path, points=points)
        clouds.append(decode(next(read_rows(path)), "outside_xyz"))
    assert np.array_equal(clouds[0], clouds[1][:100])


def test_a_model_with_few_points_gives_them_all(whole: Path, tmp_path: Path) -> None:
    record = fuse(bundle_path(whole, "plate"), tmp_path / "p.parquet", points=100_000)
    xyz = decode(next(read_rows(tmp_path / "p.parquet")), "outside_xyz")
    assert len(xyz) == record.n_outside == record.dense_outside == len(np.unique(xyz, axis=0))


def test_the_split_and_weight_of_a_list_reach_the_row(tmp_path: Path) -> None:
    scene = scenes.sphere(8)
    views = [scenes.render(scene, camera, 32) for camera in scenes.cameras(4)]
    meta = {"uid": "ball", "source": "ball.glb", "source_sha256": "", "format": "glb", "center": [0, 0, 0]}
    for name, listed in {"plain": {}, "listed": {"split": "test", "weight": 0.0}}.items():
        write_bundle(tmp_path / f"{name}.zip", views, scene.mesh(), {**meta, "scale": 1.0, **listed})
        fuse(tmp_path / f"{name}.zip", tmp_path / f"{name}.parquet")
    plain, listed = (next(read_rows(tmp_path / f"{name}.parquet")) for name in ("plain", "listed"))
    assert (plain["split"], plain["weight"]) == (UNDECIDED, 1)
    assert (listed["split"], listed["weight"]) == ("test", 0)


@pytest.mark.parametrize("scene", [scenes.sphere(4), scenes.Scene()], ids=["ball", "no triangles"])
def test_nothing_seen_is_a_failure(tmp_path: Path, scene: scenes.Scene) -> None:
    zero = np.zeros((16, 16), np.float32)
    image = np.zeros((16, 16, 4), np.uint8)
    view = View(scenes.cameras(1)[0], image, zero, image[..., :3], np.zeros((16, 16, 3), np.float32))
    meta = {"uid": "void", "source": "void.glb", "source_sha256": "", "format": "glb", "center": [0, 0, 0]}
    write_bundle(tmp_path / "void.zip", [view], scene.mesh(), {**meta, "scale": 1.0})
    with pytest.raises(ModelFailure, match="none of 1 views shows a surface") as failure:
        fuse(tmp_path / "void.zip", tmp_path / "void.parquet")
    assert failure.value.kind == "empty"
    assert not (tmp_path / "void.parquet").exists()


def test_a_bundle_without_triangles_gives_what_its_views_show(tmp_path: Path) -> None:
    views = [scenes.render(scenes.sphere(8), camera, 32) for camera in scenes.cameras(4)]
    meta = {"uid": "ball", "source": "ball.glb", "source_sha256": "", "format": "glb", "center": [0, 0, 0]}
    write_bundle(tmp_path / "ball.zip", views, scenes.Scene().mesh(), {**meta, "scale": 1.0})
    record = fuse(tmp_path / "ball.zip", tmp_path / "ball.parquet", points=200)
    assert (record.n_outside, record.n_hidden, record.n_solid, record.solid_method) == (200, 0, 0, "none")


def test_a_damaged_bundle_is_a_failure_with_a_cure(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "cube.zip"
    path.write_bytes(bundle_path(whole, "cube").read_bytes()[:2000])
    with pytest.raises(ModelFailure, match="render again") as failure:
        fuse(path, tmp_path / "cube.parquet")
    assert failure.value.kind == "fuse_error"


def test_singular_values_of_a_box() -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (200_000, 3)) * [1, 0.5, 0.0] + 4
    # a uniform variable on (-a, a) has standard deviation a / sqrt(3)
    assert singular_values(points) == pytest.approx([3**-0.5, 0.5 * 3**-0.5, 0], abs=2e-3)
