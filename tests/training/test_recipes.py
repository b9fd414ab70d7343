"""The recipes that we ship: each loads, has the stated size, and takes a step at reduced size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipeline.run_config import load
from tests.helpers.places import ROOT
from training import checkpoints
from training.checkpoints import build_model
from training.config import TrainConfig
from training.generator import published_config
from training.networks.point_e import PUBLISHED
from training.train import train

CONFIGS = ROOT / "configs"
RECIPES = ["point_e_base40M", "point_e_upsample", "flow_base40M", "two_stream", "tiny_cpu", "upsample_cpu"]
REDUCED = {
    "steps": 3, "batch": 4, "points": 48, "width": 32, "layers": 2, "heads": 2, "latents": 16,
    "latent_layers": 1, "encoder": "efficientnet_lite0", "image_size": 64, "device": "cpu", "threads": 1,
    "step_points": 0, "val_every": 2, "val_clouds": 2, "sample_every": 3, "sample_count": 2,
    "sample_steps": 2, "sample_points": 32,
}  # fmt: skip


def recipe(name: str) -> TrainConfig:
    return load(CONFIGS / f"{name}.yaml").train


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_takes_steps_at_reduced_size(name: str, make_dataset: Callable[..., Path]) -> None:
    out = make_dataset(rows=8, points=64, validation=4)
    config = recipe(name)
    changes = REDUCED | ({"condition_points": 16} if config.model == "upsample" else {})
    lines: list[str] = []
    path = train(TrainConfig.model_validate(config.model_dump() | changes), out, name, report=lines.append)
    assert checkpoints.load(path)["step"] == 3
    assert any(line.startswith("validation  loss") for line in lines)
    assert (path.parent / "samples" / "step-0000003.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("point_e_base40M", PUBLISHED["base40M"].parameters),
        ("point_e_upsample", PUBLISHED["upsample"].parameters + 12),
    ],
)
def test_the_published_sizes_are_the_published_sizes(name: str, count: int) -> None:
    with torch.device("meta"):
        weights = build_model(recipe(name), 1024).state_dict()
    assert sum(weight.numel() for weight in weights.values()) == count


def test_the_upsampler_has_the_rows_that_it_needs() -> None:
    config = load(CONFIGS / "point_e_upsample.yaml")
    assert config.train.condition_points + config.train.points == config.fuse.points == 4096


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_official_checkpoints_have_a_configuration_of_their_own(name: str) -> None:
    config, known = published_config(name), PUBLISHED[name]
    assert (config.points, config.schedule) == (known.points, known.schedule)
    with torch.device("meta"):
        weights = build_model(config, known.features).state_dict()
    buffers = 12 if name == "upsample" else 0
    assert sum(weight.numel() for weight in weights.values()) == known.parameters + buffers


def test_names_that_nobody_published_are_refused() -> None:
    with pytest.raises(ValueError, match="OpenAI published base40M-uncond"):
        published_config("base2B")
