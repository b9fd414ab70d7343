"""From shards to a drawn cloud: files, figures and errors."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from PIL import Image

from training.config import TrainConfig
from training.diffusion import to_network
from training.evaluate import Sample, compare, evaluate, read_samples
from training.generate import generate
from training.train import train

SMALL = TrainConfig(
    steps=30, batch=4, points=64, step_points=32, image_size=64, width=32, layers=2, heads=2, lr=3e-3,
    threads=1, device="cpu",
)  # fmt: skip


@pytest.fixture
def run(make_dataset: Callable[..., Path]) -> Path:
    """A run's folder, trained for a few steps."""
    out = make_dataset(rows=5, shard=3)
    return train(SMALL, out, "run", report=lambda line: None).parent


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "ball.png"
    path.write_bytes(make_row(0, 1, 16)["image_00"])
    return path


def test_a_cloud_and_its_picture_are_written(run: Path, image: Path, tmp_path: Path) -> None:
    ply, picture = generate(run, image, tmp_path / "drawn.ply", steps=4, points=300)
    cloud = trimesh.load(ply)
    assert isinstance(cloud, trimesh.PointCloud)
    assert cloud.vertices.shape == (300, 3)
    assert np.abs(cloud.vertices).max() <= 1.001
    assert len(np.unique(cloud.colors[:, :3], axis=0)) > 1
    with Image.open(picture) as drawn:
        assert picture == tmp_path / "drawn.png"
        assert len(np.unique(np.array(drawn).reshape(-1, 3), axis=0)) > 10


def test_the_seed_decides_and_the_image_is_never_written_over(run: Path, image: Path) -> None:
    before = image.read_bytes()
    ply, picture = generate(run, image, image.with_suffix(".ply"), steps=3, points=256)
    assert picture.name == "ball.cloud.png"
    assert image.read_bytes() == before
    again, _ = generate(run, image, image.with_name("again.ply"), steps=3, points=256)
    other, _ = generate(run, image, image.with_name("other.ply"), steps=3, points=256, seed=1)
    assert ply.read_bytes() == again.read_bytes() != other.read_bytes()


def test_a_jpeg_will_do(run: Path, image: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (80, 60), (250, 250, 250)).save(buffer, "JPEG")
    image.with_suffix(".jpg").write_bytes(buffer.getvalue())
    ply, _ = generate(run, image.with_suffix(".jpg"), tmp_path / "jpeg.ply", steps=2, points=256)
    assert ply.stat().st_size > 256 * 15


def test_bad_inputs_say_what_is_wrong(run: Path, image: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Name it cloud\.ply"):
        generate(run, image, tmp_path / "cloud.obj")
    with pytest.raises(ValueError, match=r"nothing\.png: no such image"):
        generate(run, tmp_path / "nothing.png", tmp_path / "cloud.ply")
    broken = tmp_path / "broken.png"
    broken.write_bytes(image.read_bytes()[:20])
    with pytest.raises(ValueError, match=r"broken\.png: not an image"):
        generate(run, broken, tmp_path / "cloud.ply")


def test_evaluation_reads_the_truth_and_draws_a_sheet(run: Path, tmp_path: Path) -> None:
    out = run.parents[1]
    result = evaluate(run, out, count=4, points=32, steps=3, pictures=tmp_path / "sheet.png")
    assert result.objects == 4
    assert np.shape(result.distances) == (4, 4)
    assert result.summary().count("\n") == 5
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (6 * 128, 3 * 128)
    samples = read_samples(out / "clouds", SMALL, 5, view=1, points=32)
    assert [sample.uid for sample in samples] == [make_row(i, 3, 64)["uid"] for i in range(5)]
    row = make_row(4, 3, 64)
    np.testing.assert_array_equal(
        samples[4].cloud, to_network(row["outside_xyz"][:32], row["outside_rgb"][:32])
    )
    assert samples[4].image == row["image_01"]


def test_figures_of_known_clouds() -> None:
    rng = np.random.default_rng(0)
    clouds = rng.uniform(-1, 1, (3, 6, 40)).astype(np.float32)
    clouds[:, 0] += np.array([0, 10, 20], np.float32)[:, None]
    samples = [Sample(f"object-{i}", b"", cloud) for i, cloud in enumerate(clouds)]
    right = compare(samples, clouds)
    assert (right.nearest, right.own, right.own_color) == (3, 0, 0)
    assert right.other == pytest.approx((10 + 20 + 10 + 10 + 20 + 10) / 6, abs=1)
    recolored = clouds[:2].copy()
    recolored[1, :3] = recolored[0, :3]  # two objects of one shape
    recolored[1, 3:] += 0.5
    twins = [Sample(f"twin-{i}", b"", cloud) for i, cloud in enumerate(recolored)]
    assert compare(twins, recolored).nearest_colored == 2
    assert compare(twins, recolored).nearest == 1
    wrong = compare(samples, clouds[[0, 2, 1]])
    assert wrong.nearest == 1
    assert "object-1 -> object-2" not in wrong.summary().splitlines()[1]
    assert "object-1 -> object-2" in wrong.summary()
