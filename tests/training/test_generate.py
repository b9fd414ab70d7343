"""From shards to a generated cloud: files, results and errors."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from fuse.dataset.layout import Layout
from fuse.dataset.shard import ShardError
from pipeline.report.runs import read_runs
from render.failures import UserError
from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from training.checkpoints import CheckpointError
from training.config import TrainConfig
from training.data.channels import to_network
from training.evaluate import Sample, compare, evaluate, keep, read_samples
from training.generate import generate
from training.generator import Generator
from training.output.cloud_files import FORMATS, write_points
from training.output.pictures import draw_sides
from training.scores.clouds import read_clouds
from training.scores.report import score
from training.settings import EvaluateSettings, GenerateSettings, Sampling
from training.train import train

SMALL = TrainConfig(
    steps=30, batch=4, points=64, step_points=32, image_size=64, width=32, layers=2, heads=2, lr=3e-3,
    threads=1, device="cpu", sample_every=0,
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


def sample(checkpoint: Path, to: Path, *images: Path, **settings: Any) -> list[Path]:
    """`generate` in three steps, unless the settings say otherwise."""
    return generate(GenerateSettings(checkpoint, to, images, **{"steps": 3, **settings}), quiet)


def quiet(line: str) -> None:
    pass


def test_a_cloud_and_its_picture_are_written(run: Path, image: Path, tmp_path: Path) -> None:
    ply, picture = sample(run, tmp_path / "drawn.ply", image, points=300, steps=4)
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
    ply, picture = sample(run, image.with_suffix(".ply"), image, points=256)
    assert picture.name == "ball.cloud.png"
    assert image.read_bytes() == before
    again, _ = sample(run, image.with_name("again.ply"), image, points=256)
    other, _ = sample(run, image.with_name("other.ply"), image, points=256, seed=1)
    assert ply.read_bytes() == again.read_bytes() != other.read_bytes()


def test_a_folder_of_images_becomes_a_folder_of_every_format(run: Path, image: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (80, 60), (250, 250, 250)).save(buffer, "JPEG")
    (image.parent / "plate.jpg").write_bytes(buffer.getvalue())
    (image.parent / "notes.txt").write_text("no image")
    out = tmp_path / "clouds"
    files = sample(run, out, image.parent, steps=2)
    assert {path.name for path in files} == {
        f"{name}{end}" for name in ("ball", "plate") for end in (".ply", ".npz", ".glb", ".png")
    }
    ply: Any = trimesh.load(out / "ball.ply")
    assert ply.vertices.shape == (SMALL.points, 3)  # what it was trained with
    with np.load(out / "ball.npz") as npz:
        np.testing.assert_allclose(npz["coords"] * 2, ply.vertices, atol=1e-6)
        np.testing.assert_array_equal(np.rint(npz["R"] * 255), ply.colors[:, 0])
    scene: Any = trimesh.load(out / "ball.glb", force="scene")
    (points,) = scene.geometry.values()
    np.testing.assert_allclose(points.vertices, ply.vertices[:, [0, 2, 1]] * [1, 1, -1], atol=1e-6)
    np.testing.assert_array_equal(points.colors[:, :3], ply.colors[:, :3])


def test_clouds_do_not_depend_on_how_many_are_drawn_at_a_time(run: Path) -> None:
    images = [make_row(i, 1, 16)["image_00"] for i in range(3)]
    generator = Generator(run, precision="float32")  # bfloat16 rounds by the batch
    together = generator.sample(images, 64, Sampling(steps=2, batch=3))
    apart = generator.sample(images, 64, Sampling(steps=2, batch=1))
    np.testing.assert_allclose(together, apart, atol=1e-3)


def test_the_precision_is_what_the_settings_say(run: Path, image: Path, tmp_path: Path) -> None:
    def clouds(precision: str) -> np.ndarray:
        (file, _) = sample(run, tmp_path / f"{precision}.npz", image, points=64, precision=precision)
        with np.load(file) as npz:
            return npz["coords"]

    images, three = [image.read_bytes()], Sampling(steps=3)
    exact = Generator(run, precision="float32").sample(images, 64, three)
    whole, half = clouds("float32"), clouds("bfloat16")
    np.testing.assert_allclose(whole * 2, exact[0, :3].T, atol=1e-6)
    assert 1e-5 < np.abs(half - whole).max() < 0.2
    settings = EvaluateSettings(run.parents[1], run, count=2, points=32, steps=2, precision="float32")
    assert evaluate(settings).own == evaluate(settings).own
    assert evaluate(settings).own != evaluate(replace(settings, precision="bfloat16")).own


@pytest.mark.parametrize("side", [10_000, 1_000_000_000])
def test_an_image_bomb_is_refused_before_it_is_decoded(run: Path, tmp_path: Path, side: int) -> None:
    """A PNG of a few bytes that claims to have side x side pixels; Pillow only warns of the smaller one."""
    bomb = tmp_path / "bomb.png"
    Image.new("1", (1, 1)).save(bomb)
    data = bytearray(bomb.read_bytes())
    data[16:24] = struct.pack(">II", side, side)  # IHDR's width and height, then its checksum
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    bomb.write_bytes(data)
    with pytest.raises(UserError, match=r"bomb\.png: too many pixels \(.*Give a smaller image"):
        sample(run, tmp_path / "cloud.ply", bomb)


def test_bad_inputs_say_what_is_wrong(run: Path, image: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cloud\.obj: cannot write \.obj"):
        sample(run, tmp_path / "cloud.obj", image)
    with pytest.raises(ValueError, match=r"nothing\.png: no such image"):
        sample(run, tmp_path / "cloud.ply", tmp_path / "nothing.png")
    with pytest.raises(ValueError, match="2 clouds do not fit into one file"):
        sample(run, tmp_path / "cloud.ply", image, image)
    with pytest.raises(ValueError, match="this model takes image"):
        sample(run, tmp_path / "cloud.ply")
    with pytest.raises(ValueError, match="takes image, not text"):
        sample(run, tmp_path / "cloud.ply", text=("a red ball",))
    with pytest.raises(CheckpointError, match="a grid model, not an upsampler"):
        sample(run, tmp_path / "cloud.ply", image, upsampler=run, steps=1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no images in this folder"):
        sample(run, tmp_path / "cloud.ply", tmp_path / "empty")
    broken = tmp_path / "broken.png"
    broken.write_bytes(image.read_bytes()[:20])
    with pytest.raises(ValueError, match=r"broken\.png: not a readable image"):
        sample(run, tmp_path / "cloud.ply", broken)


def test_an_upsampler_continues_the_coarse_cloud(run: Path, image: Path, tmp_path: Path) -> None:
    out = run.parents[1]
    finer = SMALL.model_copy(
        update={"model": "upsample", "points": 48, "condition_points": 16, "step_points": 0, "steps": 3}
    )
    upsampler = train(finer, out, "upsample", report=lambda line: None).parent
    coarse = sample(run, tmp_path / "coarse.npz", image, points=16, steps=2)[0]
    fine = sample(run, tmp_path / "fine.npz", image, points=16, upsampler=upsampler, steps=2)[0]
    with np.load(coarse) as low, np.load(fine) as high:
        assert high["coords"].shape == (64, 3)
        np.testing.assert_array_equal(high["coords"][:16], low["coords"])
    with pytest.raises(CheckpointError, match="takes 16 points of 6 channels; the base makes 20 of 6"):
        sample(run, tmp_path / "x.ply", image, points=20, upsampler=upsampler, steps=1)


def test_labeled_clouds_keep_their_label(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (7, 40)).astype(np.float32)
    hidden = points[6] > 0
    for ending in FORMATS:
        write_points(tmp_path / f"cloud{ending}", points)
    with np.load(tmp_path / "cloud.npz") as npz:
        np.testing.assert_array_equal(npz["label"], hidden)
    header = (tmp_path / "cloud.ply").read_bytes().split(b"end_header")[0]
    assert b"property uchar label" in header
    scene: Any = trimesh.load(tmp_path / "cloud.glb", force="scene")
    assert {name: len(part.vertices) for name, part in scene.geometry.items()} == {
        "outside": (~hidden).sum(), "hidden": hidden.sum()
    }  # fmt: skip
    assert draw_sides(points, 64).size == (128, 256)


def test_evaluation_reads_the_truth_and_draws_a_sheet(run: Path, tmp_path: Path) -> None:
    out = run.parents[1]
    settings = EvaluateSettings(out, run, count=4, points=32, steps=3, scores=False)
    with pytest.raises(UserError, match=r"sheet\.txt: no picture has this ending"):
        replace(settings, pictures=tmp_path / "sheet.txt")
    result = evaluate(replace(settings, pictures=tmp_path / "new" / "sheet.png"))
    assert "holds none out (split 'validation' is empty)" in result.summary().splitlines()[0]
    assert result.objects == 4
    assert np.shape(result.distances) == (4, 4)
    assert result.summary().count("\n") == 6
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert sheet.size == (4 * 128, 3 * 128)
    before = evaluate(replace(settings, untrained=True))
    assert before.own > result.own  # thirty steps are better than none
    samples = read_samples(out / "clouds", SMALL, 5, views=[1], points=32, split="train")
    assert [sample.uid for sample in samples] == [make_row(i, 3, 64)["uid"] for i in range(5)]
    row = make_row(4, 3, 64)
    np.testing.assert_array_equal(
        samples[4].cloud, to_network(row["outside_xyz"][:32], row["outside_rgb"][:32])
    )
    assert samples[4].views[0].image == row["image_01"]
    with pytest.raises(ShardError, match="3 views, so no view 7"):
        evaluate(replace(settings, view=7))


def test_evaluation_is_of_held_out_objects_with_every_score(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    out = make_dataset(rows=6, validation=3)
    run = train(SMALL.model_copy(update={"steps": 2}), out, "run", report=quiet).parent
    settings = EvaluateSettings(out, run, points=32, steps=2, clouds=tmp_path / "clouds")
    result = evaluate(settings)
    assert result.uids == [make_row(i, 1, 8)["uid"] for i in (2, 5)]
    assert result.summary().splitlines()[0] == "held-out objects (split 'validation')"
    assert result.scores and result.scores.floor_points == 32
    again = score(
        read_clouds(tmp_path / "clouds" / "generated"), read_clouds(tmp_path / "clouds" / "true"), settings
    )
    assert again["EMD"].value == pytest.approx(result.scores["EMD"].value, rel=1e-5)
    assert evaluate(replace(settings, split="train", scores=False)).objects == 4
    kept = keep(result, settings)
    assert kept == run / "evaluations" / "step-0000002.json"
    assert keep(result, replace(settings, untrained=True)) is None
    (shown,) = next(read_runs(Layout(out)))["evaluations"]
    assert shown["about"] == result.objects_of and ["own", pytest.approx(result.own)] in shown["means"]
    emd = result.scores["EMD"]
    assert ["EMD", *map(pytest.approx, (emd.value, emd.floor, emd.ceiling))] in shown["scores"]


def test_figures_of_known_clouds() -> None:
    rng = np.random.default_rng(0)
    clouds = rng.uniform(-1, 1, (3, 6, 40)).astype(np.float32)
    clouds[:, 0] += np.array([0, 10, 20], np.float32)[:, None]
    samples = [Sample(f"object-{i}", (), cloud) for i, cloud in enumerate(clouds)]
    right = compare(samples, clouds)
    assert (right.nearest, right.own, right.own_color) == (3, 0, 0)
    assert right.other == pytest.approx((10 + 20 + 10 + 10 + 20 + 10) / 6, abs=1)
    recolored = clouds[:2].copy()
    recolored[1, :3] = recolored[0, :3]  # two objects of one shape
    recolored[1, 3:] += 0.5
    twins = [Sample(f"twin-{i}", (), cloud) for i, cloud in enumerate(recolored)]
    assert compare(twins, recolored).nearest_colored == 2
    assert compare(twins, recolored).nearest == 1
    wrong = compare(samples, clouds[[0, 2, 1]])
    assert wrong.nearest == 1
    assert "object-1 -> object-2" not in wrong.summary().splitlines()[1]
    assert "object-1 -> object-2" in wrong.summary()
