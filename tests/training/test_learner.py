"""A step does not depend on how it is computed; and what a run writes while it trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training import checkpoints
from training.config import TrainConfig
from training.evaluate import read_samples
from training.generator import Generator
from training.journal import Diverged
from training.networks import point_e
from training.objectives.noise import VALIDATION, step_noise
from training.settings import Sampling
from training.train import train

MakeDataset = Callable[..., Path]
SMALL = TrainConfig(
    steps=8, batch=4, points=64, step_points=32, image_size=64, width=32, layers=2, heads=2, warmup=3,
    threads=1, device="cpu", precision="float32", log_every=2, checkpoint_every=4, val_every=4,
    sample_every=0, tensorboard=False,
)  # fmt: skip


@pytest.fixture
def out(make_dataset: MakeDataset) -> Path:
    return make_dataset(rows=10, validation=5, hidden=32, solid=64)


def quiet(line: str) -> None:
    pass


def changed(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate(SMALL.model_dump() | changes)


def read(out: Path, run: str, log: str = "loss") -> list[dict[str, float]]:
    path = out / "checkpoints" / run / f"{log}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "changes",
    [
        {"accumulate": 4},
        {"accumulate": 3},
        {"workers": 2},
        {"checkpoint_activations": True},
        {"cache_mib": 0},
    ],
    ids=str,
)
def test_a_step_is_the_same_however_it_is_computed(out: Path, changes: dict[str, object]) -> None:
    train(SMALL, out, "plain", report=quiet)
    train(changed(**changes), out, "other", report=quiet)
    for log in ("loss", "validation"):
        for a, b in zip(read(out, "plain", log), read(out, "other", log), strict=True):
            off = 2e-3 if "cache_mib" in changes else 1e-5  # a cache keeps half precision
            assert list(a.values()) == pytest.approx(list(b.values()), rel=off)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_learns_as_well(out: Path, precision: str) -> None:
    train(changed(steps=40, lr=3e-3), out, "float32", report=quiet)
    path = train(changed(steps=40, lr=3e-3, precision=precision), out, precision, report=quiet)
    exact, mixed = read(out, "float32")[-1], read(out, precision)[-1]
    assert mixed["loss"] == pytest.approx(exact["loss"], rel=0.1)
    assert ("scale" in checkpoints.load(path)["scaler"]) == (precision == "float16")


@pytest.mark.parametrize(
    "changes",
    [
        {"prediction": "flow"},
        {"prediction": "edm"},
        {"model": "uncond"},
        {"model": "two_stream", "latents": 8, "latent_layers": 1, "prediction": "flow"},
        {"points_from": "outside+hidden", "target": "albedo"},
        {"points_from": "outside+hidden", "target": "albedo", "hidden_share": None},
        {"points_from": "solid"},
        {"views_most": 3, "view_rays": True, "view_projected": True, "camera_drop": 0.3, "view_cells": 1},
    ],
    ids=str,
)
def test_every_kind_of_model_and_cloud_learns_and_draws(out: Path, changes: dict[str, object]) -> None:
    config = changed(steps=60, lr=3e-3, sample_every=60, sample_steps=2, sample_count=2, **changes)
    path = train(config, out, "run", report=quiet)
    losses = [line["mse"] for line in read(out, "run")]
    assert np.mean(losses[-5:]) < 0.85 * losses[0]
    generator = Generator(path)
    (sample,) = read_samples(out / "clouds", config, 1, [0], 48, "train")
    cloud = generator.sample([sample.views], 48, Sampling(steps=3))
    assert cloud.shape == (1, config.mix.channels, 48)
    assert np.isfinite(cloud).all()
    with Image.open(path.parent / "samples" / "step-0000060.png") as picture:
        assert picture.size == (2 * 128, (5 if config.mix.channels == 7 else 3) * 128)


def test_validation_judges_the_mean_weights_with_the_same_noise(out: Path) -> None:
    """A line of the log is recomputed here from the checkpoint alone."""
    path = train(changed(steps=8, val_clouds=2), out, "run", report=quiet)
    generator, config = Generator(path), SMALL
    samples = read_samples(out / "clouds", config, 2, [0], config.points, "validation")
    assert len(read(out, "run", "validation")) == 2
    noise = step_noise(config.seed, VALIDATION, 2, 0, (2, 6, 32))
    line = read(out, "run", "validation")[-1]
    assert line["step"] == 8
    quarters = {f"loss_{int(place * 4) + 1}" for place in noise.quantiles}
    assert quarters == {key for key in line if key.startswith("loss_")}
    assert line["loss"] == pytest.approx(line["mse"] + line["vb"], rel=1e-6)
    # Of clouds whose every point was seen, the loss is a function of the checkpoint.
    train(changed(steps=8, val_clouds=2, step_points=0), out, "whole", report=quiet)
    (last,) = [line for line in read(out, "whole", "validation") if line["step"] == 8]
    generator = Generator(out / "checkpoints" / "whole")
    from training.data.loader import Batch
    from training.validation import _read

    held = _read(config.model_copy(update={"step_points": 0}), out / "clouds", "validation", 2)
    assert isinstance(held, Batch)
    assert sorted(held.uids) == sorted(sample.uid for sample in samples)
    drawn = step_noise(config.seed, VALIDATION, 2, 0, (2, 6, 64))
    losses = generator.objective.losses(
        generator.model,
        held.points,
        generator.objective.times(drawn.quantiles),
        drawn.noise,
        embeddings=generator.encoder([image for (image,) in held.images]),
    )
    assert last["loss"] == pytest.approx(losses["loss"].mean().item(), rel=1e-4)


def test_weights_to_begin_from(out: Path) -> None:
    first = train(changed(steps=30, lr=3e-3), out, "first", report=quiet)
    lines: list[str] = []
    tuned = changed(steps=2, lr=1e-6, warmup=0, init_from=str(first.parent), log_every=1)
    train(tuned, out, "tuned", report=lines.append)
    assert any(line.startswith("weights from") for line in lines)
    begun = checkpoints.load(out / "checkpoints" / "tuned")["model"]
    for name, weight in checkpoints.load(first)["ema"].items():
        torch.testing.assert_close(begun[name], weight, atol=1e-4, rtol=0)
    official = out / "weights.pt"  # as OpenAI's: names and tensors, nothing else
    torch.save(checkpoints.load(first)["ema"], official)
    labeled = tuned.model_copy(
        update={"init_from": str(official), "points_from": "outside+hidden", "target": "albedo"}
    )
    train(labeled, out, "labeled", report=quiet)  # a seventh channel beside the six
    begun = checkpoints.load(out / "checkpoints" / "labeled")["model"]
    assert begun["input_proj.weight"].shape[1] == 7
    with pytest.raises(point_e.WeightsError, match="Choose"):
        train(tuned.model_copy(update={"width": 64}), out, "wider", report=quiet)


def test_the_same_losses_go_to_tensorboard(out: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = changed(tensorboard=True, sample_every=4, sample_steps=2, sample_count=1)
    train(config.model_copy(update={"steps": 4, "lr_end": 1.0}), out, "run", report=quiet)
    train(config.model_copy(update={"steps": 8, "lr_end": 1.0}), out, "run", report=quiet)
    events = EventAccumulator(str(out / "checkpoints" / "run" / "tensorboard"))
    events.Reload()
    for log in ("loss", "validation"):
        for key in ("loss", "mse"):
            shown = {event.step: event.value for event in events.Scalars(f"{log}/{key}")}
            written = {line["step"]: line[key] for line in read(out, "run", log)}
            assert shown == pytest.approx(written, rel=1e-6)
    assert [image.step for image in events.Images("samples")] == [4, 8]


def test_a_file_named_stop_ends_a_run(out: Path) -> None:
    folder = out / "checkpoints" / "run"
    with pytest.raises(KeyboardInterrupt):
        train(SMALL, out, "run", report=lambda line: None if "stopped" in line else (folder / "stop").touch())
    assert checkpoints.load(folder)["step"] == 1
    assert not (folder / "stop").exists()
    train(SMALL, out, "run", report=quiet)
    train(SMALL, out, "whole", report=quiet)
    assert read(out, "run") == read(out, "whole")


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(out: Path) -> None:
    config = changed(steps=400, lr=1e30, warmup=0, log_every=1, checkpoint_every=1, grad_clip=1e30)
    with pytest.raises(Diverged, match=r"the loss is NaN or infinite before step"):
        train(config, out, "wild", report=quiet)
    assert len(read(out, "wild")) == checkpoints.load(out / "checkpoints" / "wild")["step"]


def test_settings_that_do_not_fit_say_so() -> None:
    for changes, message in (
        ({"points_from": "outside+hidden"}, "needs target albedo"),
        ({"model": "upsample"}, "only `upsample` has"),
        ({"condition_points": 8}, "only `upsample` has"),
        ({"streams": 5}, "cannot exceed the batch, 4"),
        ({"step_points": 65}, "cannot exceed points 64"),
    ):
        with pytest.raises(ValueError, match=message):
            changed(**changes)


def test_an_empty_validation_split_is_mentioned_only_if_asked_for(make_dataset: MakeDataset) -> None:
    out, lines = make_dataset(rows=4), []
    train(changed(steps=2), out, "asked", report=lines.append)
    assert any("nothing to validate on" in line for line in lines)
    lines.clear()
    train(changed(steps=2, val_every=TrainConfig().val_every), out, "default", report=lines.append)
    assert not any("validat" in line for line in lines)


def test_shards_may_lie_in_an_object_store(out: Path, tmp_path: Path) -> None:
    from fuse.dataset import storage

    remote = storage.locate("memory://learner/out")
    for file in (out / "clouds").iterdir():
        storage.publish_bytes(file.read_bytes(), remote / "clouds" / file.name)
    with pytest.raises(ValueError, match="--checkpoints"):
        train(SMALL, remote, "run", report=quiet)
    path = train(SMALL, remote, "run", report=quiet, runs=tmp_path / "runs")
    assert path.parent == tmp_path / "runs" / "run"
    train(SMALL, out, "local", report=quiet)
    local = [json.loads(line) for line in (path.parent / "loss.jsonl").read_text().splitlines()]
    assert local == read(out, "local")
