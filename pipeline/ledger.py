"""What happened to every model: append-only JSON lines below OUT/ledger/STAGE/, one file a run.

The driver is a file's only writer, files sort by time, and a model's last row is the one that counts. A torn
last line, which a killed driver leaves, is skipped. No database: the files lie on the output's own disk, and
that may be shared.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

_SYNC_EVERY = 1.0  # seconds; a row lost with the power is found again in the output itself


@dataclass(frozen=True)
class Row:
    """One model's verdict in one stage."""

    uid: str
    source: str
    status: str  # ok | failed
    kind: str | None = None  # class of the failure; written as "class"
    message: str | None = None
    returncode: int | None = None
    signal: str | None = None
    seconds: float = 0.0
    steps: dict[str, float] = field(default_factory=dict)  # seconds a step
    peak_rss_mib: int = 0
    log_tail: str | None = None
    confinement: str | None = None  # the level that the model's process reached
    config_hash: str = ""
    input_sha256: str | None = None
    input_size: int | None = None
    input_mtime_ns: int | None = None
    bytes: int | None = None  # of the output
    attempt: int = 1
    record: dict[str, Any] = field(default_factory=dict)  # what the worker said

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    def to_json(self) -> str:
        values = {("class" if key == "kind" else key): value for key, value in asdict(self).items()}
        return json.dumps({key: value for key, value in values.items() if value not in (None, {})})

    @classmethod
    def from_json(cls, line: str | bytes) -> Row:
        values = json.loads(line)
        values["kind"] = values.pop("class", None)
        return cls(**{key: value for key, value in values.items() if key in _NAMES})


_NAMES = {entry.name for entry in fields(Row)}


class Ledger:
    """A run's own file, held open for appending."""

    def __init__(self, folder: Path, run: str):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.run = folder, run
        self.path = folder / f"{run}.jsonl"
        self._file = None
        self._synced = time.monotonic()

    def append(self, row: Row) -> None:
        """Write one row; the file appears with the first, so a run without work leaves none."""
        if self._file is None:
            self._file = self.path.open("a", encoding="utf-8")
        self._file.write(row.to_json() + "\n")
        self._file.flush()
        if time.monotonic() - self._synced > _SYNC_EVERY:
            self._sync()

    def close(self) -> None:
        if self._file is not None:
            self._sync()
            self._file.close()

    def _sync(self) -> None:
        assert self._file is not None
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


def read_rows(folder: Path) -> Iterator[Row]:
    """Every row below OUT/ledger/STAGE, oldest first. Lines that are no whole row are skipped."""
    for path in run_files(folder):
        for _, row in read_file(path):
            yield row


def run_files(folder: Path) -> list[Path]:
    """The runs' files below OUT/ledger/STAGE, oldest first."""
    return sorted(folder.glob("*.jsonl"))


def read_file(path: Path, start: int = 0) -> Iterator[tuple[int, Row]]:
    """(offset behind the row, row) from byte `start` on; a growing file is read on from the last offset."""
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            start += len(line)
            row = _parse(line)
            if row is not None:
                yield start, row


def latest(folder: Path) -> dict[str, Row]:
    """uid -> the last row."""
    return {row.uid: row for row in read_rows(folder)}


def _parse(line: bytes) -> Row | None:
    if not line.endswith(b"\n"):
        return None
    try:
        return Row.from_json(line)
    except (ValueError, TypeError, AttributeError):
        return None
