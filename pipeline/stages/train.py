"""`training.train` on several processes: Ray Train starts them, joins them, and replaces the ones that die.

Each process calls the same `train()` as a single one does and finds its place through `torch.distributed`.
Checkpoints, logs and resumption are the run's own: when a process is lost, Ray starts the group again, and it
goes on from the newest checkpoint in OUT/checkpoints/RUN, which every node must see. Ctrl-C and SIGTERM put
the file `stop` there: the processes finish their step, save and end.
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

from fuse.dataset.storage import is_local, locate
from pipeline.config import EngineConfig
from pipeline.engine.session import ray_session
from pipeline.errors import InfrastructureError
from render.failures import UserError
from training.checkpoints import found
from training.config import TrainConfig
from training.journal import resumable
from training.train import run_folder
from training.validation import open_loader

_POLL = 0.5  # seconds between looks at the log and at signals


def train(
    config: TrainConfig,
    out: Path,
    run: str,
    resume: bool = True,
    processes: int = 2,
    failures: int = 3,
    report: Callable[[str], None] = print,
    runs: Path | None = None,
) -> Path:
    """Train with `processes` processes and return the last checkpoint; as `training.train.train` otherwise.

    Raises UserError for what the processes raise for people, InfrastructureError where more than `failures`
    of them were lost in a row.
    """
    if config.batch % processes:
        raise UserError(f"a batch of {config.batch} cannot be shared evenly by {processes} processes.")
    folder = run_folder(out, run, runs).resolve()
    resumable(folder, config, resume)  # what a person has to mend is said here, once
    open_loader(config, out / "clouds")
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["RAY_TRAIN_V2_ENABLED"] = "1"
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    engine = EngineConfig(workers=processes, threads=max(1, config.threads))
    with ray_session(engine), _stop_file(folder) as stopped, _followed(folder / "progress.log", report):
        _fit(config, out.resolve() if is_local(out) else out, folder, processes, failures)
        if stopped():
            report(f"stopped; the same command goes on from {found(folder)[-1]}")
            raise KeyboardInterrupt
    return found(folder)[-1]


def _fit(config: TrainConfig, out: Path, folder: Path, processes: int, failures: int) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    # `cuda` waits for GPUs that an autoscaler has yet to start; `auto` takes those that are there.
    there = ray.cluster_resources().get("GPU", 0) >= processes
    gpu = config.device == "cuda" or (config.device == "auto" and there)
    trainer = TorchTrainer(
        _work,
        train_loop_config={
            "config": config.model_dump(mode="json"),
            "out": str(out),
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
            failure_config=FailureConfig(max_failures=failures),
        ),
    )
    with ThreadPoolExecutor(1, "fit") as pool:  # in the main thread Ray would take Ctrl-C for itself
        fitting = pool.submit(trainer.fit)
        while not fitting.done():
            wait([fitting], _POLL)
    if isinstance(error := fitting.exception(), TrainingFailedError):
        raise _explained(error) from error
    fitting.result()


def _work(settings: dict[str, Any]) -> None:
    """What every process does."""
    import torch
    from ray.train.torch import get_device

    from training.train import train as learn

    if (device := get_device()).type == "cuda":  # Ray lets the processes of a node see all its GPUs
        torch.cuda.set_device(device)
    config, folder = TrainConfig.model_validate(settings["config"]), Path(settings["folder"])
    log = folder / "progress.log"
    try:
        learn(
            config,
            locate(settings["out"]),
            folder.name,
            report=lambda line: _append(log, line),
            runs=folder.parent,
        )
    except KeyboardInterrupt:  # asked to stop, and all is saved
        return


def _append(log: Path, line: str) -> None:
    with log.open("a") as file:
        file.write(line + "\n")


def _explained(error: Exception) -> Exception:
    """Our own errors as they are, anything else with Ray's words."""
    failures = getattr(error, "worker_failures", {})
    for failure in failures.values():
        cause = getattr(failure, "cause", failure)
        if isinstance(cause, ValueError) and type(cause).__module__.split(".")[0] in ("training", "fuse"):
            return UserError(str(cause))
    return InfrastructureError(f"training with several processes failed: {error}")


@contextmanager
def _stop_file(folder: Path) -> Iterator[Callable[[], bool]]:
    """Within, SIGINT and SIGTERM ask the processes to stop, through the file that they look for."""
    flag = threading.Event()

    def ask(*_: Any) -> None:
        flag.set()
        (folder / "stop").touch()

    if threading.current_thread() is not threading.main_thread():
        yield flag.is_set
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, ask) for number in numbers]
    try:
        yield flag.is_set
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        (folder / "stop").unlink(missing_ok=True)


@contextmanager
def _followed(log: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Within, lines that are added to `log` are reported."""
    done = threading.Event()
    place = log.stat().st_size if log.exists() else 0

    def follow() -> None:
        nonlocal place
        ended = False
        while not ended:
            ended = done.wait(_POLL)
            if log.exists():
                with log.open() as file:
                    file.seek(place)
                    for line in file:
                        report(line.rstrip("\n"))
                    place = file.tell()

    thread = threading.Thread(target=follow, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
