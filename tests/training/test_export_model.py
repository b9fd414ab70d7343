"""An exported model is the checkpoint's, bit for bit, and its card says what it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from fuse.dataset.layout import Layout
from fuse.dataset.manifest import describe, write_manifest
from fuse.dataset.shard import table_of, write_shard
from pipeline.output.model_card import export_model
from render.failures import UserError
from tests.helpers.cloud_rows import make_row
from training import checkpoints
from training.config import TrainConfig
from training.generator import Generator
from training.output.model_folder import ModelFolderError
from training.settings import Sampling
from training.train import train

TINY = TrainConfig(
    steps=2, batch=2, points=48, step_points=0, width=16, layers=1, heads=2, image_size=32, device="cpu",
    threads=1, val_every=0, score_every=0, sample_every=0, log_every=1, tensorboard=False, encoder_cache=None,
)  # fmt: skip


@pytest.fixture
def run(make_dataset: Callable[..., Path]) -> Path:
    """A run of two steps on six of eight rows, evaluated."""
    path = train(TINY, make_dataset(rows=8, validation=4), "chairs", report=lambda _: None)
    emd = {"name": "EMD", "value": 0.5, "floor": 0.25, "ceiling": float("nan")}
    record = {"objects_of": "held-out objects", "scores": {"scores": [emd]}}
    (path.parent / "evaluations").mkdir()
    (path.parent / "evaluations" / f"{path.stem}.json").write_text(json.dumps(record))
    return path.parent


def test_the_exported_model_is_the_checkpoints(run: Path, tmp_path: Path) -> None:
    to = export_model(run, tmp_path / "model")
    assert {path.name for path in to.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    (run / "step-0000002.pt").rename(tmp_path / "kept.pt")  # the folder stands alone
    (config, model, _), (before, was, _) = map(checkpoints.load_model, (to, tmp_path / "kept.pt"))
    assert config == before
    weights, expected = model.state_dict(), was.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    image = make_row(0, views=1, points=16)["image_00"]
    made, expected = (
        Generator(path, device="cpu").sample([image], 32, Sampling(steps=2))
        for path in (to, tmp_path / "kept.pt")
    )
    assert np.array_equal(made, expected)


def test_the_card_says_data_steps_and_scores(run: Path, tmp_path: Path) -> None:
    text = (export_model(run, tmp_path / "model", "cc-by-4.0") / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "cc-by-4.0" and yaml.safe_load(front)["model_name"] == "chairs"
    assert "trained for 2 steps of 2 clouds" in body and "6 models (split `train`)" in body
    assert "| unknown | 8 |" in body and "| EMD | 0.5000 | 0.2500 |  |" in body
    loss = json.loads((run / "loss.jsonl").read_text().splitlines()[-1])["loss"]
    assert f"| loss | 2 | {loss:.4f} |" in body


def test_the_card_names_the_licenses_without_their_authors(run: Path, tmp_path: Path) -> None:
    texts = ["CC-BY-4.0; by Ann", "CC-BY-4.0; by Bob; https://x.org/b", "MIT", None, None]
    tables = [
        table_of(make_row(index, views=1, points=20) | {"license": text}) for index, text in enumerate(texts)
    ]
    path = Layout(run.parent.parent).shard("part-00000.parquet")
    write_shard(path, tables, "hash", {})
    write_manifest(path.parent, [describe(path)])
    text = (export_model(run, tmp_path / "model") / "README.md").read_text()
    assert "| CC-BY-4.0 | 2 |\n| MIT | 1 |\n| unknown | 2 |" in text


def test_a_damaged_model_is_named(run: Path, tmp_path: Path) -> None:
    to = export_model(run, tmp_path / "model")
    with pytest.raises(UserError, match="not an empty folder"):
        export_model(run, to)
    (to / "model.safetensors").write_bytes((to / "model.safetensors").read_bytes()[:-4])
    with pytest.raises(ModelFolderError, match="not a whole exported model"):
        checkpoints.load(to)
