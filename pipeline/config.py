"""The engine's configuration, and what all configurations share: their hash, and errors in one line."""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.sandbox.confine import Confine

_SECTION = {"model_type", "model_attributes_type", "dict_type"}
"""pydantic's names for something else where a section belongs."""


class EngineConfig(BaseModel):
    """How the work is run. Nothing here changes a byte of the output."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    workers: int = Field(default=0, ge=0)
    """Models processed at once. 0: as many as the cores allow."""
    threads: int = Field(default=1, ge=0)
    """Cores per worker. 0: the cores are shared evenly among the workers."""
    timeout: float = Field(default=900, gt=0)
    """Seconds per model before its process is killed."""
    start_timeout: float = Field(default=180, gt=0)
    """Seconds for a new process to load Blender."""
    memory_mib: int = Field(default=8192, ge=64)
    """Resident memory, in MiB, above which a model's process is killed."""
    recycle_models: int = Field(default=200, ge=1)
    """Models after which a process is replaced, because native libraries leak."""
    recycle_mib: int = Field(default=3072, ge=64)
    """Resident memory, in MiB, above which a process is replaced after its model."""
    confine: Confine = "auto"
    """Confine each model's process to its own files, without network or other processes. `auto` does what
    the kernel allows and reports what is missing; `require` stops instead. See docs/security.md."""
    on_existing: Literal["skip", "retry-failed", "overwrite"] = "skip"
    """Models processed before with this configuration: skip them, retry the failed ones, or redo all."""


def explain(error: ValidationError, model: type[BaseModel], spell: Callable[[str], str] = str) -> str:
    """A validation error of `model` in one line, a clause per wrong key: `views: should be 1, not 0`.

    `spell` makes of a key what people write: its flag.
    """
    return "; ".join(_clause(dict(problem), model, spell) for problem in error.errors(include_url=False))


def config_hash(config: BaseModel) -> str:
    """sha256 hex of the configuration's canonical JSON. Part of every model's key."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _clause(problem: dict[str, Any], model: type[BaseModel], spell: Callable[[str], str]) -> str:
    name = spell(".".join(str(part) for part in problem["loc"])) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        return f"{name}: no such key; known here: {', '.join(_known(model, problem['loc'][:-1]))}"
    if problem["type"] in _SECTION:
        return f"{name}: should have keys with values, not {reprlib.repr(problem['input'])}"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if problem["type"] == "value_error":  # a check of several fields: the message names them
        return f"{name}: {message}" if name else message
    return f"{name}: {message}, not {reprlib.repr(problem['input'])[:200]}"


def _known(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The keys of the section at `location`."""
    for part in location:
        inner = model.model_fields[part].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        model = inner
    return list(model.model_fields)
