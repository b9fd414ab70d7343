"""Several processes train one model: the losses of one process, whichever of them dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipeline.stages.train import train as train_together
from render.failures import UserError
from tests.helpers.commands_under_fire import below
from tests.helpers.places import ROOT
from training import checkpoints
from training.checkpoints import CheckpointError
from training.config import TrainConfig
from training.runs import locked
from training.train import train

SMALL = TrainConfig(
    steps=12, batch=4, points=64, step_points=32, image_size=64, width=32, layers=2, heads=2, warmup=3,
    threads=1, device="cpu", precision="float32", log_every=2, checkpoint_every=3, val_every=6,
    sample_every=0, streams=2, tensorboard=False, views_most=3, view_rays=True, view_projected=True,
    camera_drop=0.3,
)  # fmt: skip
CHILD = """
import pathlib, sys
import torch.distributed as dist
from training.config import TrainConfig
from training.distributed import leave
from training.train import train
config, out, run, rank, world, meeting = sys.argv[1:]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=int(world))
train(TrainConfig.model_validate_json(config), pathlib.Path(out), run, report=lambda line: None)
leave()
"""


@pytest.fixture
def out(make_dataset: Callable[..., Path]) -> Path:
    return make_dataset(rows=12, shard=7, group=3, validation=4)


def quiet(line: str) -> None:
    pass


def read(out: Path, run: str, log: str = "loss") -> list[dict[str, float]]:
    return [
        json.loads(line) for line in (out / "checkpoints" / run / f"{log}.jsonl").read_text().splitlines()
    ]


def assert_same(a: list[dict[str, float]], b: list[dict[str, float]]) -> None:
    """The same lines, up to the order of summation."""
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        assert one.keys() == other.keys()
        assert list(one.values()) == pytest.approx(list(other.values()), rel=1e-4, abs=1e-6)


def train_as_group(config: TrainConfig, out: Path, run: str, world: int) -> None:
    """Processes that find each other through a file, without Ray."""
    meeting = out / f"{run}.meeting"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, config.model_dump_json(), out, run, str(rank), str(world), meeting],
            cwd=ROOT,
        )
        for rank in range(world)
    ]
    try:
        assert [child.wait(240) for child in children] == [0] * world
    finally:
        for child in children:
            child.kill()
        meeting.unlink(missing_ok=True)


@pytest.mark.soak
def test_two_processes_learn_what_one_does(out: Path) -> None:
    """A run may also resume with another number of processes, at any step."""
    train(SMALL, out, "one", report=quiet)
    half = SMALL.model_copy(update={"steps": 6, "lr_end": 1.0})
    whole = half.model_copy(update={"steps": 12})
    train(whole, out, "steady", report=quiet)
    train_as_group(SMALL.model_copy(update={"accumulate": 2}), out, "two", 2)
    assert_same(read(out, "two"), read(out, "one"))
    train_as_group(half, out, "elastic", 2)
    train(whole, out, "elastic", report=quiet)
    assert_same(read(out, "elastic"), read(out, "steady"))
    assert_same(read(out, "two", "validation"), read(out, "one", "validation"))
    assert len(read(out, "two", "validation")) == 2
    assert_same(read(out, "two", "score"), read(out, "one", "score"))


@pytest.mark.soak
def test_a_killed_process_is_replaced_and_the_losses_are_the_same(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One dies in the middle; the group restarts from the newest checkpoint."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    killed: list[psutil.Process] = []
    lines: list[str] = []

    def disturb(line: str) -> None:
        lines.append(line)
        if "step 5/" in line and not killed:
            killed.extend(below(os.getpid(), "RayTrainWorker"))
            for worker in killed[-1:]:
                worker.kill()
        again = [i for i, line in enumerate(lines) if "resuming at step" in line]
        if ("step 5/" in line and not killed) or (again and len(lines) > again[0] + 20):
            (out / "checkpoints" / "killed" / "stop").touch()

    config = SMALL.model_copy(update={"steps": 100_000, "log_every": 1, "lr_end": 1.0})
    with pytest.raises(KeyboardInterrupt):  # stopped by the file, as by a signal
        train_together(config, out, "killed", processes=2, report=disturb)
    assert len(killed) == 2
    steps = checkpoints.load(out / "checkpoints" / "killed")["step"]
    assert [line["step"] for line in read(out, "killed")] == list(range(1, steps + 1))
    train_as_group(config.model_copy(update={"steps": steps}), out, "undisturbed", 2)
    assert_same(read(out, "killed"), read(out, "undisturbed"))


@pytest.mark.soak
def test_a_stopped_command_saves_and_goes_on(out: Path) -> None:
    config = out.parent / "small.yaml"
    settings = SMALL.model_copy(update={"steps": 100_000}).model_dump(mode="json", exclude_none=True)
    config.write_text(json.dumps({"train": settings}))
    command = [sys.executable, "-m", "pipeline.cli", "train", str(out), "--config", str(config)]
    child = subprocess.Popen(
        [*command, "--processes", "2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"RAY_AUTH_MODE": "disabled"},
    )
    assert child.stdout is not None
    try:
        next(line for line in child.stdout if line.startswith("step 4/"))
        child.send_signal(signal.SIGTERM)
        rest, _ = child.communicate(timeout=120)
    finally:
        child.kill()
    assert child.returncode == 130
    state = checkpoints.load(out / "checkpoints" / "default")
    assert state["step"] == state["loader"]["used"] >= 4
    assert "stopped; the same command continues from" in rest
    assert not (out / "checkpoints" / "default" / "stop").exists()


def test_mistakes_are_reported_before_anything_starts(out: Path) -> None:
    train(SMALL, out, "run", report=quiet)
    with pytest.raises(UserError, match="a batch of 4 cannot be divided evenly among 3"):
        train_together(SMALL, out, "other", processes=3)
    with pytest.raises(CheckpointError, match="another configuration: width 32 -> 64"):
        train_together(SMALL.model_copy(update={"width": 64}), out, "run", processes=2)
    with pytest.raises(CheckpointError, match="this run exists"):
        train_together(SMALL, out, "run", resume=False, processes=2)
    with locked(out / "checkpoints" / "run"), pytest.raises(UserError, match="is training this run"):
        train_together(SMALL.model_copy(update={"steps": 20}), out, "run", processes=2)


@pytest.mark.soak
def test_a_stop_file_of_an_earlier_run_stops_nothing(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    folder = out / "checkpoints" / "run"
    folder.mkdir(parents=True)
    (folder / "stop").touch()
    path = train_together(SMALL, out, "run", processes=2, report=quiet)
    assert checkpoints.load(path)["step"] == SMALL.steps


def test_torchrun_makes_a_group(out: Path) -> None:
    train(SMALL, out, "alone", report=quiet)
    code = (
        "import pathlib, sys; from training.config import TrainConfig; from training.train import train; "
        "train(TrainConfig.model_validate_json(sys.argv[1]), pathlib.Path(sys.argv[2]), 'group')"
    )
    script = out.parent / "script.py"
    script.write_text(code)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(script), SMALL.model_dump_json(), str(out)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "cpu x 2" in done.stdout
    assert_same(read(out, "group"), read(out, "alone"))
