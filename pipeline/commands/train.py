"""`insideout train DATASET`: shards to a point-cloud generator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import DisallowNone, Positional

from pipeline.arguments import ConfigFile, Dataset
from pipeline.terminal import show
from render.failures import at_least
from training.config import TrainConfig


@dataclass(frozen=True)
class Command:
    """Train a point-cloud generator on a dataset. Running it again continues from the newest checkpoint."""

    dataset: Positional[Dataset]
    """The dataset folder."""
    config: ConfigFile = None
    """A YAML file with sections render, fuse, train and engine, or a recipe's name; flags override it."""
    train: TrainConfig = TrainConfig()
    run: str = "default"
    """Name of the run: checkpoints go to DATASET/checkpoints/RUN."""
    checkpoints: DisallowNone[Path | None] = None
    """Folder of the runs; None: DATASET/checkpoints. Required if the dataset is in an object store."""
    resume: bool = True
    """Continue from the run's newest checkpoint."""
    processes: int = 0
    """Number of processes, one GPU each if available, on this machine or the cluster that RAY_ADDRESS names;
    lost ones are replaced. 0: train in this process."""
    max_failures: int = 3
    """Maximum number of times that lost processes are replaced."""

    def __post_init__(self) -> None:
        at_least("processes", self.processes, 0)
        at_least("max_failures", self.max_failures, 0)


def run(command: Command) -> int:
    """Train, and print the last checkpoint."""
    where = (command.train, command.dataset, command.run, command.resume)
    if command.processes:
        from pipeline.stages.train import train as launch

        path = launch(*where, command.processes, command.max_failures, show, command.checkpoints)
    else:
        from training.train import train

        path = train(*where, show, command.checkpoints)
    show(f"train: {path}")
    return 0
