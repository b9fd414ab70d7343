"""What happened to every model: append-only JSON lines below OUT/ledger/STAGE/, one file a run.

The driver is a file's only writer, files sort by time, and a model's last row is the one that counts. A file
begins with a line about its run (what it was given, when it began) and ends with one about its end; a torn
last line, which a killed driver leaves, is skipped. No database: the files lie on the output's own disk, and
that may be shared. An object store cannot append: there a run is a row of objects (`RUN.part000000.jsonl`),
of which only the newest grows, by being put anew. `pipeline.ledger.compact` folds finished runs into one file.
"""

from __future__ import annotations

import datetime
import io
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fuse.dataset import storage
from pipeline.errors import writing

_SYNC_EVERY = 1.0  # seconds; a row lost with the power is found again in the output itself
_PUT_EVERY = 5.0  # seconds between PUTs of the object that grows
_OBJECT = 512 << 10  # bytes after which the next object is begun
_NAME = "%Y%m%dT%H%M%S.%f"
_TAIL = 8000  # characters of a log


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
    companions: list[list[Any]] | None = None  # [path from the input's folder, size, mtime_ns]
    companions_sha256: str | None = None
    bytes: int | None = None  # of the output
    attempt: int = 1
    record: dict[str, Any] = field(default_factory=dict)  # what the worker said
    time: float = field(default=0.0, compare=False)  # when it was written, seconds since the epoch

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
        self.folder, self.run = folder, run
        self.path = folder / f"{run}.jsonl"
        self._lines: _File | _Objects | None = None

    def begin(self, stage: str, models: str, given: int, todo: int) -> None:
        """Say what the run is about. The file appears now, so a run without work leaves none."""
        about = {"stage": stage, "models": models, "given": given, "todo": todo, "time": _now()}
        self._write({"run": self.run, **about})

    def append(self, row: Row) -> None:
        """Write one row."""
        self._open().write(_stamped(row).to_json() + "\n")

    def end(self, exit_code: int) -> None:
        """Say how the run ended; nothing is written where nothing was begun."""
        if self._lines is not None:
            self._write({"end": self.run, "exit": exit_code, "time": _now()})

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()

    def _write(self, values: dict[str, Any]) -> None:
        self._open().write(json.dumps(values) + "\n")

    def _open(self) -> _File | _Objects:
        if self._lines is None:
            local = storage.is_local(self.folder)
            self._lines = _File(self.path) if local else _Objects(self.folder, self.run)
        return self._lines


class _File:
    """Lines appended to a local file."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("ab", buffering=0)  # a full disk must not leave half a row for later
        self._synced = time.monotonic()

    def write(self, line: str) -> None:
        remaining = memoryview(line.encode())
        with writing(self._path):
            while remaining:
                remaining = remaining[self._file.write(remaining) :]
        if time.monotonic() - self._synced > _SYNC_EVERY:
            self._sync()

    def close(self) -> None:
        self._sync()
        self._file.close()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


class _Objects:
    """Lines put into a store: the newest object grows by being put anew, in a thread, every few seconds."""

    def __init__(self, folder: Path, run: str):
        self._folder, self._run, self._number = folder, run, 0
        self._held = bytearray()
        self._put = 0  # bytes of the present object that the store has
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep_putting, name="ledger", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        with self._lock:
            self._held += line.encode()
            if len(self._held) >= _OBJECT:
                self._flush()
                self._number, self._put = self._number + 1, 0
                self._held.clear()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        with self._lock:
            self._flush()

    def _keep_putting(self) -> None:
        while not self._closed.wait(_PUT_EVERY):
            with self._lock:
                try:
                    self._flush()
                except Exception as error:
                    if not storage.is_fault(error):
                        raise
                    # the next one has its lines too; the last one, in `close`, is not forgiven

    def _flush(self) -> None:
        if len(self._held) > self._put:
            name = f"{self._run}.part{self._number:06d}.jsonl"
            storage.publish_bytes(bytes(self._held), self._folder / name)
            self._put = len(self._held)


@dataclass(frozen=True)
class Run:
    """What a run said of itself."""

    name: str
    stage: str = ""
    models: str = ""  # as the user gave it
    given: int = 0  # models
    todo: int = 0  # of those, not done before
    began: float = 0.0  # seconds since the epoch
    ended: float | None = None
    exit: int | None = None


def new_run(folder: Path) -> str:
    """A run's name; they sort by time, the newest last, whatever the clock says."""
    now = datetime.datetime.now(datetime.UTC)
    newest = began(max(map(run_of, run_files(folder)), default=""))
    if newest is not None and newest >= now:
        now = newest + datetime.timedelta(microseconds=1)
    return f"{now:{_NAME}}-{uuid.uuid4().hex[:6]}"


def began(run: str) -> datetime.datetime | None:
    """When a run began, by its name."""
    try:
        return datetime.datetime.strptime(run.rpartition("-")[0], _NAME).replace(tzinfo=datetime.UTC)
    except ValueError:
        return None


def run_files(folder: Path) -> list[Path]:
    """The runs' files below OUT/ledger/STAGE, oldest first, without those that are folded already."""
    from pipeline.ledger.compact import folded

    done = folded(folder)
    names = (entry.name for entry in storage.listing(folder) if entry.name.endswith(".jsonl"))
    return [folder / name for name in sorted(names) if name not in done]


def run_of(path: Path) -> str:
    """The run that a file belongs to."""
    return path.name.removesuffix(".jsonl").rpartition(".part")[0] or path.name.removesuffix(".jsonl")


def read_lines(path: Path, start: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """(offset behind the line, its values) from byte `start` on, to read on where a growing file ended.

    Lines that are not whole, or no JSON objects, are skipped.
    """
    with path.open("rb") if storage.is_local(path) else io.BytesIO(storage.read_bytes(path)) as file:
        file.seek(start)
        for line in file:
            start += len(line)
            values = _parse(line)
            if values is not None:
                yield start, values


def is_row(values: dict[str, Any]) -> bool:
    """Whether a line's values are a model's row, not a run's."""
    return "uid" in values and "source" in values and "status" in values


def read_rows(folder: Path) -> Iterator[Row]:
    """Every row below OUT/ledger/STAGE, oldest first, in full; of folded runs, what was kept."""
    from pipeline.ledger.compact import compact_rows

    yield from compact_rows(folder)
    for path in run_files(folder):
        for _, values in read_lines(path):
            if is_row(values):
                values["kind"] = values.pop("class", None)
                yield Row(**{key: value for key, value in values.items() if key in _NAMES})


def latest(folder: Path) -> dict[str, Row]:
    """uid -> the last row, in full: for a few thousand models. `pipeline.engine.resume.Known` holds millions."""
    return {row.uid: row for row in read_rows(folder)}


def _now() -> float:
    return round(time.time(), 3)


def _stamped(row: Row) -> Row:
    return replace(row, time=_now(), log_tail=row.log_tail[-_TAIL:] if row.log_tail else None)


def _parse(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None
