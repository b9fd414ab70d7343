"""Training on real shards: it learns, it resumes exactly, it stops on a signal, and clouds come out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fuse.dataset.manifest import describe, write_manifest
from fuse.dataset.shard import table_of, write_shard
from tests.helpers.cloud_rows import make_row
from tests.helpers.places import ROOT
from training import checkpoints
from training.checkpoints import CheckpointError
from training.config import TrainConfig
from training.learner import learning_rate
from training.objectives.noise import step_noise
from training.objectives.objective import even_quantiles
from training.scores.distances import chamfer, chamfer_matrix
from training.train import train

MakeDataset = Callable[..., Path]
SMALL = TrainConfig(
    steps=12, batch=4, points=64, step_points=32, image_size=64, width=32, layers=2, heads=2, warmup=3,
    threads=1, device="cpu", log_every=2, checkpoint_every=5, val_every=4, sample_every=0,
)  # fmt: skip


@pytest.fixture
def out(make_dataset: MakeDataset) -> Path:
    return make_dataset(rows=6)


def read_log(out: Path, run: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "checkpoints" / run / "loss.jsonl").read_text().splitlines()]


def quiet(line: str) -> None:
    pass


CHILD = """
import pathlib, sys
from training.config import TrainConfig
from training.train import train
config = TrainConfig.model_validate_json(sys.argv[1])
train(config, pathlib.Path(sys.argv[2]), sys.argv[3], report=lambda line: print(line, flush=True))
"""


def start(config: TrainConfig, out: Path, run: str) -> subprocess.Popen[str]:
    """Train in a process of its own."""
    command = [sys.executable, "-c", CHILD, config.model_dump_json(), str(out), run]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_resumed_training_equals_uninterrupted(out: Path) -> None:
    """Stopped between two regular checkpoints; steps show one to three views."""
    views = {"views_most": 3, "view_rays": True, "view_projected": True, "camera_drop": 0.3}
    views |= {"frame": "first_view", "crop": True, "crop_jitter": 0.2}
    config = SMALL.model_copy(update=views)
    whole = train(config, out, "whole", report=quiet)
    lines: list[str] = []

    def stop_after_six(line: str) -> None:
        lines.append(line)
        if line.startswith("step 6/"):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(config, out, "parts", report=stop_after_six)
    assert "continues from" in lines[-1]
    assert checkpoints.load(out / "checkpoints" / "parts")["step"] == 6
    parts = train(config, out, "parts", report=quiet)
    assert read_log(out, "parts") == read_log(out, "whole")
    a, b = checkpoints.load(whole), checkpoints.load(parts)
    assert a["step"] == b["step"] == 12
    assert all(torch.equal(a["ema"][name], b["ema"][name]) for name in a["ema"])
    assert not torch.equal(a["ema"]["output_proj.weight"], a["model"]["output_proj.weight"])


def test_a_killed_run_goes_on_from_its_last_checkpoint(out: Path) -> None:
    """SIGKILL leaves a log beyond the checkpoint; the log is truncated and completed."""
    train(SMALL, out, "whole", report=quiet)
    child = start(SMALL, out, "killed")
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("step 8/"):
            child.kill()
            break
    child.stdout.close()
    assert child.wait(60) in (-signal.SIGKILL, 0)
    train(SMALL, out, "killed", report=quiet)
    assert read_log(out, "killed") == read_log(out, "whole")


def test_sigterm_finishes_the_step_and_saves(out: Path) -> None:
    child = start(SMALL.model_copy(update={"steps": 100_000}), out, "long")
    assert child.stdout is not None
    next(line for line in child.stdout if line.startswith("step 4/"))
    child.send_signal(signal.SIGTERM)
    rest, _ = child.communicate(timeout=60)
    assert child.returncode != 0
    state = checkpoints.load(out / "checkpoints" / "long")
    assert f"stopped at step {state['step']}" in rest
    assert state["step"] == state["loader"]["used"] >= 4


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_it_learns(out: Path, prediction: str) -> None:
    config = SMALL.model_copy(update={"steps": 150, "lr": 3e-3, "log_every": 10, "prediction": prediction})
    train(config, out, "learns", report=quiet)
    losses = [line["mse"] for line in read_log(out, "learns")]
    assert np.mean(losses[-3:]) < 0.75 * losses[0]


def test_only_the_newest_checkpoints_are_kept_and_load_as_plain_values(out: Path) -> None:
    config = SMALL.model_copy(update={"checkpoint_every": 2, "keep": 2})
    last = train(config, out, "kept", report=quiet)
    assert [path.name for path in checkpoints.found(last.parent)] == ["step-0000010.pt", "step-0000012.pt"]
    assert [path.name for path in last.parent.glob(".*")] == [".lock"]
    assert TrainConfig.model_validate(torch.load(last, weights_only=True)["config"]) == config
    assert json.loads((last.parent / "config.json").read_text()) == config.model_dump(mode="json")


def test_milestones_are_kept_for_good(out: Path) -> None:
    config = SMALL.model_copy(update={"keep": 1, "milestones": 4})  # checkpoint_every 5
    last = train(config, out, "kept", report=quiet)
    assert [checkpoints.step_of(path) for path in checkpoints.found(last.parent)] == [4, 8, 12]


def test_a_run_can_be_made_longer_but_not_other(out: Path) -> None:
    train(SMALL, out, "run", report=quiet)
    longer = train(SMALL.model_copy(update={"steps": 14}), out, "run", report=quiet)
    assert checkpoints.load(longer)["step"] == 14
    with pytest.raises(CheckpointError, match="another configuration: width 32 -> 64"):
        train(SMALL.model_copy(update={"width": 64, "lr": 1e-4}), out, "run", report=quiet)
    with pytest.raises(CheckpointError, match="this run exists"):
        train(SMALL, out, "run", resume=False, report=quiet)


def test_a_run_continues_with_another_rate_and_batch_and_on_a_grown_dataset(
    out: Path, make_dataset: MakeDataset
) -> None:
    lines: list[str] = []
    path = train(SMALL, out, "run", report=quiet)
    before = checkpoints.load(path)
    clouds = out / "clouds"
    new = clouds / "part-00001.parquet"
    write_shard(new, [table_of(make_row(i, 3, 64)) for i in range(20, 24)], "hash", {})
    write_manifest(clouds, [describe(part) for part in sorted(clouds.glob("*.parquet"))])
    changed = SMALL.model_copy(update={"lr": 1e-4, "batch": 2, "steps": 16})
    after = checkpoints.load(train(changed, out, "run", report=lines.append))
    assert "resuming although the shards changed: 6 rows before, 10 now" in lines
    assert "resuming although batch 4 before, 2 now" in lines
    assert after["step"] == 16
    assert after["loader"]["used"] == 2 * before["loader"]["used"] + 4
    steps = {int(state["step"]) for state in after["optimizer"]["state"].values()}
    assert steps == {16}  # the optimizer's moments were kept
    assert read_log(out, "run")[-1]["lr"] == pytest.approx(learning_rate(changed, 15))
    train(changed.model_copy(update={"steps": 17}), out, "run", report=quiet)
    (first, second) = map(json.loads, (path.parent / "changes.jsonl").read_text().splitlines())
    assert first["step"] == 12 and second == {"step": 16, "changes": ["steps 16 before, 17 now"]}
    assert {"lr 0.002 before, 0.0001 now", "batch 4 before, 2 now"} < set(first["changes"])


def test_a_damaged_checkpoint_says_so(out: Path) -> None:
    last = train(SMALL, out, "run", report=quiet)
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"step-0000012\.pt: damaged, or not a PyTorch file"):
        checkpoints.load(last.parent)
    with pytest.raises(CheckpointError, match="no checkpoints in this folder"):
        checkpoints.load(out)


def test_noise_and_times_belong_to_the_step_and_the_place() -> None:
    first, again, next_ = (step_noise(0, step, 64, 0, (64, 6, 8), 0.25) for step in (5, 5, 6))
    assert torch.equal(first.noise, again.noise) and torch.equal(first.quantiles, again.quantiles)
    assert not torch.equal(first.noise, next_.noise)
    parts = [step_noise(0, 5, 64, start, (16, 6, 8), 0.25) for start in range(0, 64, 16)]
    assert torch.equal(torch.cat([part.noise for part in parts]), first.noise)
    assert torch.equal(torch.cat([part.quantiles for part in parts]), first.quantiles)
    assert torch.equal(torch.cat([part.keep for part in parts]), first.keep)
    assert not torch.equal(step_noise(1, 5, 64, 0, (64, 6, 8)).noise, first.noise)
    assert len(torch.unique(first.noise)) > 0.99 * first.noise.numel()
    low = step_noise(0, 5, 4, 0, (4, 6, 8), low_points=3)
    assert low.low_noise is not None and low.low_noise.shape == (4, 6, 3)


def test_times_are_even_and_conditions_dropped_as_often_as_asked() -> None:
    drawn = [step_noise(0, step, 64, 0, (64, 6, 2), 0.25) for step in range(100)]
    quantiles = torch.cat([d.quantiles for d in drawn])
    assert quantiles.min() >= 0
    assert quantiles.max() < 1
    assert torch.bincount((quantiles * 4).long(), minlength=4).tolist() == pytest.approx([1600] * 4, abs=100)
    assert torch.cat([d.keep for d in drawn]).float().mean().item() == pytest.approx(0.75, abs=0.03)
    noise = torch.cat([d.noise for d in drawn])
    assert noise.mean().abs() < 0.02
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    assert even_quantiles(8, torch.Generator().manual_seed(0)).sort().values.diff() == pytest.approx(0.125)


def test_cameras_are_withheld_as_often_as_asked_half_of_them_for_whole_objects() -> None:
    drawn = [step_noise(0, step, 64, 0, (64, 3, 2), views=4) for step in range(100)]
    for drop in (0.0, 0.3, 1.0):
        kept = torch.cat([d.posed(drop) for d in drawn])
        assert kept.float().mean().item() == pytest.approx(1 - drop, abs=0.01)
        alone = (drop / (2 - drop)) ** 4  # all four one by one
        assert (~kept).all(1).float().mean().item() == pytest.approx(
            drop / 2 + (1 - drop / 2) * alone, abs=0.01
        )


def test_learning_rate_rises_then_falls() -> None:
    config = TrainConfig(steps=100, warmup=10, lr=1e-3, lr_end=0.1)
    rates = [learning_rate(config, step) for step in range(101)]
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) == rates[9] == rates[10] == pytest.approx(1e-3)
    assert rates[100] == pytest.approx(1e-4)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_chamfer_of_known_clouds() -> None:
    a = np.array([[0.0, 0, 0], [1, 0, 0]])
    b = np.array([[0.0, 0, 0]])
    assert chamfer(a, a) == 0
    assert chamfer(a, b) == pytest.approx((0.5 + 0) / 2)
    assert chamfer(a, a + np.array([0, 0.25, 0])) == pytest.approx(0.25)
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(2, 300, 3))
    gaps = np.linalg.norm(p[:, None] - q[None], axis=-1)
    assert chamfer(p, q) == pytest.approx((gaps.min(0).mean() + gaps.min(1).mean()) / 2, rel=1e-5)
    assert chamfer_matrix(p[None], np.stack([p, q]))[0].argmin() == 0
