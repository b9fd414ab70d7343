"""Writes a run's ledger: lines appended to a local file, or a series of objects in a store.

An object store cannot append. There a run is a series of objects (`RUN.part000000.jsonl`), of which only the
newest grows: it is rewritten every few seconds.
"""

from __future__ import annotations

import datetime
import json
import os
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from fuse.dataset import storage
from pipeline.errors import writing
from pipeline.ledger.compact import run_files
from pipeline.ledger.rows import Row, began, run_name, run_of

_SYNC_EVERY = 1.0  # seconds; a row lost in a power cut is recovered from the output itself
_PUT_EVERY = 5.0  # seconds between PUTs of the object that grows
_OBJECT = 512 << 10  # bytes after which the next object is begun
_TAIL = 8000  # characters of a log


class Ledger:
    """A run's own file, open for appending."""

    def __init__(self, folder: Path, run: str):
        self.folder, self.run = folder, run
        self.path = folder / f"{run}.jsonl"
        self._lines: _File | _Objects | None = None

    def begin(self, stage: str, models: str, given: int, todo: int) -> None:
        """Record what the run is about. Creates the file: a run without work leaves none."""
        about = {"stage": stage, "models": models, "given": given, "todo": todo, "time": _now()}
        self._write({"run": self.run, **about})

    def append(self, row: Row) -> None:
        """Write one row."""
        self._open().write(_stamped(row).to_json() + "\n")

    def end(self, exit_code: int) -> None:
        """Record how the run ended, if it began."""
        if self._lines is not None:
            self._write({"end": self.run, "exit": exit_code, "time": _now()})

    def close(self) -> None:
        """Write what is held back, and close the file."""
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
    """Lines in a store: a thread rewrites the newest object every few seconds."""

    def __init__(self, folder: Path, run: str):
        self._folder, self._run, self._number = folder, run, 0
        self._held = bytearray()
        self._put = 0  # bytes of the current object that the store has
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
                    # the next PUT has these lines too; `close` raises if the last one fails

    def _flush(self) -> None:
        if len(self._held) > self._put:
            name = f"{self._run}.part{self._number:06d}.jsonl"
            storage.publish_bytes(bytes(self._held), self._folder / name)
            self._put = len(self._held)


def new_run(folder: Path) -> str:
    """A name for a run that sorts after all others, whatever the clock says."""
    now = datetime.datetime.now(datetime.UTC)
    newest = began(max(map(run_of, run_files(folder)), default=""))
    if newest is not None and newest >= now:
        now = newest + datetime.timedelta(microseconds=1)
    return run_name(now, uuid.uuid4().hex[:6])


def _now() -> float:
    return round(time.time(), 3)


def _stamped(row: Row) -> Row:
    return replace(row, time=_now(), log_tail=row.log_tail[-_TAIL:] if row.log_tail else None)
