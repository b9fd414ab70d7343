"""What a catalog says of one model, and how its files are read."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.output.licenses import License
from render.failures import DAMAGE, UserError


@dataclass(frozen=True)
class Entry:
    """One model of a catalog."""

    path: str
    """Relative to the collection's folder."""
    caption: str | None
    category: str | None
    license: License
    uid: str | None = None
    """The collection's own name of the model; None: made from its path."""


def read_json(path: Path) -> Any:
    """A JSON file, gzipped by its name. UserError where it is none."""
    try:
        data = path.read_bytes()
        return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (OSError, *DAMAGE) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}). Download it again.") from None


def read_json_lines(path: Path) -> list[Any]:
    """A file of JSON lines, gzipped by its name. UserError where it is none."""
    try:
        data = path.read_bytes()
        text = gzip.decompress(data) if path.suffix == ".gz" else data
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, *DAMAGE) as error:
        raise UserError(f"{path}: cannot be read as lines of JSON ({error}). Download it again.") from None
