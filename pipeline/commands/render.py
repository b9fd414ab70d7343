"""`insideout render MODELS DATASET`: models to view bundles."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from pipeline.arguments import ConfigFile, Dataset, Models
from pipeline.config import EngineConfig
from pipeline.terminal import show
from render.config import RenderConfig


@dataclass(frozen=True)
class Command:
    """Render a view bundle of every model. Running it again skips what is done."""

    models: Positional[Models]
    """A folder of models, searched recursively; a CSV, JSONL or Parquet list with a `path` column; or one
    model. A path or a URI."""
    dataset: Positional[Dataset]
    """The dataset folder, which is created if needed. A path or a URI, such as s3://bucket/folder."""
    require_license: bool = False
    """Reject models whose license is unknown: the list's column `license` names it."""
    config: ConfigFile = None
    """A YAML file with sections render, fuse, train and engine, or a recipe's name; flags override it."""
    render: RenderConfig = RenderConfig()
    running: EngineConfig = EngineConfig()


def run(command: Command) -> int:
    """Render, and print the summary."""
    from pipeline.stages.render import render

    summary = render(
        command.models,
        command.dataset,
        command.render,
        command.running,
        require_license=command.require_license,
    )
    show(*summary.lines("render"))
    return summary.exit_code
