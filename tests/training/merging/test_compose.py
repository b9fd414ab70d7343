"""Three pictures to one labeled cloud in one command: each step makes what its own verb would make."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fuse.dataset.manifest import describe, write_manifest
from fuse.dataset.shard import image_column, table_of, write_shard
from render.failures import UserError
from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from tests.helpers.places import ROOT
from training import checkpoints
from training.conditioning.cameras import camera_numbers
from training.conditioning.image_files import read_views
from training.conditioning.pose_file import write_poses
from training.config import TrainConfig
from training.merging import compose as sheet
from training.merging.compose import compose
from training.merging.files import as_channels
from training.merging.rules import consensus, union
from training.merging.settings import ComposeSettings
from training.scores.clouds import read_cloud
from training.segmentation.layer_cloud import LayerPredictor
from training.train import train

POINTS, TILE = 256, 48
SMALL = {
    "steps": 2, "batch": 2, "points": POINTS, "step_points": 0, "image_size": 64, "width": 32, "layers": 1,
    "heads": 2, "threads": 1, "device": "cpu", "precision": "float32", "prediction": "flow",
    "points_from": "outside+hidden", "target": "albedo", "val_every": 0, "score_every": 0, "sample_every": 0,
    "tensorboard": False,
}  # fmt: skip
RUNS = {
    "base": {"view_rays": True, "view_projected": True},
    "segment": {"model": "segment", "encoder": "efficientnet_lite0_fine"},
    "layers": {"model": "layers", "encoder": "efficientnet_lite0_fine"},
    "finer": {"model": "upsample", "condition_points": POINTS, "points": 768},
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ComposeSettings:
    """Three pictures of a ball with their cameras, and networks that have taken two steps."""
    folder = tmp_path_factory.mktemp("compose")
    clouds = folder / "out" / "clouds"
    clouds.mkdir(parents=True)
    rows = [make_row(i, 3, 1024, "validation" if i == 3 else "train", hidden=512) for i in range(4)]
    write_shard(clouds / "part-00000.parquet", [table_of(row) for row in rows], "hash", {})
    write_manifest(clouds, [describe(clouds / "part-00000.parquet")])
    for name, changes in RUNS.items():
        train(TrainConfig.model_validate(SMALL | changes), folder / "out", name, report=lambda line: None)
    pictures = [folder / f"{view}.png" for view in range(3)]
    for view, path in enumerate(pictures):
        path.write_bytes(rows[0][image_column(view)])
    cameras = [(one["camera_to_world"].reshape(4, 4), one["fov"]) for one in rows[0]["cameras"]]
    poses = {f"{view}.png": camera_numbers(*camera) for view, camera in enumerate(cameras)}
    write_poses(folder / "transforms.json", poses)
    runs = folder / "out" / "checkpoints"
    return ComposeSettings(
        tuple(pictures),
        runs / "base",
        folder / "made",
        folder / "transforms.json",
        runs / "segment",
        upsampler=runs / "finer",
        steps=2,
        guidance=1.0,
        device="cpu",
        precision="float32",
    )


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clouds of hardly any training are so wide that large pictures of them take ten seconds."""
    monkeypatch.setattr(sheet, "TILE", TILE)


def test_three_pictures_become_one_refined_labeled_cloud(settings: ComposeSettings):
    written = compose(settings, report=lambda line: None)
    names = {path.name for path in written}
    each = {f"{i}-{i}.{kind}" for i in range(3) for kind in ("ply", "mask.png")}
    assert names == {*each, "merged.ply", "cloud.ply", "picture.png"}
    three = as_channels([read_cloud(settings.to / f"{i}-{i}.ply") for i in range(3)])
    merged, cloud = as_channels([read_cloud(settings.to / f"{name}.ply") for name in ("merged", "cloud")])
    assert merged.shape == (7, POINTS) and cloud.shape == (7, POINTS + 768)
    np.testing.assert_array_equal(merged[:3], consensus(three, POINTS)[:3])
    np.testing.assert_array_equal(cloud[:, :POINTS], merged)
    assert not np.array_equal(three[0], three[1])  # each picture has noise of its own
    mask = np.asarray(Image.open(settings.to / "0-0.mask.png"))
    assert mask.shape == (64, 64) and not mask[2:8].any() and mask[32, 32] > 0
    assert Image.open(settings.to / "picture.png").size == (3 * TILE, 4 * TILE)


def test_the_layers_of_all_pictures_are_one_more_cloud(settings: ComposeSettings, tmp_path: Path):
    """A merger that is told where clouds look from takes it, too."""
    runs = settings.checkpoint.parent
    settings = replace(settings, to=tmp_path / "union", layers=runs / "layers", upsampler=None, merge="union")
    compose(settings, report=lambda line: None)
    layered = read_cloud(settings.to / "layers.ply")
    views = [view for _, view in read_views(settings.image, settings.cameras)]
    expected = LayerPredictor(runs / "layers", "cpu").cloud(views)
    np.testing.assert_allclose(layered.xyz.T, expected[:3], atol=1e-5)
    four = as_channels([*(read_cloud(settings.to / f"{i}-{i}.ply") for i in range(3)), layered])
    (merged,) = as_channels([read_cloud(settings.to / "merged.ply")])
    np.testing.assert_allclose(merged, union(four, POINTS), atol=1e-2)
    assert Image.open(settings.to / "picture.png").size == (4 * TILE, 4 * TILE)

    merger = untrained_merger(tmp_path / "merger.pt")
    written = compose(replace(settings, to=tmp_path / "merger", merge=str(merger)), report=lambda line: None)
    (merged,) = as_channels([read_cloud(tmp_path / "merger" / "merged.ply")])
    assert merged.shape == (7, POINTS) and tmp_path / "merger" / "layers.ply" in written
    with pytest.raises(UserError, match="layers need the pictures' --cameras"):
        compose(replace(settings, cameras=None), report=lambda line: None)


def untrained_merger(path: Path) -> Path:
    """A checkpoint of a merger of up to four clouds."""
    changes = {"model": "merge", "draws": "none", "merge_clouds": 4, "merge_points": 0, "merge_tokens": 16}
    config = TrainConfig.model_validate(SMALL | changes)
    model = checkpoints.build_model(config, checkpoints.build_encoder(config, "cpu").features)
    torch.save({"version": 1, "step": 0, "config": config.model_dump(), "ema": model.state_dict()}, path)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"merge": "vote"}, "neither a rule"),
        ({"points": 16}, "this upsampler takes 256 points"),
        ({"image": 1}, "two or more pictures"),
        ({"checkpoint": "finer"}, "not a model that makes a cloud of a picture"),
        ({"merge": "base"}, "not a merger"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_written(
    settings: ComposeSettings, tmp_path: Path, changes: dict[str, object], message: str
):
    runs = settings.checkpoint.parent
    if "image" in changes:
        changes = {"image": settings.image[:1]}
    if "checkpoint" in changes:
        changes = {"checkpoint": runs / "finer", "upsampler": None}
    if changes.get("merge") == "base":
        changes = {"merge": str(runs / "base")}
    with pytest.raises(UserError, match=message):
        compose(replace(settings, to=tmp_path / "made", **changes), report=lambda line: None)  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "made").exists()


def test_what_layers_are_worth_is_written_as_a_table(
    settings: ComposeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    example = runpy.run_path(str(ROOT / "examples" / "layers.py"))
    changes = {"UNSEEN": range(3), "POINTS": 64, "SAMPLING_STEPS": 1, "LEARNED": 2, "EACH": 64}
    for name, value in changes.items():
        monkeypatch.setitem(example["main"].__globals__, name, value)
    runs = settings.checkpoint.parent
    example["main"](example["Options"](runs.parent, tmp_path, runs / "layers", runs / "base"))
    lines = (tmp_path / "table.md").read_text().splitlines()
    names = [line.split(" | ")[0].strip("| ") for line in lines if line.startswith("| ")]
    assert {"layers of three views", "base, one view", "hull of base and layers"} <= set(names)
    assert lines[0].startswith("1 held-out") and names.count("what layers change") == 5
