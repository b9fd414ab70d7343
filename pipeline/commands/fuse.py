"""`insideout fuse DATASET`: view bundles to cloud shards."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from fuse.config import FuseConfig
from pipeline.arguments import ConfigFile, Dataset
from pipeline.config import EngineConfig
from pipeline.terminal import show


@dataclass(frozen=True)
class Command:
    """Fuse a dataset's view bundles into colored point clouds, in Parquet shards."""

    dataset: Positional[Dataset]
    """The dataset folder."""
    config: ConfigFile = None
    """A YAML file with sections render, fuse, train and engine, or a recipe's name; flags override it."""
    fuse: FuseConfig = FuseConfig()
    running: EngineConfig = EngineConfig()


def run(command: Command) -> int:
    """Fuse, and print the summary."""
    from pipeline.stages.fuse import fuse

    summary = fuse(command.dataset, command.fuse, command.running)
    show(*summary.lines("fuse"))
    return summary.exit_code
