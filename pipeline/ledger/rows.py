"""What happened to every model: append-only JSON lines in OUT/ledger/STAGE/, one file per run.

The driver is a file's only writer, files sort by time, and a model's last row counts. A file begins with a
line about its run (what it was given, when it began) and ends with one about how it ended. A torn last line,
which a killed driver leaves, is skipped. There is no database: the files lie on the output's own disk, which
may be shared. `pipeline.ledger.writer` writes them, `pipeline.ledger.compact` folds finished runs into one
file and reads both.
"""

from __future__ import annotations

import datetime
import io
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from fuse.dataset import storage
from render.failures import FailureClass, Status

_NAME = "%Y%m%dT%H%M%S.%f"
_RUN_FILE = re.compile(r"\d{8}T\d{6}\.\d{6}-[0-9a-z]{1,32}(\.part\d{6})?\.jsonl")


@dataclass(frozen=True)
class Row:
    """One model's result in one stage."""

    uid: str
    source: str
    status: Status
    kind: FailureClass | None = None
    """Written as "class"."""
    message: str | None = None
    returncode: int | None = None
    signal: str | None = None
    seconds: float = 0.0
    steps: dict[str, float] = field(default_factory=dict)
    """Seconds by step."""
    peak_rss_mib: int = 0
    log_tail: str | None = None
    confinement: str | None = None
    """The level that the model's process reached."""
    config_hash: str = ""
    input_sha256: str | None = None
    input_size: int | None = None
    input_mtime_ns: int | None = None
    companions: list[list[Any]] | None = None
    """[path relative to the input's folder, size, mtime_ns] of each file that the input names."""
    companions_sha256: str | None = None
    bytes: int | None = None
    """Of the output."""
    attempt: int = 1
    record: dict[str, Any] = field(default_factory=dict)
    """What the worker reported."""
    time: float = field(default=0.0, compare=False)
    """When the row was written, seconds since the epoch."""

    @property
    def ok(self) -> bool:
        """Whether the model succeeded."""
        return self.status is Status.OK

    def to_json(self) -> str:
        """The row's line in a run file."""
        values = {("class" if key == "kind" else key): value for key, value in asdict(self).items()}
        return json.dumps({key: value for key, value in values.items() if value not in (None, {})})

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Row:
        """A row from a line's values; unknown fields are left out. ValueError for one of another type."""
        known = {key: value for key, value in values.items() if key in _FIELDS}
        known["kind"] = failure_class(known.get("kind")) if known["status"] != Status.OK else None
        return _ROW.validate_python(known)


_FIELDS = {entry.name for entry in fields(Row)}
_ROW = TypeAdapter(Row)


def failure_class(text: Any) -> FailureClass:
    """The class of a failed row; one that this release does not know is an `error`."""
    return FailureClass(text) if isinstance(text, str) and text in _CLASSES else FailureClass.ERROR


_CLASSES = frozenset(FailureClass)


@dataclass(frozen=True)
class Run:
    """What a run recorded about itself."""

    name: str
    stage: str = ""
    models: str = ""
    """As the user gave it."""
    given: int = 0
    """Models."""
    todo: int = 0
    """Of those, not done before."""
    began: float = 0.0
    """Seconds since the epoch."""
    ended: float | None = None
    exit: int | None = None


def run_name(time: datetime.datetime, suffix: str) -> str:
    """A run's name: names sort by time."""
    return f"{time:{_NAME}}-{suffix}"


def began(run: str) -> datetime.datetime | None:
    """When a run began, from its name; None where the name is not of that form."""
    try:
        return datetime.datetime.strptime(run.rpartition("-")[0], _NAME).replace(tzinfo=datetime.UTC)
    except ValueError:
        return None


def run_of(path: Path) -> str:
    """The run that a file belongs to."""
    return path.name.removesuffix(".jsonl").rpartition(".part")[0] or path.name.removesuffix(".jsonl")


def is_run_file(name: str) -> bool:
    """Whether a file's name is a run's: no other file in a ledger's folder is removed."""
    return bool(_RUN_FILE.fullmatch(name))


def read_lines(path: Path, start: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """(offset after the line, its values) from byte `start` on: a reader of a growing file continues there.

    Incomplete lines, and lines that are no JSON objects, are skipped.
    """
    with path.open("rb") if storage.is_local(path) else io.BytesIO(storage.read_bytes(path)) as file:
        file.seek(start)
        for line in file:
            start += len(line)
            values = _parse(line)
            if values is not None:
                yield start, values


def is_row(values: dict[str, Any]) -> bool:
    """Whether a line is a model's row rather than a run's."""
    return "uid" in values and "source" in values and "status" in values


def _parse(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None
