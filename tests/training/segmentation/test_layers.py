"""Layers of a view: those of plates in closed form, learned by a head, and back as a cloud."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from render.failures import UserError
from training.conditioning.cameras import camera_numbers, project
from training.conditioning.pose_file import write_poses
from training.conditioning.shown import View
from training.config import TrainConfig
from training.merging.files import merge
from training.merging.settings import MergeSettings
from training.scores.clouds import read_cloud
from training.segmentation.layer_cloud import LayerPredictor, predict_layers
from training.segmentation.layered import (
    MOST,
    NUMBERS,
    back_projected,
    layer_losses,
    surfaces_of,
)
from training.segmentation.settings import LayerSettings
from training.train import train

MakeDataset = Callable[..., Path]


def plates() -> Tensor:
    """Three parallel plates (1, 7, N): red at z 0.5, blue and hidden at 0, green at -0.5, half as wide."""
    across = torch.linspace(-0.6, 0.6, 121)
    x, y = (values.flatten() for values in torch.meshgrid(across, across, indexing="ij"))
    clouds = []
    for z, share, color, label in ((0.5, 1, 0, -1), (0.0, 1, 2, 1), (-0.5, 0.5, 1, -1)):
        rgb = -torch.ones(3, len(x))
        rgb[color] = 1
        clouds.append(torch.cat([torch.stack([share * x, share * y, z + 0 * x]), rgb, label + 0 * x[None]]))
    return torch.cat(clouds, 1)[None]


def from_above() -> Tensor:
    """A camera (1, 1, 19) at z 4 that looks down."""
    pose = np.eye(4)
    pose[2, 3] = 4
    return torch.from_numpy(camera_numbers(pose, 0.7))[None, None]


def test_layers_of_plates_are_known():
    found = surfaces_of(plates(), from_above())
    middle = (slice(None),) * 3 + (slice(14, 18), slice(14, 18))
    assert found.there[middle].mean((0, 1, 3, 4)).tolist() == [1, 1, 1, 0]
    depths = found.depth[middle].mean((0, 1, 3, 4))
    torch.testing.assert_close(depths[:3], torch.tensor([-0.5, 0, 0.5]), atol=1e-5, rtol=0)
    assert found.hidden[middle].mean((0, 1, 3, 4)).tolist()[:3] == [0, 1, 0]
    assert found.color[0, 0, :3, :, 16, 16].tolist() == [[1, -1, -1], [-1, -1, 1], [-1, 1, -1]]
    edge = found.there[
        0, 0, :, 16, :
    ]  # the wide plates reach 0.6 / (3.5 tan 0.35) of the half width, 7.5 cells
    assert edge[0].sum() == 16 and edge[2].sum() == 6 and not edge[:, :8].any()


def test_back_projected_layers_lie_on_the_plates():
    camera = from_above()
    found = surfaces_of(plates(), camera)
    cloud = back_projected(found, found.there[:, :, 0], camera)[0]
    assert set(np.round(cloud[2].tolist(), 4)) == {0.5, 0.0, -0.5}
    assert torch.equal(cloud[6] > 0, cloud[2].abs() < 0.1)
    places, _ = project(cloud[None, :3], camera)
    centers = (places + 1) / 2 * 32 - 0.5
    torch.testing.assert_close(centers, centers.round(), atol=1e-3, rtol=0)
    assert cloud[:2].abs().max() < 0.7
    assert not back_projected(found, torch.zeros(1, 1, 32, 32), camera)[0].shape[1]
    thin = back_projected(found, found.there[:, :, 0] / 5, camera)[0]
    assert torch.equal(thin, cloud)


def test_as_many_surfaces_are_kept_as_their_probabilities_add_up_to():
    """Of the blue plate, which is hidden for certain, and of the green one: the half that is likelier."""
    camera = from_above()
    found = surfaces_of(plates(), camera)
    number = found.there.sum((0, 1, 3, 4))
    left = torch.arange(32) < 16
    likely = found.there.clone()
    likely[:, :, 1:] *= torch.where(left, 0.6, 0.4)
    cloud = back_projected(replace(found, there=likely), found.there[:, :, 0], camera)[0]
    blue, green = (cloud[:, (cloud[2] - z).abs() < 0.01] for z in (0.0, -0.5))
    assert [blue.shape[1], green.shape[1]] == (number[1:3] / 2).tolist()
    assert (blue[0] < 0).all() and (green[0] < 0).all()
    maybe = back_projected(replace(found, hidden=0.25 * found.there), found.there[:, :, 0], camera)[0]
    assert (maybe[6] > 0).sum() == round(maybe.shape[1] / 4)


def test_the_loss_is_zero_at_the_truth_and_grows_from_there():
    true, cover = surfaces_of(plates(), from_above()), torch.ones(1, 1, 32, 32)
    cover[..., :4] = 0
    numbers = torch.zeros(1, 1, MOST, NUMBERS, 32, 32)
    numbers[:, :, :, 0], numbers[:, :, :, 5] = 40 * true.there - 20, 40 * true.hidden - 20
    numbers[:, :, :, 1], numbers[:, :, :, 2:5] = true.depth, true.color
    assert layer_losses(numbers.flatten(2, 3), true, cover)["loss"].item() < 1e-6
    numbers[:, :, :, 1] += 0.1
    off = layer_losses(numbers.flatten(2, 3), true, cover)
    share = (true.there * cover[:, :, None]).sum() / cover.sum()
    assert off["loss"].item() == pytest.approx(2 * 0.1 * share.item(), rel=1e-4)
    assert off["mse"].item() == pytest.approx(0.01, rel=1e-4)


SMALL = TrainConfig(
    model="layers", encoder="efficientnet_lite0_fine", points_from="outside+hidden", target="albedo",
    steps=60, batch=4, points=1024, step_points=0, hidden_share=0.5, width=32, layers=1, image_size=64,
    warmup=5, lr=5e-3, threads=1, device="cpu", precision="float32", val_every=0, tensorboard=False,
)  # fmt: skip


def test_a_head_learns_a_ball_in_a_ball_and_gives_it_back(make_dataset: MakeDataset, tmp_path: Path):
    out = make_dataset(rows=1, views=3, points=2048, hidden=2048)  # hidden at half the radius
    run = train(SMALL, out, "layers", report=lambda line: None).parent
    row = read_row(out)
    views = [
        View(row[f"image_{i:02d}"], camera_numbers(np.reshape(c["camera_to_world"], (4, 4)), c["fov"]))
        for i, c in enumerate(row["cameras"])
    ]
    cloud = LayerPredictor(run).cloud(views)
    radius, hidden = np.linalg.norm(cloud[:3], axis=0), cloud[6] > 0
    assert 0.2 < hidden.mean() < 0.6
    assert np.median(np.abs(radius[hidden] - 0.5)) < 0.05 and np.median(np.abs(radius[~hidden] - 1)) < 0.2
    with pytest.raises(UserError, match="need the pictures' cameras"):
        LayerPredictor(run).cloud([replace(views[0], camera=None)])

    pictures = [tmp_path / f"{i}.png" for i in range(3)]
    for path, view in zip(pictures, views, strict=True):
        path.write_bytes(view.image)
    write_poses(tmp_path / "transforms.json", {f"{i}.png": view.camera for i, view in enumerate(views)})  # pyright: ignore[reportArgumentType]
    settings = LayerSettings(
        tuple(pictures), tmp_path / "transforms.json", run, tmp_path / "layered.ply", "cpu"
    )
    to = predict_layers(settings)
    np.testing.assert_allclose(read_cloud(to).xyz, cloud[:3].T, atol=1e-4)
    merged = read_cloud(merge(MergeSettings((to, to), tmp_path / "merged.ply", "union", points=64)))
    assert len(merged) == 64 and merged.hidden is not None and merged.hidden.any()


def read_row(out: Path) -> dict:
    from fuse.dataset.shard import read_rows

    return next(read_rows(out / "clouds" / "part-00000.parquet"))
