"""examples/several_views.py runs from a dataset to a table and a picture, and continues where it stopped."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from fuse.dataset.layout import Layout
from tests.helpers.places import ROOT
from training.config import TrainConfig


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("several_views", ROOT / "examples" / "several_views.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_arm_is_a_configuration(example: ModuleType):
    for arm in example.ARMS.values():
        TrainConfig.model_validate(example.SMALL.model_dump() | arm.changes)


def test_two_arms_give_a_table_and_a_picture(
    example: ModuleType, make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(example, "POINTS", 64)
    monkeypatch.setattr(example, "SAMPLING_STEPS", 2)
    arms = {"today": replace(example.ARMS["today"], rules=((2, "cycle"),))}
    arms["projected"] = replace(example.ARMS["projected"], views=(1, 4))
    monkeypatch.setattr(example, "ARMS", arms)
    data, out = make_dataset(rows=6, views=20, validation=3), tmp_path / "compared"
    options = example.Options(data, out, ("today", "projected"), steps=2)
    example.main(options)
    lines = (out / "table.md").read_text().splitlines()
    assert len(lines) == 2 + 2 + 2 and "| projected | 4 |" in lines[-1]
    with Image.open(out / "picture.png") as sheet:
        assert len(np.unique(np.asarray(sheet).reshape(-1, 3), axis=0)) > 10
    before = (out / "results.jsonl").read_bytes()
    example.main(options)
    assert (out / "results.jsonl").read_bytes() == before


def test_what_nearly_repeats_a_training_object_is_left_out(
    example: ModuleType, make_dataset: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
):
    clouds = Layout(make_dataset(rows=8, views=1, points=200, validation=4)).clouds
    assert example.alike(clouds) == set()
    monkeypatch.setattr(example, "ALIKE", 0.5)
    assert example.alike(clouds) == {"plate-003", "plate-007"}


def test_a_subset_has_fewer_training_rows(
    example: ModuleType, make_dataset: Callable[..., Path], tmp_path: Path
):
    data = make_dataset(rows=8, views=2, shard=3, validation=4)
    small = example.subset(data, tmp_path, 4)
    from training.data.loader import CloudLoader

    assert CloudLoader(Layout(small).clouds, 2).rows == 4
    assert example.subset(data, tmp_path, 0) == data
