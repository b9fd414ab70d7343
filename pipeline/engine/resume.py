"""What earlier runs have settled: the decision, for millions of models, what a run has still to do.

    known = Known.load(layout.ledger("render"))             # the last word on every model, in columns
    resume = Resume(stage.config_hash, known, "skip", stored)
    todo = resume.todo(tasks)                               # tasks are made when their turn comes

A model is settled by a row of the same configuration whose input is unchanged (size and time, of the file
and of all that it names) and whose output is in place.
"""

from __future__ import annotations

import collections
import json
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.engine.tasks import Tasks, Todo
from pipeline.inputs.file_stats import LocalStamps, Stamps
from pipeline.ledger.compact import batches

_AGAIN = {"infrastructure", "missing"}  # these say nothing about the model: every run tries them again
_NUMBERS = ["input_size", "input_mtime_ns", "bytes"]
_COLUMNS = ["uid", "ok", "kind", "message", "config_hash", "companions", "attempt", *_NUMBERS]

Stored = Callable[[str, int | None], bool]
"""Whether the output of a uid, of so many bytes, is there."""


class Seen(NamedTuple):
    """The last row of a model, as far as resuming needs it."""

    ok: bool
    kind: str
    message: str | None  # of rejections
    config_hash: str
    input_size: int
    input_mtime_ns: int
    companions: str | None
    bytes: int
    attempt: int


class Known:
    """uid -> Seen. Columns and one dictionary: some 250 bytes a model."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._ok = bytearray()
        self._names: list[str] = []
        self._codes: dict[str, int] = {}  # of kinds and configuration hashes
        self._kind, self._config, self._attempt = array("i"), array("i"), array("i")
        self._size, self._mtime, self._bytes = array("q"), array("q"), array("q")
        self._texts: dict[int, tuple[str | None, str | None]] = {}  # few rows have them: message, companions

    @classmethod
    def load(cls, folder: Path) -> Known:
        """Read OUT/ledger/STAGE."""
        known = cls()
        for batch in batches(folder, _COLUMNS):
            known.add(batch)
        return known

    def __len__(self) -> int:
        return len(self._index)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in newer rows."""
        first = len(self._ok)
        self._index.update(zip(batch["uid"].to_pylist(), range(first, first + len(batch)), strict=True))
        self._ok += batch["ok"].cast(pa.uint8()).to_numpy().tobytes()
        self._kind.frombytes(self._encoded(batch["kind"]))
        self._config.frombytes(self._encoded(batch["config_hash"]))
        for column, name in zip((self._size, self._mtime, self._bytes), _NUMBERS, strict=True):
            column.frombytes(batch[name].fill_null(-1).to_numpy().tobytes())
        self._attempt.frombytes(batch["attempt"].fill_null(1).to_numpy().tobytes())
        texts = (batch[name].to_pylist() for name in ("kind", "message", "companions"))
        for number, (kind, message, companions) in enumerate(zip(*texts, strict=True), first):
            if kind == "invalid" or companions:
                self._texts[number] = (message if kind == "invalid" else None, companions)

    def get(self, uid: str) -> Seen | None:
        """The model's last row; None if no run has judged it."""
        at = self._index.get(uid)
        if at is None:
            return None
        message, companions = self._texts.get(at, (None, None))
        return Seen(
            bool(self._ok[at]),
            self._names[self._kind[at]],
            message,
            self._names[self._config[at]],
            self._size[at],
            self._mtime[at],
            companions,
            self._bytes[at],
            self._attempt[at],
        )

    def totals(self) -> tuple[int, collections.Counter[str]]:
        """How many are ok, and failures by class."""
        at = np.fromiter(self._index.values(), np.int64, len(self._index))
        ok = np.frombuffer(self._ok, np.uint8)[at].astype(bool) if len(at) else np.zeros(0, bool)
        kinds, counts = np.unique(np.array(self._kind)[at[~ok]], return_counts=True)
        names = (self._names[kind] or "error" for kind in kinds)
        return int(ok.sum()), collections.Counter(dict(zip(names, counts.tolist(), strict=True)))

    def _encoded(self, column: pa.Array) -> bytes:
        """Strings as int32 codes of our own."""
        encoded = column.fill_null("").dictionary_encode()
        for name in encoded.dictionary.to_pylist():
            if name not in self._codes:
                self._codes[name] = len(self._names)
                self._names.append(name)
        codes = np.array([self._codes[name] for name in encoded.dictionary.to_pylist()], np.int32)
        return codes[encoded.indices.to_numpy()].astype(np.int32).tobytes() if len(column) else b""


@dataclass
class Resume:
    """Sorts tasks into those that an earlier run settled and those to do."""

    config_hash: str
    known: Known
    on_existing: str
    stored: Stored
    stamps: Stamps | LocalStamps = field(default_factory=LocalStamps)
    kept: int = 0  # settled and well
    left_failed: int = 0  # settled, and failed

    def todo(self, tasks: Tasks) -> Todo:
        """What is not settled; counts the others."""
        chosen = array("q")
        for number, (uid, path) in enumerate(tasks.heads()):
            if not self._count(uid, path):
                chosen.append(number)
        return Todo(tasks, chosen)

    def settled(self, uid: str, path: str) -> Seen | None:
        """The row that settles the task with this input; None if it is to be done."""
        seen = self.known.get(uid)
        if seen is None or self.on_existing == "overwrite" or seen.kind in _AGAIN:
            return None
        if seen.config_hash != self.config_hash or not self._unchanged(path, seen):
            return None
        if seen.ok:
            return seen if self.stored(uid, seen.bytes) else None
        return seen if self.on_existing == "skip" else None

    def _count(self, uid: str, path: str) -> bool:
        seen = self.settled(uid, path)
        self.kept += seen is not None and seen.ok
        self.left_failed += seen is not None and not seen.ok
        return seen is not None

    def _unchanged(self, path: str, seen: Seen) -> bool:
        if not self.stamps.match(path, seen.input_size, seen.input_mtime_ns):
            return False
        folder = path.rpartition("/")[0]
        others = json.loads(seen.companions) if seen.companions else ()
        return all(self.stamps.match(_join(folder, name), size, mtime) for name, size, mtime in others)


def _join(folder: str, name: str) -> str:
    """A file's path by its name from the model's folder; a store knows no `..`."""
    while name.startswith("../"):
        folder, name = folder.rpartition("/")[0], name[3:]
    return f"{folder}/{name}"
