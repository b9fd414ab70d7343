"""A run's configuration: a frozen model a stage, read from YAML, overridden by flags, hashed into every key.

render: {views: 20, resolution: 256}
fuse: {points: 4096}
engine: {workers: 2, timeout: 300}
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fuse.config import FuseConfig
from pipeline.sandbox.confine import Confine
from render.config import RenderConfig
from render.failures import UserError
from training.config import TrainConfig


class EngineConfig(BaseModel):
    """How the work is run. Nothing here changes a byte of what comes out."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    workers: int = Field(default=0, ge=0)
    """Models in flight at once. 0: as many as the cores allow."""
    threads: int = Field(default=1, ge=0)
    """Cores a worker uses. 0: the cores are shared evenly among the workers."""
    timeout: float = Field(default=900, gt=0)
    """Seconds that one model may take before its process is killed."""
    start_timeout: float = Field(default=180, gt=0)
    """Seconds that a fresh process may take to load Blender."""
    memory_mib: int = Field(default=8192, ge=64)
    """Resident memory, in MiB, above which a model's process is killed."""
    recycle_models: int = Field(default=200, ge=1)
    """A process is replaced after this many models, because native libraries leak."""
    recycle_mib: int = Field(default=3072, ge=64)
    """A process that still holds more MiB than this after a model is replaced."""
    confine: Confine = "auto"
    """Take from a model's process all files but its own, the network and other processes. `auto` does what
    the kernel allows and says what is missing; `require` stops instead. See docs/security.md."""
    on_existing: Literal["skip", "retry-failed", "overwrite"] = "skip"
    """Models that this configuration has judged already: leave them, do the failed again, or do all again."""


class RunConfig(BaseModel):
    """Everything that a run can be told: the YAML file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    render: RenderConfig = Field(default_factory=RenderConfig)
    fuse: FuseConfig = Field(default_factory=FuseConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    engine: EngineConfig = Field(default_factory=EngineConfig)


def load(path: Path) -> RunConfig:
    """Read a YAML file; UserError names the file, the key and what it may be."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(
            f"{path}: expected sections {', '.join(RunConfig.model_fields)}, found {type(values).__name__}."
        )
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, RunConfig)}") from error


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """A validation error as one line: `render.views: Input should be ..., not 0`, one clause a wrong key."""
    return "; ".join(_clause(dict(problem), model) for problem in error.errors())


def config_hash(config: BaseModel) -> str:
    """sha256 hex of the configuration's canonical JSON. Part of every model's key."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _clause(problem: dict[str, Any], model: type[BaseModel]) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{name}: no such key; known here: {', '.join(_known(model, problem['loc'][:-1]))}"
    return f"{name}: {problem['msg']}, not {problem['input']!r}"


def _known(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The keys of the section at `location`."""
    for part in location:
        inner = model.model_fields[part].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        model = inner
    return list(model.model_fields)
