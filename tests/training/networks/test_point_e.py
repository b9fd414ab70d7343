"""The networks against numbers made with the published implementation, and its checkpoints by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training import checkpoints
from training.config import TrainConfig
from training.data.channels import from_network, to_network
from training.networks import point_e
from training.networks.point_e import PUBLISHED, WeightsError, assemble, build, build_sdf, load_weights
from training.networks.sdf import PointCloudSDF
from training.networks.transformer import PointTransformer, Shape, UpsampleTransformer

Vectors = Callable[[str], tuple[dict[str, Any], dict[str, Tensor]]]
FEATURES = {"uncond": 0, "vector": 96, "grid": 160, "upsample": 160}
SMALL = Shape(32, 4, 2)


def off(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((a - b).detach().abs().max() / b.detach().abs().max())


def weights_of(numbers: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("weight/"): w for name, w in numbers.items() if name.startswith("weight/")}


def load(vectors: Vectors, family: Any, **options: Any) -> tuple[PointTransformer, dict[str, Tensor]]:
    """A published network in small, and what went into it."""
    config, numbers = vectors(f"model_{family}")
    shape = Shape(config["width"], config["layers"], config["heads"], **options)
    model = assemble(family, shape, FEATURES[family])
    model.load_state_dict(weights_of(numbers))
    condition = {name: numbers[f"in/{name}"] for name in ("embeddings", "low_res") if f"in/{name}" in numbers}
    if isinstance(model, UpsampleTransformer):
        condition["low_res"] = model.scaled(condition["low_res"])
    return model.requires_grad_(False), numbers | condition


def run(model: PointTransformer, numbers: dict[str, Tensor]) -> Tensor:
    condition = {name: numbers[name] for name in ("embeddings", "low_res") if name in numbers}
    return model(numbers["in/x"], numbers["in/t"], **condition)


@pytest.mark.parametrize("family", FEATURES)
def test_networks_match_published(vectors: Vectors, family: str) -> None:
    model, numbers = load(vectors, family)
    assert off(run(model, numbers), numbers["out/y"]) < 1e-5
    assert set(model.state_dict()) == set(weights_of(numbers))


def test_sdf_matches_published(vectors: Vectors) -> None:
    config, numbers = vectors("model_sdf")
    model = PointCloudSDF(
        config["width"], config["encoder_layers"], config["decoder_layers"], config["encoder_heads"]
    )
    model.load_state_dict(weights_of(numbers))
    points, queries = numbers["in/points"], numbers["in/queries"]
    assert off(model(points, queries), numbers["out/sdf"]) < 1e-5
    assert off(model(points, queries[:, :, 7:8]), numbers["out/sdf"][:, 7:8]) < 1e-4  # each query by itself


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name: str) -> None:
    with torch.device("meta"):
        model = build(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED[name].parameters


def test_sdf_parameter_count() -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in build_sdf().parameters()) == point_e.SDF_PARAMETERS


@pytest.mark.parametrize("family", FEATURES)
def test_order_of_points_does_not_matter(vectors: Vectors, family: str) -> None:
    model, numbers = load(vectors, family)
    order = torch.randperm(numbers["in/x"].shape[2], generator=torch.Generator().manual_seed(0))
    straight = run(model, numbers)
    permuted = run(model, numbers | {"in/x": numbers["in/x"][:, :, order]})
    assert off(permuted, straight[:, :, order]) < 1e-5
    assert off(permuted, straight) > 0.1


def test_the_upsampler_sees_its_coarse_cloud_in_any_order(vectors: Vectors) -> None:
    model, numbers = load(vectors, "upsample")
    straight = run(model, numbers)
    assert off(run(model, numbers | {"low_res": numbers["low_res"].flip(2)}), straight) < 1e-5
    assert off(run(model, numbers | {"low_res": -numbers["low_res"]}), straight) > 1e-2


def test_recomputing_changes_no_gradient(vectors: Vectors) -> None:
    gradients = []
    for recompute in (False, True):
        model, numbers = load(vectors, "grid", recompute=recompute)
        model.requires_grad_(True)
        run(model, numbers).square().sum().backward()
        gradients.append({name: value.grad for name, value in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None and gradients[1][name] is not None
        torch.testing.assert_close(gradient, gradients[1][name])


def test_new_model_predicts_nothing_and_keeps_the_init_scale() -> None:
    torch.manual_seed(0)
    model = build("grid", 32, width=256, layers=2, heads=4)
    out = model(torch.randn(2, 6, 10), torch.tensor([0.5, 900.0]), embeddings=torch.randn(2, 32, 4))
    assert out.shape == (2, 12, 10)
    assert not out.any()
    weight = model.state_dict()["backbone.resblocks.1.mlp.c_fc.weight"]
    assert weight.std().item() == pytest.approx(0.25 / 16, rel=0.03)


@pytest.mark.parametrize(("channels", "outputs"), [(3, 1), (7, 2)])
def test_channels_and_outputs_are_free(channels: int, outputs: int) -> None:
    model = build("upsample", 8, width=32, layers=1, heads=2, channels=channels, outputs=outputs)
    given = {"embeddings": torch.zeros(2, 8, 4), "low_res": torch.zeros(2, channels, 5)}
    out = model(torch.zeros(2, channels, 9), torch.zeros(2), **given)
    assert out.shape == (2, channels * outputs, 9)


def test_skips_begin_as_if_they_were_not_there(vectors: Vectors) -> None:
    plain, numbers = load(vectors, "grid")
    joined = assemble("grid", replace(plain.shape, skips=True), FEATURES["grid"])
    joined.load_state_dict(plain.state_dict(), strict=False)
    assert off(run(joined, numbers), run(plain, numbers)) < 1e-5
    weight = dict(joined.named_parameters())["backbone.skips.0.weight"]
    torch.nn.init.normal_(weight[:, plain.shape.width :], std=0.3)  # what came from the early block
    assert off(run(joined, numbers), run(plain, numbers)) > 1e-3


def test_every_skip_joins_its_mirror_block() -> None:
    """Five blocks have two skips, and a gradient flows through each."""
    torch.manual_seed(0)
    model = build("uncond", width=32, layers=5, heads=2, skips=True)
    torch.nn.init.normal_(model.output_proj.weight)
    model(torch.randn(1, 6, 8), torch.tensor([300.0])).square().sum().backward()
    weights = (value for name, value in model.named_parameters() if "skips" in name and "weight" in name)
    gradients = [weight.grad for weight in weights]
    assert len(gradients) == 2
    assert all(gradient is not None and gradient[:, 32:].abs().sum() > 0 for gradient in gradients)


def test_qk_norm_bounds_the_attention() -> None:
    """However large queries and keys become, the output stays that of the same directions."""
    torch.manual_seed(0)
    model = build("uncond", width=32, layers=1, heads=2, qk_norm=True)
    torch.nn.init.normal_(model.output_proj.weight)
    x, t = torch.randn(1, 6, 8), torch.tensor([300.0])
    before = model(x, t)
    with torch.no_grad():
        weight = dict(model.named_parameters())["backbone.resblocks.0.attn.c_qkv.weight"]
        qkv = weight.view(2, 3, 16, 32)  # head, q k v
        qkv[:, :2] *= 1000
    torch.testing.assert_close(model(x, t), before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("qk_norm", [False, True])
def test_bfloat16_says_nearly_the_same(qk_norm: bool) -> None:
    torch.manual_seed(0)
    model = build("grid", 20, width=64, layers=4, heads=2, qk_norm=qk_norm, skips=True)
    torch.nn.init.normal_(model.output_proj.weight, std=0.1)
    with torch.no_grad():  # a norm that has been trained
        for name, value in model.named_parameters():
            if "_norm" in name:
                value.uniform_(0.5, 2)
    inputs, grid = (torch.randn(2, 6, 40), torch.tensor([3.0, 700.0])), torch.randn(2, 20, 9)
    exact = model(*inputs, embeddings=grid)
    with torch.autocast("cpu", torch.bfloat16), warnings.catch_warnings():
        warnings.simplefilter("error")  # of a slow path
        half = model(*inputs, embeddings=grid)
    assert half.dtype == torch.bfloat16
    assert off(half.float(), exact) < 0.03
    half.float().square().mean().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in model.parameters())


def test_an_official_checkpoint_loads_by_name(vectors: Vectors, tmp_path: Path) -> None:
    """A raw state dict, as published; also where the model has more than the file."""
    plain, numbers = load(vectors, "upsample")
    path = tmp_path / "upsample_40m.pt"
    torch.save(weights_of(numbers), path)
    fresh = assemble("upsample", plain.shape, FEATURES["upsample"])
    assert load_weights(fresh, path) == []
    assert off(run(fresh, numbers), numbers["out/y"]) < 1e-5
    richer = assemble("upsample", replace(plain.shape, skips=True), FEATURES["upsample"])
    assert load_weights(richer, path) == ["backbone.skips.0.bias", "backbone.skips.0.weight"]
    assert off(run(richer, numbers), numbers["out/y"]) < 1e-5


def test_a_seventh_channel_begins_silent_beside_the_published_six(vectors: Vectors, tmp_path: Path) -> None:
    plain, numbers = load(vectors, "upsample")
    torch.save(weights_of(numbers), tmp_path / "six.pt")
    wider = assemble("upsample", replace(plain.shape, channels=7), FEATURES["upsample"])
    load_weights(wider, tmp_path / "six.pt")
    label = torch.ones(2, 1, 48)
    seven = {"in/x": torch.cat([numbers["in/x"], label], 1)}
    seven["low_res"] = torch.cat([numbers["low_res"], label[:, :, :16]], 1)
    out = run(wider, numbers | seven)
    assert off(out[:, :6], numbers["out/y"][:, :6]) < 1e-5
    assert off(out[:, 7:13], numbers["out/y"][:, 6:]) < 1e-5
    assert not out[:, 6].any() and not out[:, 13].any()


def test_our_checkpoints_have_the_published_names(vectors: Vectors, tmp_path: Path) -> None:
    config = TrainConfig(model="upsample", condition_points=16, prediction="epsilon", schedule="linear")
    model = checkpoints.build_model(config, 160)
    state = {"step": 1, "config": config.model_dump(), "ema": model.state_dict()}
    path = checkpoints.save(tmp_path, state, keep=1)
    saved = set(checkpoints.load(path)["ema"])
    published = {name for name in weights_of(vectors("model_upsample")[1]) if ".resblocks." not in name}
    assert {name for name in saved if ".resblocks." not in name} == published
    first = {name for name in weights_of(vectors("model_upsample")[1]) if ".resblocks.0." in name}
    assert {name for name in saved if ".resblocks.0." in name} == first
    fresh = checkpoints.build_model(config.model_copy(update={"seed": 1}), 160)
    assert checkpoints.load_weights(fresh, tmp_path) == []
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), model.parameters(), strict=True))


def test_weights_that_do_not_fit_say_so(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(assemble("grid", SMALL, 20).state_dict(), path)
    for model, message in [
        (assemble("uncond", SMALL, 0), r"weights\.pt: it has clip_embed"),
        (assemble("grid", replace(SMALL, width=64), 20), r"weights\.pt: .*c_fc\.bias \(128,\) for \(256,\)"),
        (assemble("grid", SMALL, 30), r"clip_embed\.0\.bias \(20,\) for \(30,\).*encoder"),
        (assemble("grid", replace(SMALL, layers=5), 20), "it lacks backbone.resblocks.4"),
    ]:
        with pytest.raises(WeightsError, match=message):
            load_weights(model, path)
    upsampler = assemble("upsample", SMALL, 20)
    with pytest.raises(WeightsError, match="it lacks channel_biases"):
        load_weights(upsampler, path)
    assert "cond_point_proj.weight" in load_weights(upsampler, path, start=True)  # it begins as a base
    with pytest.raises(WeightsError, match="no such file"):
        load_weights(assemble("grid", SMALL, 20), tmp_path / "nothing.pt")
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="holds more than tensors"):
        load_weights(assemble("grid", SMALL, 20), path)
    torch.save({"step": 3}, path)
    with pytest.raises(WeightsError, match="no named weights"):
        load_weights(assemble("grid", SMALL, 20), path)
    with pytest.raises(ValueError, match=r"'base2B': unknown model\. Choose one of base40M-uncond"):
        build("base2B")


def test_network_frame_equals_published_scaling(vectors: Vectors) -> None:
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-1, 1, (50, 3)).astype(np.float32)
    rgb = rng.integers(0, 256, (50, 3)).astype(np.uint8)
    config, _ = vectors("diffusion_cosine")
    halved = np.concatenate([xyz / 2, rgb], axis=1).T  # Point-E's frame: longest side 1, colors 0..255
    scales, biases = (np.array(config[key])[:, None] for key in ("channel_scales", "channel_biases"))
    scaled = to_network(xyz, rgb)
    np.testing.assert_allclose(scaled, halved * scales + biases, atol=1e-6)
    back_xyz, back_rgb = from_network(scaled)
    np.testing.assert_array_equal(back_xyz, xyz)
    np.testing.assert_array_equal(back_rgb, rgb)


def test_the_context_weighs_the_same_for_any_number_of_points() -> None:
    """Every point eight times is the same cloud: each must get what it gets once."""
    torch.manual_seed(0)
    shape = Shape(32, 3, 2, seen=16)
    model = assemble("upsample", shape, 8).eval()
    nn.init.normal_(model.output_proj.weight)
    x, t = torch.randn(2, 6, 16), torch.tensor([3.0, 900.0])
    condition = {"embeddings": torch.randn(2, 8, 4), "low_res": torch.randn(2, 6, 12)}
    once, often = model(x, t, **condition), model(x.repeat(1, 1, 8), t, **condition)
    torch.testing.assert_close(often, once.repeat(1, 1, 8), atol=1e-4, rtol=1e-4)
    blind = assemble("upsample", replace(shape, seen=0), 8).eval()
    blind.load_state_dict(model.state_dict())
    assert torch.equal(blind(x, t, **condition), once)  # as many points as in training: nothing changes
    assert (blind(x.repeat(1, 1, 8), t, **condition)[..., :16] - once).abs().max() > 0.01


def test_a_configuration_sets_the_points_that_training_shows() -> None:
    config = TrainConfig(width=32, layers=1, heads=2, points=64, step_points=16)
    for step_points, seen in ((16, 16), (0, 64)):
        model = checkpoints.build_model(config.model_copy(update={"step_points": step_points}), 8)
        assert isinstance(model, PointTransformer) and model.shape.seen == seen
