"""A run's folder: one writer, no stale stop file, nothing left of a killed process; threads that rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fuse.dataset.manifest import describe, write_manifest
from fuse.dataset.shard import ShardError, table_of, write_shard
from render.failures import UserError
from tests.helpers.cloud_rows import make_row
from tests.helpers.places import ROOT
from training import checkpoints
from training.config import TrainConfig
from training.distributed import World
from training.journal import Diverged
from training.learner import Learner
from training.runs import locked
from training.train import train
from training.validation import open_loader

SMALL = TrainConfig(
    steps=6, batch=4, points=64, step_points=32, image_size=64, width=32, layers=2, heads=2, warmup=3,
    threads=1, device="cpu", precision="float32", log_every=1, checkpoint_every=2, val_every=0,
    sample_every=0, tensorboard=False,
)  # fmt: skip


@pytest.fixture
def out(make_dataset: Callable[..., Path]) -> Path:
    return make_dataset(rows=6)


def quiet(line: str) -> None:
    pass


def test_a_second_start_is_refused_and_a_dead_one_holds_nothing(out: Path) -> None:
    folder = out / "checkpoints" / "run"
    code = (
        f"import pathlib, time; from training.runs import locked\nwith locked(pathlib.Path({str(folder)!r})):"
    )
    code += " print('held', flush=True); time.sleep(300)"
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"process {child.pid} on .* is training this run"):
            train(SMALL, out, "run", report=quiet)
    finally:
        child.kill()
        child.wait(60)
    assert checkpoints.load(train(SMALL, out, "run", report=quiet))["step"] == SMALL.steps
    with locked(folder):
        pass  # and the run that ended holds nothing either


def test_a_stop_file_of_an_earlier_run_stops_nothing(out: Path) -> None:
    folder = out / "checkpoints" / "run"
    folder.mkdir(parents=True)
    (folder / "stop").touch()
    assert checkpoints.load(train(SMALL, out, "run", report=quiet))["step"] == SMALL.steps


def test_what_a_killed_process_left_is_removed_or_skipped(out: Path) -> None:
    path = train(SMALL, out, "run", report=quiet)
    left = path.with_name(f".{path.name}.4711")
    left.write_bytes(b"half a checkpoint")
    log = path.with_name("loss.jsonl")
    whole = log.read_text()
    log.write_text(whole + '{"step": 7, "lo')
    train(SMALL.model_copy(update={"steps": 8, "lr_end": SMALL.lr_end}), out, "run", report=quiet)
    assert not left.exists()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert log.read_text().startswith(whole)


def test_a_step_with_an_infinite_gradient_is_skipped_and_counted(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = Learner(SMALL, torch.device("cpu"), World())
    batch = next(iter(open_loader(SMALL, out / "clouds")))
    parameter = next(learner.model.parameters())
    handle = parameter.register_hook(lambda gradient: gradient * float("inf"))
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    learner.learn(batch, 0)
    assert learner.skipped == 1
    for name, value in learner.model.state_dict().items():
        assert torch.equal(value, before[name])
        assert learner.ema.state_dict()[name].isfinite().all()
    handle.remove()
    learner.learn(batch, 1)
    assert learner.skipped == 1
    assert not all(torch.equal(v, before[n]) for n, v in learner.model.state_dict().items())


def test_weights_that_are_not_finite_are_never_saved(out: Path) -> None:
    def spoil(line: str) -> None:
        if line.startswith("step 3/"):
            model = next(o for o in gc.get_objects() if isinstance(o, Learner)).ema
            next(model.parameters()).data.fill_(float("nan"))

    import gc

    with pytest.raises(Diverged, match=r"weights \(ema\) are NaN or infinite before step 4"):
        train(SMALL, out, "run", report=spoil)
    assert checkpoints.load(out / "checkpoints" / "run")["step"] == 2


def test_a_point_that_is_not_a_number_names_its_model(tmp_path: Path) -> None:
    rows = [make_row(i, 1, 64) for i in range(4)]
    rows[2]["outside_xyz"][10, 1] = float("nan")
    clouds = tmp_path / "clouds"
    clouds.mkdir()
    path = clouds / "part-00000.parquet"
    write_shard(path, [table_of(row) for row in rows], "hash", {})
    write_manifest(clouds, [describe(path)])
    loader = open_loader(SMALL.model_copy(update={"step_points": 0}), clouds)
    with pytest.raises(ShardError, match=rf"part-00000\.parquet: {rows[2]['uid']} has points that are NaN"):
        next(iter(loader))


def test_idle_threads_wait_without_spinning() -> None:
    """As the OpenMP runtime that torch loads reports it."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", "import training.train"],
        cwd=ROOT,
        env=environment | {"OMP_DISPLAY_ENV": "true"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
