"""From a configuration to the parts of a run: encoder, network and objective, as a user names them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from training import checkpoints
from training.checkpoints import CheckpointError
from training.conditioning.encoder_clip import EncoderError
from training.config import TrainConfig
from training.networks.transformer import UpsampleTransformer
from training.networks.two_stream import TwoStreamTransformer
from training.objectives.diffusion import Diffusion
from training.objectives.flow import Edm, RectifiedFlow
from training.train import train

MakeDataset = Callable[..., Path]
SMALL = {"width": 32, "layers": 2, "heads": 2, "latents": 8, "latent_layers": 1}


def config(**fields: Any) -> TrainConfig:
    return TrainConfig.model_validate(SMALL | fields)


@pytest.mark.parametrize(
    ("fields", "outputs", "channels"),
    [
        ({"model": "uncond", "prediction": "epsilon"}, 2, 6),
        ({"model": "vector", "encoder": "clip_image"}, 2, 6),
        ({"model": "grid", "points_from": "outside+hidden", "target": "albedo"}, 2, 7),
        ({"model": "grid", "points_from": "solid", "prediction": "edm"}, 1, 3),
        ({"model": "upsample", "condition_points": 16, "prediction": "flow"}, 1, 6),
        ({"model": "two_stream", "prediction": "flow", "qk_norm": True}, 1, 6),
    ],
    ids=lambda value: value["model"] if isinstance(value, dict) else None,
)
def test_a_configuration_makes_its_network(fields: dict[str, Any], outputs: int, channels: int) -> None:
    model = checkpoints.build_model(config(**fields), features=20)
    assert (model.shape.outputs, model.channels) == (outputs, channels)
    x, t = torch.randn(2, channels, 9), torch.rand(2) * 1000
    condition = {} if fields["model"] == "uncond" else {"embeddings": torch.randn(2, 20, 4)}
    if fields["model"] == "vector":
        condition["embeddings"] = torch.randn(2, 20)
    if isinstance(model, UpsampleTransformer):
        condition["low_res"] = torch.randn(2, channels, 5)
    assert model(x, t, **condition).shape == (2, outputs * channels, 9)
    assert isinstance(model, TwoStreamTransformer) == (fields["model"] == "two_stream")


def test_the_options_reach_the_network_and_the_seed_decides() -> None:
    plain = checkpoints.build_model(config(), 20).state_dict()
    rich = checkpoints.build_model(config(qk_norm=True, long_skips=True), 20).state_dict()
    assert {name.split(".")[-2] for name in set(rich) - set(plain)} == {"q_norm", "k_norm", "0"}
    assert "backbone.skips.0.weight" in rich
    again, other = (checkpoints.build_model(config(seed=seed), 20).state_dict() for seed in (0, 1))
    assert all(torch.equal(plain[name], again[name]) for name in plain)
    assert not torch.equal(plain["input_proj.weight"], other["input_proj.weight"])


def test_a_configuration_makes_its_objective() -> None:
    linear = checkpoints.build_objective(config(prediction="epsilon", schedule="linear"))
    assert isinstance(linear, Diffusion)
    assert (linear.prediction, linear.schedule) == ("epsilon", "linear")
    assert isinstance(checkpoints.build_objective(config(prediction="flow")), RectifiedFlow)
    assert isinstance(checkpoints.build_objective(config(prediction="edm")), Edm)


def test_a_network_and_an_encoder_that_do_not_go_together_say_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model vector does not fit.*clip_image or clip_text"):
        checkpoints.build_encoder(config(model="vector"), "cpu")
    with pytest.raises(EncoderError, match=r"nowhere: the encoder could not be loaded"):
        checkpoints.build_encoder(config(encoder="clip_grid", encoder_path=str(tmp_path / "nowhere")), "cpu")
    with pytest.raises(CheckpointError, match="Give a run's folder, or a file"):
        checkpoints.load_weights(checkpoints.build_model(config(), 20), tmp_path)


@pytest.mark.parametrize(
    ("fields", "features"),
    [
        ({"encoder": "clip_grid", "prediction": "epsilon"}, 32),
        ({"encoder": "clip_image", "model": "vector", "prediction": "flow"}, 24),
        ({"encoder": "clip_text", "model": "vector", "prediction": "edm"}, 24),
    ],
    ids=lambda value: value["encoder"] if isinstance(value, dict) else None,
)
def test_clip_conditions_a_run(
    make_dataset: MakeDataset, tmp_path: Path, fields: dict[str, Any], features: int
) -> None:
    """The real library, the real loader and the real trainer, with a CLIP of a few thousand weights."""
    pytest.importorskip("transformers", reason="pip install insideout[clip]")
    from tests.helpers.tiny_clip import write_tiny_clip  # pyright: ignore[reportMissingImports]

    run = config(
        **fields, encoder_path=str(write_tiny_clip(tmp_path / "clip")), encoder_cache=str(tmp_path / "cache"),
        image_size=56, steps=4, batch=4, points=64, step_points=32, log_every=1, val_every=0, sample_every=0,
        device="cpu", threads=1, tensorboard=False,
    )  # fmt: skip
    out = make_dataset(rows=4)
    last = train(run, out, "clip", report=lambda line: None)
    lines = [json.loads(line) for line in (last.parent / "loss.jsonl").read_text().splitlines()]
    assert len(lines) == 4 and all(0 < line["mse"] < 20 for line in lines)
    opened, model, encoder = checkpoints.load_model(last)
    assert opened == run and encoder.features == features
    assert model.shape.outputs == checkpoints.build_objective(run).outputs
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
