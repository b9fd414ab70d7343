"""From a configuration to the parts of a run: encoder, network and objective, as a user names them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from render.failures import UserError
from tests.helpers.cloud_rows import make_row
from training import checkpoints
from training.checkpoints import CheckpointError
from training.conditioning.encoder_clip import EncoderError
from training.config import TrainConfig
from training.evaluate import evaluate
from training.generate import generate
from training.networks.point_e import PUBLISHED, assemble
from training.networks.transformer import PointTransformer, Shape, UpsampleTransformer
from training.networks.two_stream import TwoStreamTransformer
from training.objectives.diffusion import Diffusion
from training.objectives.flow import Edm, RectifiedFlow
from training.settings import EvaluateSettings, GenerateSettings
from training.train import train

MakeDataset = Callable[..., Path]
RUN = {
    "steps": 2, "batch": 4, "points": 64, "step_points": 32, "image_size": 64, "val_every": 0,
    "device": "cpu", "sample_every": 0, "threads": 1, "tensorboard": False, "precision": "float32",
}  # fmt: skip
SMALL = {"width": 32, "layers": 2, "heads": 2, "latents": 8, "latent_layers": 1}


def quiet(line: str) -> None:
    pass


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
    assert isinstance(model, PointTransformer | TwoStreamTransformer)
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
    with pytest.raises(CheckpointError, match="no checkpoints in this folder"):
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
    pytest.importorskip("transformers", reason="pip install insideout3d[clip]")
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
    assert isinstance(model, PointTransformer)
    assert model.shape.outputs == checkpoints.build_objective(run).outputs
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_text_base_and_upsampler_of_images_make_a_fine_cloud(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    pytest.importorskip("transformers", reason="pip install insideout3d[clip]")
    from tests.helpers.tiny_clip import write_tiny_clip

    clip = write_tiny_clip(tmp_path / "clip")
    out = make_dataset(rows=4)
    text = config(**RUN, model="vector", encoder="clip_text", encoder_path=str(clip))
    base = train(text, out, "text", report=quiet)
    fine = config(**RUN | {"points": 48, "step_points": 0}, model="upsample", condition_points=16)
    upsampler = train(fine, out, "fine", report=quiet)
    settings = GenerateSettings(
        base, tmp_path / "chair.npz", text=("a chair",), upsampler=upsampler, points=16, steps=2
    )
    with np.load(generate(settings, quiet)[0]) as cloud:
        assert cloud["coords"].shape == (64, 3)
    clip.rename(tmp_path / "moved")
    with pytest.raises(EncoderError, match="could not be loaded"):
        generate(replace(settings, upsampler=None), quiet)
    moved = str(tmp_path / "moved")
    generate(replace(settings, upsampler=None, encoder_path=moved), quiet)


def test_a_text_model_is_evaluated_without_images(make_dataset: MakeDataset, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="pip install insideout3d[clip]")
    from tests.helpers.tiny_clip import write_tiny_clip

    out = make_dataset(rows=4, views=0)
    clip = write_tiny_clip(tmp_path / "clip")
    run = train(
        config(**RUN, model="vector", encoder="clip_text", encoder_path=str(clip)), out, "text", report=quiet
    )
    settings = EvaluateSettings(out, run, points=32, steps=2, pictures=tmp_path / "sheet.png")
    assert evaluate(settings).objects == 4


def test_an_unconditional_model_needs_no_image(make_dataset: MakeDataset, tmp_path: Path) -> None:
    out = make_dataset(rows=4, views=0)
    run = train(config(**RUN, model="uncond"), out, "run", report=quiet)
    files = generate(GenerateSettings(run, tmp_path / "clouds", count=3, points=32, steps=2), quiet)
    assert len([path for path in files if path.suffix == ".ply"]) == 3
    clouds = [path.read_bytes() for path in files if path.suffix == ".ply"]
    assert len(set(clouds)) == 3
    assert evaluate(EvaluateSettings(out, run, points=32, steps=2)).objects == 4


def test_an_own_base_goes_with_the_published_upsampler(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(PUBLISHED["upsample"], shape=Shape(32, 2, 2), encoder="efficientnet_lite0", points=32)
    monkeypatch.setitem(PUBLISHED, "upsample", small)
    torch.save(assemble("upsample", small.shape, 1280).state_dict(), tmp_path / "upsample_40m.pt")
    run = train(config(**RUN), make_dataset(rows=4), "run", report=quiet)
    image = tmp_path / "ball.png"
    image.write_bytes(make_row(0, 1, 16)["image_00"])
    settings = GenerateSettings(
        run, tmp_path / "ball.npz", (image,), upsampler=tmp_path / "upsample_40m.pt", points=1024, steps=1
    )
    with np.load(generate(settings, quiet)[0]) as cloud:
        assert len(cloud["coords"]) == 1024 + 32
    with pytest.raises(CheckpointError, match="takes 1024 points of 6 channels; the base makes 64 of 6"):
        generate(replace(settings, points=64), quiet)


def test_a_checkpoint_names_no_folder_that_is_written(make_dataset: MakeDataset, tmp_path: Path) -> None:
    run = train(config(**RUN), make_dataset(rows=4), "run", report=quiet)
    state = torch.load(run, weights_only=True)
    state["config"]["encoder_cache"] = str(tmp_path / "elsewhere")
    torch.save(state, tmp_path / "strangers.pt")
    opened, _, encoder = checkpoints.load_model(tmp_path / "strangers.pt")
    encoder([(Path(__file__).parents[2] / "docs" / "inside.png").read_bytes()])
    assert opened.encoder_cache and not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("wrong", [{"loader": {}}, {"optimizer": None}, {"tally": "x"}, {"step": "x"}])
def test_a_damaged_checkpoint_does_not_resume(make_dataset: MakeDataset, wrong: dict[str, Any]) -> None:
    out = make_dataset(rows=4)
    run = train(config(**RUN), out, "run", report=quiet)
    torch.save(torch.load(run, weights_only=True) | wrong, run)
    with pytest.raises(checkpoints.CheckpointError, match="run: its newest checkpoint is damaged"):
        train(config(**RUN | {"steps": 3}), out, "run", report=quiet)


def test_moments_of_other_shapes_do_not_resume(make_dataset: MakeDataset) -> None:
    out = make_dataset(rows=4)
    run = train(config(**RUN), out, "run", report=quiet)
    state = torch.load(run, weights_only=True)
    del state["optimizer"]["state"][0]["exp_avg_sq"]
    torch.save(state, run)
    with pytest.raises(checkpoints.CheckpointError, match="exp_avg_sq"):
        train(config(**RUN | {"steps": 3}), out, "run", report=quiet)


def test_files_that_are_no_checkpoints_say_so(make_dataset: MakeDataset, tmp_path: Path) -> None:
    run = train(config(**RUN), make_dataset(rows=4), "run", report=quiet)
    state = torch.load(run, weights_only=True)
    path = tmp_path / "some.pt"

    def refused(content: object, message: str) -> None:
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        with pytest.raises(CheckpointError, match=message):
            checkpoints.load_model(path)

    refused(b"", "damaged, or not a PyTorch file|holds more than tensors")
    refused(b"\x80\x02}q\x00(X\x04\x00\x00\x00junk", "damaged, or not a PyTorch file|holds more than tensors")
    refused(run.read_bytes()[:2000], "damaged, or not a PyTorch file|holds more than tensors")
    refused([1, 2], "not a checkpoint of this project")
    refused(state | {"version": checkpoints.VERSION + 1}, "written by a newer version")
    refused(state | {"config": state["config"] | {"hat": 1}}, "hat: Extra inputs are not permitted")
    refused(state | {"config": state["config"] | {"width": 33}}, "configuration cannot be used.*width 33")
    refused(state | {"config": state["config"] | {"width": 64}}, "weights do not fit")
    refused(state | {"ema": {}}, "weights do not fit")
    refused(state | {"encoder": "efficientnet_lite0-64-0000"}, "trained with encoder .*-0000")
    older = {name: value for name, value in state.items() if name not in ("version", "encoder")}
    torch.save(older | {"config": state["config"] | {"hat": 1}}, path)
    assert checkpoints.load_model(path)[0] == config(**RUN)
    with pytest.raises(UserError, match="seed -1: it must be at least 0"):
        GenerateSettings(run, tmp_path, seed=-1)
    with pytest.raises(ValueError, match="seed"):
        config(seed=-1)
