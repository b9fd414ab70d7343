"""`training.train` on several processes: Ray Train starts and connects them, and replaces those that die.

Each process calls the same `train()` as a single one and finds its rank through `torch.distributed`.
Checkpoints, logs and resuming are the run's own: when a process is lost, Ray restarts the group, which
continues from the newest checkpoint in DATASET/checkpoints/RUN; every node must see that folder. Ctrl-C and
SIGTERM create the file `stop` there: the processes finish their step, save and end.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fuse.dataset.layout import open_dataset
from fuse.dataset.storage import is_local, locate
from pipeline.config import EngineConfig
from pipeline.engine.session import ray_session
from pipeline.errors import InfrastructureError
from render.failures import UserError
from training.checkpoints import found, step_of
from training.config import TrainConfig
from training.journal import resumable
from training.runs import STOP, locked, run_folder
from training.validation import open_loader

LOG = "progress.log"
"""Where the processes write their progress lines, in the run's folder."""
_POLL = 0.5  # seconds between checks of the log and of signals


def train(
    config: TrainConfig,
    dataset: Path,
    run: str,
    resume: bool = True,
    processes: int = 2,
    max_failures: int = 3,
    report: Callable[[str], None] = print,
    runs: Path | None = None,
) -> Path:
    """Train with `processes` processes and return the last checkpoint; otherwise like `training.train.train`.

    Raises UserError where a process does, InfrastructureError if processes were lost more than `max_failures`
    times in a row.
    """
    if config.batch % processes:
        raise UserError(
            f"a batch of {config.batch} cannot be divided evenly among {processes} processes. "
            "Choose a multiple."
        )
    folder = run_folder(dataset, run, runs).resolve()
    resumable(folder, config, resume)  # mistakes are reported here, once
    open_loader(config, open_dataset(dataset).clouds)
    os.environ["RAY_TRAIN_V2_ENABLED"] = "1"
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    engine = EngineConfig(workers=processes, threads=max(1, config.threads))
    with locked(folder), ray_session(engine), _stop_file(folder), _followed(folder / LOG, report):
        _fit(config, dataset.resolve() if is_local(dataset) else dataset, folder, processes, max_failures)
        last = found(folder)[-1]
        if step_of(last) < config.steps:
            report(f"stopped; the same command continues from {last}")
            raise KeyboardInterrupt
    return last


def _fit(config: TrainConfig, dataset: Path, folder: Path, processes: int, max_failures: int) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    # `cuda` waits for GPUs that an autoscaler has yet to start; `auto` takes those that exist.
    enough = ray.cluster_resources().get("GPU", 0) >= processes
    gpu = config.device == "cuda" or (config.device == "auto" and enough)
    trainer = TorchTrainer(
        _work,
        train_loop_config={
            "config": config.model_dump(mode="json"),
            "dataset": str(dataset),
            "folder": str(folder),
        },
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=processes,
            use_gpu=gpu,
            resources_per_worker={"CPU": max(1, config.threads)} | ({"GPU": 1} if gpu else {}),
        ),
        run_config=RunConfig(
            name="ray",
            storage_path=str(folder),
            failure_config=FailureConfig(max_failures=max_failures),
        ),
    )
    with ThreadPoolExecutor(1, "fit") as pool:  # in the main thread Ray would handle Ctrl-C itself
        fitting = pool.submit(trainer.fit)
        while not fitting.done():
            wait([fitting], _POLL)
    if isinstance(error := fitting.exception(), TrainingFailedError):
        raise _explained(error) from error
    fitting.result()


def _work(settings: dict[str, Any]) -> None:
    """The work of each process."""
    import torch
    from ray.train.torch import get_device

    from training.train import train as learn

    if (device := get_device()).type == "cuda":  # Ray shows a node's GPUs to all of its processes
        torch.cuda.set_device(device)
    config, folder = TrainConfig.model_validate(settings["config"]), Path(settings["folder"])
    log = folder / LOG
    try:
        learn(
            config,
            locate(settings["dataset"]),
            folder.name,
            report=lambda line: _append(log, line),
            runs=folder.parent,
            lock=False,
        )
    except KeyboardInterrupt:  # asked to stop; everything is saved
        return


def _append(log: Path, line: str) -> None:
    with log.open("a") as file:
        file.write(line + "\n")


def _explained(error: Exception) -> Exception:
    """A person's mistake as it is, anything else with Ray's words."""
    for failure in getattr(error, "worker_failures", {}).values():
        cause = getattr(failure, "cause", failure)
        if isinstance(cause, UserError):
            return UserError(str(cause))
    return InfrastructureError(f"training with several processes failed: {error}")


@contextmanager
def _stop_file(folder: Path) -> Iterator[None]:
    """Within, SIGINT and SIGTERM ask the processes to stop, through the file that they check."""

    def ask(*_: Any) -> None:
        signal.alarm(0)  # Ray's own handler, before this one, would abort the process after three seconds
        (folder / STOP).touch()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, ask) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        (folder / STOP).unlink(missing_ok=True)


@contextmanager
def _followed(log: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Within, new lines of `log` are reported."""
    done = threading.Event()
    position = log.stat().st_size if log.exists() else 0

    def follow() -> None:
        nonlocal position
        ended = False
        while not ended:
            ended = done.wait(_POLL)
            if log.exists():
                with log.open() as file:
                    file.seek(position)
                    for line in file:
                        report(line.rstrip("\n"))
                    position = file.tell()

    thread = threading.Thread(target=follow, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
