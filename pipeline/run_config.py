"""The YAML file of a run: a section per stage and one for the engine, each a frozen model.

render: {views: 20, resolution: 256}
fuse: {points: 4096}
engine: {workers: 2, timeout: 300}

The recipes of `configs/` travel with the package and are found by name: `--config quickstart`.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fuse.config import FuseConfig
from pipeline.config import EngineConfig, explain
from render.config import RenderConfig
from render.failures import DAMAGE, UserError
from training.config import TrainConfig


class RunConfig(BaseModel):
    """Everything that a run can be configured with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    render: RenderConfig = Field(default_factory=RenderConfig)
    fuse: FuseConfig = Field(default_factory=FuseConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    engine: EngineConfig = Field(default_factory=EngineConfig)


def recipes() -> dict[str, Path]:
    """Name -> file of every recipe that we ship: `configs/` in a checkout, else the installed package's."""
    here = Path(__file__).parent
    checkout = here.parent / "configs"
    folder = checkout if checkout.is_dir() else here / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load(path: Path) -> RunConfig:
    """Read a YAML file or a recipe by its name; UserError names the file, the key and what it may be."""
    path = path if path.exists() else recipes().get(str(path), path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        known = "" if path.suffix else f" Recipes: {', '.join(recipes())}."
        raise UserError(f"{path}: cannot be read ({error.strerror}).{known}") from error
    except RecursionError:
        raise UserError(f"{path}: not a configuration: it is nested too deeply.") from None
    except (yaml.YAMLError, *DAMAGE) as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(
            f"{path}: expected sections {', '.join(RunConfig.model_fields)}, found {type(values).__name__}."
        )
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, RunConfig)}") from error
