"""`insideout retry DATASET`: process the failed models again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import DisallowNone, Positional, arg

from pipeline.arguments import ConfigFile, Dataset, Models
from pipeline.config import EngineConfig
from pipeline.terminal import show


@dataclass(frozen=True)
class Command:
    """Process failed models again, with the dataset's own configuration; engine flags may differ."""

    dataset: Positional[Dataset]
    """The dataset folder."""
    config: ConfigFile = None
    """A YAML file or a recipe's name; only its section engine is used."""
    running: EngineConfig = EngineConfig()
    models: DisallowNone[Models | None] = None
    """What the models are rendered from; default: what the last run was given."""
    stage: Literal["render", "fuse"] = "render"
    """The stage whose failures are retried."""
    kinds: Annotated[tuple[str, ...], arg(name="class")] = ()
    """Only failures of these classes, e.g. timeout out_of_memory."""


def run(command: Command) -> int:
    """Retry, and print the summary."""
    from pipeline.stages.retry import retry

    summary = retry(command.dataset, command.stage, command.models, command.kinds, command.running)
    show(*(summary.lines("retry") if summary else [f"retry: no failure in {command.stage}."]))
    return summary.exit_code if summary else 0
