"""Scores of held-out objects during training, and the checkpoint that they choose."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.cloud_rows import make_row
from training import checkpoints
from training.config import TrainConfig
from training.evaluate import evaluate
from training.generator import Generator
from training.scores.distances import chamfer
from training.settings import EvaluateSettings, Sampling
from training.train import train

SMALL = TrainConfig(
    steps=8, batch=4, points=64, step_points=32, image_size=64, width=32, layers=2, heads=2, warmup=2,
    lr=5e-3, threads=1, device="cpu", precision="float32", log_every=1, checkpoint_every=3, val_every=0,
    score_every=2, score_count=3, sample_every=0, sample_points=48, sample_steps=4, tensorboard=False,
)  # fmt: skip


@pytest.fixture
def out(make_dataset: Callable[..., Path]) -> Path:
    """Ten rows of one view; rows 4 and 9 are held out."""
    return make_dataset(rows=10, views=1, validation=5)


def quiet(line: str) -> None:
    pass


def scores(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "score.jsonl").read_text().splitlines()]


def test_the_best_checkpoint_is_the_one_of_the_lowest_score(out: Path) -> None:
    folder = train(SMALL, out, "run", report=quiet).parent
    lines = scores(folder)
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    best = min(lines, key=lambda line: line["chamfer"])
    path = folder / checkpoints.BEST
    assert checkpoints.load(path)["step"] == best["step"]
    generator, held = Generator(path, precision="float32"), [make_row(i, 1, 64) for i in (4, 9)]
    figures = set()
    for rows in (held, held[::-1]):  # the order in which they are read is the loader's
        clouds = generator.sample([row["image_00"] for row in rows], 48, Sampling(4, guidance=1.0))
        gaps = [chamfer(cloud[:3].T, row["outside_xyz"]) for cloud, row in zip(clouds, rows, strict=True)]
        figures.add(round(float(np.mean(gaps)), 4))
    assert round(best["chamfer"], 4) in figures
    assert evaluate(EvaluateSettings(out, path, count=2, points=16, steps=2)).objects == 2


def test_a_resumed_run_has_the_scores_of_an_uninterrupted_one(out: Path) -> None:
    def stop_after_five(line: str) -> None:
        if line.startswith("step 5/"):
            signal.raise_signal(signal.SIGINT)

    whole = train(SMALL, out, "whole", report=quiet).parent
    with pytest.raises(KeyboardInterrupt):
        train(SMALL, out, "parts", report=stop_after_five)
    parts = train(SMALL, out, "parts", report=quiet).parent
    assert scores(parts) == scores(whole)
    steps = [checkpoints.load(folder / checkpoints.BEST)["step"] for folder in (whole, parts)]
    assert steps[0] == steps[1]
    assert not list(parts.glob(".*.pt.*"))


def test_without_held_out_objects_there_is_no_score(make_dataset: Callable[..., Path]) -> None:
    lines: list[str] = []
    folder = train(SMALL, make_dataset(rows=4, views=1), "run", report=lines.append).parent
    assert not (folder / "score.jsonl").exists() and not (folder / checkpoints.BEST).exists()
    assert "no rows of split 'validation': nothing to validate on" in lines
