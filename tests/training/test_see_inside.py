"""Masks through training, evaluation and generation: true, predicted and none."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fuse.dataset.manifest import describe, write_manifest
from fuse.dataset.shard import table_of, write_shard
from render.failures import UserError
from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from training.conditioning.cameras import camera_numbers
from training.conditioning.shown import View
from training.config import TrainConfig
from training.data.loader import CloudLoader
from training.distributed import World
from training.evaluate import evaluate
from training.generate import generate
from training.generator import Generator
from training.learner import Learner
from training.output.seen import seen_by
from training.segmentation.comparison import compare_insides
from training.settings import EvaluateSettings, GenerateSettings, Sampling
from training.train import train

COMMON: dict[str, Any] = {
    "batch": 6, "image_size": 64, "threads": 1, "device": "cpu", "precision": "float32", "sample_every": 0,
    "score_every": 0, "tensorboard": False, "val_every": 0,
}  # fmt: skip
SEGMENT: dict[str, Any] = COMMON | {
    "steps": 2, "model": "segment", "encoder": "efficientnet_lite0_fine", "width": 16, "layers": 1,
    "points": 16, "step_points": 0,
}  # fmt: skip
MIXED: dict[str, Any] = COMMON | {
    "steps": 3, "points": 64, "step_points": 32, "width": 32, "layers": 2, "heads": 2, "view_rays": True,
    "view_projected": True, "points_from": "outside+hidden", "target": "albedo", "see_inside": "mixed",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of eight objects, two of them held out."""
    clouds = tmp_path_factory.mktemp("inside") / "out" / "clouds"
    clouds.mkdir(parents=True)
    rows = [make_row(i, 2, 64, "validation" if i > 5 else "train", hidden=32) for i in range(8)]
    path = clouds / "part-00000.parquet"
    write_shard(path, [table_of(row) for row in rows], "hash", {})
    write_manifest(clouds, [describe(path)])
    return clouds.parent


@pytest.fixture(scope="module")
def segmenter(data: Path) -> Path:
    return train(TrainConfig(**SEGMENT), data, "segment", report=lambda line: None)


@pytest.fixture(scope="module")
def run(data: Path, segmenter: Path) -> Path:
    """A run of a few steps, whose silent parts are then made loud."""
    config = TrainConfig(**MIXED, segmenter=str(segmenter))
    path = train(config, data, "mixed", report=lambda line: None)
    state = torch.load(path, weights_only=True)
    for index, weight in enumerate(state["ema"].values()):
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3, generator=torch.Generator().manual_seed(index))
    torch.save(state, path)
    return path


def test_training_shows_true_predicted_and_no_masks_by_thirds(data: Path, segmenter: Path) -> None:
    learner = Learner(TrainConfig(**MIXED, segmenter=str(segmenter)), torch.device("cpu"), World.current())
    batch = next(iter(CloudLoader(data / "clouds", 6, points=64, mix=learner.config.mix, target="albedo",
                                  cameras=True, masks=True)))  # fmt: skip
    thirds = torch.tensor([0.1, 0.5, 0.9, 0.3, 0.6, 0.99])
    mixed = learner.condition(batch, insides=thirds)[0]["inside"]
    assert mixed.shape == (6, 1, 2, 64, 64)
    predicted = learner.condition(batch)[0]["inside"]
    for sample, (kind, masks) in enumerate(zip((0, 1, 2, 0, 1, 2), batch.masks or [], strict=True)):
        interior, layers = masks[0].decode()
        true = np.stack([interior, np.log2(1.0 + layers)])  # of 64 pixels too
        expected = (predicted[sample, 0].numpy(), true, np.zeros_like(true))[kind]
        np.testing.assert_allclose(mixed[sample, 0].numpy(), expected, atol=2e-3)
    assert predicted.amax() > 0 and not torch.allclose(predicted[0], mixed[1])


def test_one_checkpoint_is_compared_with_and_without_masks(data: Path, run: Path) -> None:
    kinds = ("none", "predicted", "true")
    settings = EvaluateSettings(
        data, run, points=32, steps=2, count=2, see_inside=kinds, precision="float32", set_points=8
    )
    found = compare_insides(settings, samples=2, views=2)
    lines = found.lines()
    assert lines[0].startswith("2 held-out objects") and "true - none" in lines[2]
    assert {"hidden recall@0.05", "hidden precision@0.05", "label accuracy"} <= set(found.values["none"])
    chamfer = [found.values[kind]["Chamfer, mean distance"] for kind in kinds]
    assert len({tuple(values) for values in chamfer}) == 3
    single = EvaluateSettings(
        data, run, points=32, steps=2, count=2, see_inside=("true",), precision="float32", sets=False
    )
    every = [evaluate(replace(single, seed=seed, view=seed // 2)).scores for seed in range(4)]
    means = np.mean([np.array(one["Chamfer, mean distance"].objects) for one in every if one], axis=0)
    np.testing.assert_allclose(chamfer[2], means)


def test_generate_takes_masks_or_predicts_them(data: Path, run: Path, tmp_path: Path) -> None:
    row, said = make_row(0, 2, 64), []
    image, mask, layers = (tmp_path / f"{name}.png" for name in ("a", "mask", "layers"))
    for path, column in ((image, "image_00"), (mask, "interior_00"), (layers, "layers_00")):
        path.write_bytes(row[column])

    def made(name: str, **options: Any) -> dict[str, np.ndarray]:
        settings = GenerateSettings(
            run, tmp_path / f"{name}.npz", (image,), points=48, steps=2, precision="float32", **options
        )
        generate(settings, said.append)
        return dict(np.load(settings.to))

    true, guessed = made("true", mask=(mask,), mask_layers=(layers,)), made("guessed")
    assert not np.array_equal(true["coords"], guessed["coords"])
    assert set(true["label"]) <= {0, 1} and 0 < true["label"].sum() < 48
    assert "seen" not in true and "no camera is known" in said[-1]
    generator = Generator(run, precision="float32")
    sampling = Sampling(steps=2)
    view = View(row["image_00"], behind="predicted")
    np.testing.assert_array_equal(generator.sample([[view]], 48, sampling)[0, :3].T / 2, guessed["coords"])
    pose = np.reshape(row["cameras"][0]["camera_to_world"], (4, 4))
    frame = {"file_path": "a.png", "transform_matrix": pose.tolist()}
    cameras = tmp_path / "transforms.json"
    cameras.write_text(json.dumps({"camera_angle_x": 0.7, "frames": [frame]}))
    posed = made("posed", cameras=cameras)
    expected = seen_by(2 * posed["coords"], camera_numbers(pose, 0.7)[None])
    np.testing.assert_array_equal(posed["seen"] == 1, expected)
    assert 0 < expected.sum() < 48
    outside = made("outside", mask=(mask,), mask_layers=(layers,), part="outside")
    assert "label" not in outside
    np.testing.assert_array_equal(outside["coords"], true["coords"][true["label"] == 0])
    state = torch.load(run, weights_only=True)
    state["config"]["segmenter"] = str(tmp_path / "gone")
    torch.save(state, tmp_path / "moved.pt")
    moved = Generator(tmp_path / "moved.pt", precision="float32")
    assert moved.guess is None and moved.sees_inside
    with pytest.raises(UserError, match="2 masks for 1 images"):
        made("wrong", mask=(mask, mask))
    small = io.BytesIO()
    Image.new("L", (8, 8)).save(small, "PNG")
    mask.write_bytes(small.getvalue())
    with pytest.raises(UserError, match=r"mask\.png: \(8, 8\) pixels, its image has \(64, 64\)"):
        made("small", mask=(mask,))
