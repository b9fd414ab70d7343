"""A segmenter learns its head alone, finds the insides of unseen scenes of known form, is scored rightly."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from render.failures import UserError
from tests.helpers.commands import insideout
from tests.training.segmentation.conftest import SMALL, png, scene
from training.checkpoints import CheckpointError, load, load_model
from training.conditioning.masks import Masks, square_means
from training.config import TrainConfig
from training.distributed import World
from training.learner import Learner
from training.segmentation.evaluation import WHOLE, evaluate_masks, iou
from training.segmentation.files import targets
from training.segmentation.head import InteriorHead
from training.segmentation.interiors import head_losses
from training.segmentation.segmenter import Segmenter
from training.segmentation.settings import SegmentSettings
from training.segmentation.truth import Truths
from training.settings import EvaluateSettings
from training.train import train
from training.validation import open_loader


def loss_of(logit: float, count: float, share: float, layers: float, cover: float) -> torch.Tensor:
    """The loss of one view whose cells are all alike, and its gradient by the two outputs."""
    found = torch.tensor([logit, math.log(count)]).view(1, 1, 2, 1, 1).repeat(1, 1, 1, 8, 8).requires_grad_()
    behind = torch.tensor([share, layers]).view(1, 1, 2, 1, 1).expand(1, 1, 2, 8, 8)
    loss = head_losses(found, behind, torch.full((1, 1, 8, 8), cover))["loss"]
    (gradient,) = torch.autograd.grad(loss.sum(), found)
    return torch.cat([loss.detach(), gradient.sum((0, 1, 3, 4))])


def test_the_loss_is_the_closed_form_and_lowest_at_the_truth():
    half = loss_of(0.0, 1.0, 0.25, 2.0, 0.5)  # the object covers half, half of that is interior
    assert half[0].item() == pytest.approx(
        math.log(2) + 1, rel=1e-5
    )  # ln 2 of knowing nothing, and a rate of 1
    truth = loss_of(math.log(0.2 / 0.8), 3.0, 0.1, 1.5, 0.5)  # of what is covered
    entropy = -0.2 * math.log(0.2) - 0.8 * math.log(0.8)
    assert truth[0].item() == pytest.approx(entropy + 3 - 3 * math.log(3), rel=1e-5)
    assert truth[1:].abs().max() < 1e-6


def test_what_the_object_does_not_cover_counts_nothing():
    found = torch.randn(2, 1, 2, 8, 8, requires_grad=True)
    cover = torch.zeros(2, 1, 8, 8)
    cover[:, :, 2:5, 2:5] = 0.7
    behind = torch.stack([0.5 * cover, 3 * cover], 2)
    (gradient,) = torch.autograd.grad(head_losses(found, behind, cover)["loss"].sum(), found)
    assert torch.equal(gradient.abs().sum((0, 1, 2)) > 0, cover[0, 0] > 0)


def test_truth_is_the_mean_of_each_cell():
    values = np.zeros((64, 32), np.uint8)
    values[:, :16] = 4  # the picture's left half, which is centered on a square: columns 16..31 of 64
    means = square_means(values, 8)
    assert np.array_equal(means, np.tile(np.repeat([0, 4, 0], [2, 2, 4]), (8, 1)))
    _, interior, layers = scene(0)
    read = Truths().read([[Masks(png(interior), png(layers))]])[0, 0]
    assert read[0].mean().item() == pytest.approx((interior > 0).mean(), abs=1e-6)
    assert read[1].mean().item() == pytest.approx(layers.mean(), abs=1e-6)


def test_iou_is_that_of_rectangles():
    these, those = np.zeros((2, 1, 10, 10), bool)
    these[:, :6, :5], those[:, 3:, :5] = True, True  # 30 and 35 pixels, 15 in common
    assert iou(these, those) == 15 / 50
    assert iou(those, those) == 1
    assert iou(these, np.zeros_like(these)) == 0 and math.isnan(iou(these & False, these & False))


def test_only_the_head_learns(scenes: Path):
    config = SMALL.model_copy(update={"steps": 2})
    learner = Learner(config, torch.device("cpu"), World())
    batches = iter(open_loader(config, scenes / "clouds"))
    assert learner.encoder is not None
    frozen = learner.encoder(next(batches).images[0])
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    for step in range(2):  # a block's last layer starts at zero, so what is before it follows a step later
        learner.learn(next(batches), step)
    after = learner.model.state_dict()
    assert not any(torch.equal(value, before[name]) for name, value in after.items())
    assert {id(one) for group in learner.optimizer.param_groups for one in group["params"]} == {
        id(one) for one in learner.model.parameters()
    }
    fresh = Learner(config, torch.device("cpu"), World())
    assert fresh.encoder is not None
    assert torch.equal(frozen, fresh.encoder(next(iter(open_loader(config, scenes / "clouds"))).images[0]))


def test_unseen_scenes_have_their_known_inside(segmenter: Path):
    model = Segmenter(segmenter, "cpu")
    for index in (5000, 5002, 5004):
        rgba, interior, layers = scene(index)
        found = model.at_pixels([png(rgba)])[0]
        assert iou((found.interior > 0.5)[None], interior[None] > 0) > 0.7  # the whole disc: 0.36
        assert abs(found.layers - layers)[rgba[..., 3] > 0].mean() < 0.5
        assert not found.interior[rgba[..., 3] == 0].any()
    solid = model.at_pixels([png(scene(5001)[0])])[0]
    assert (solid.interior > 0.5).mean() < 0.01


def test_a_prediction_is_the_same_in_any_company(segmenter: Path):
    model = Segmenter(segmenter, "cpu")
    pictures = [png(scene(index)[0]) for index in range(5)]
    interior, layers = model.predict(pictures)
    assert interior.shape == layers.shape == (5, 32, 32) and interior.min() >= 0 and interior.max() <= 1
    alone = Segmenter(segmenter, "cpu").predict(pictures[3:4])
    np.testing.assert_allclose(interior[3], alone[0][0], atol=2e-3)  # cached tokens have half precision
    np.testing.assert_array_equal(alone[0], Segmenter(segmenter, "cpu").predict(pictures[3:4])[0])
    np.testing.assert_allclose(layers[3], alone[1][0], atol=2e-2)


def test_evaluation_compares_with_predictions_that_look_at_nothing(
    scenes: Path, segmenter: Path, tmp_path: Path
):
    settings = EvaluateSettings(
        dataset=scenes, checkpoint=segmenter, views=2, device="cpu", pictures=tmp_path / "sheet.png"
    )
    found = evaluate_masks(settings)
    # The whole disc against 0.6 of its radius, in pixels.
    assert found.ious[WHOLE].mean == pytest.approx(0.36, abs=0.01) and found.ious[WHOLE].count == 8
    assert found.gains[WHOLE].low > 0.2 and found.off.mean < found.off_mean.mean
    assert found.marked.count == 8 and found.marked.mean < 0.05
    assert "16 objects of split 'validation', 2 views each" in found.summary()
    assert Image.open(tmp_path / "sheet.png").size == (4 * 3 * 64, 4 * 64)
    json.dumps(found.record())


def test_the_verb_writes_masks_in_the_size_of_the_pictures(segmenter: Path, tmp_path: Path):
    rgba = np.zeros((64, 96, 4), np.uint8)
    rgba[:, 16:80] = scene(5000)[0]
    Image.fromarray(rgba).save(tmp_path / "shell.png")
    to, layers = tmp_path / "mask.png", tmp_path / "layers.png"
    command = ["segment", tmp_path / "shell.png", "--checkpoint", segmenter, "--to", to, "--device", "cpu"]
    done = insideout(*command, "--layers", layers, "--threshold", 0.5)
    assert done.returncode == 0, done.stderr
    mask = np.asarray(Image.open(to))
    assert mask.shape == (64, 96) and set(np.unique(mask)) == {0, 255}
    assert iou(mask[None] > 0, np.pad(scene(5000)[1], ((0, 0), (16, 16)))[None] > 0) > 0.7
    assert np.asarray(Image.open(layers)).max() in (3, 4)


def test_masks_go_nowhere_else(tmp_path: Path):
    pictures = [tmp_path / "a.png", tmp_path / "b.png"]
    assert targets(tmp_path / "masks", pictures) == [tmp_path / "masks" / name for name in ("a.png", "b.png")]
    for to, message in (
        (tmp_path / "one.png", "do not fit into one file"),
        (tmp_path / "one.jpg", "masks are .png"),
        (tmp_path, "this is a picture"),
    ):
        with pytest.raises(UserError, match=message):
            targets(to, pictures)
    with pytest.raises(UserError, match="different places"):
        SegmentSettings((pictures[0],), tmp_path, tmp_path, layers=tmp_path)


def test_a_segmenter_makes_no_clouds_and_a_generator_no_masks(segmenter: Path):
    with pytest.raises(CheckpointError, match="samples no clouds"):
        load_model(segmenter)


def test_a_segmenter_resumes_to_the_same_weights(scenes: Path, segmenter: Path, tmp_path: Path):
    half = SMALL.model_copy(update={"steps": 12})
    train(half, scenes, "whole", report=lambda line: None, runs=tmp_path)
    stopped = SMALL.model_copy(update={"steps": 12, "checkpoint_every": 6})
    folder = train(stopped, scenes, "halves", report=lambda line: None, runs=tmp_path).parent
    (folder / "step-0000012.pt").unlink()
    train(stopped, scenes, "halves", report=lambda line: None, runs=tmp_path)
    whole, halves = (load(tmp_path / name)["model"] for name in ("whole", "halves"))
    assert all(torch.equal(value, halves[name]) for name, value in whole.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "clip_image"}, "a grid of image tokens"),
        ({"view_rays": True}, "each view by itself"),
        ({"crop": True}, "whole pictures"),
        ({"width": 40}, "a multiple of 16"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        TrainConfig.model_validate(SMALL.model_dump() | changes)


def test_the_head_takes_any_square_grid():
    head = InteriorHead(16, 32, 1)
    for cells in (9, 49, 196):
        found = head(torch.randn(2, 3, 16, cells), torch.rand(2, 3, 4, 64, 64))
        assert found.shape == (2, 3, 2, 32, 32)
