"""The last row of every model, for millions of models: what resuming and counting need of a ledger."""

from __future__ import annotations

import collections
from array import array
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.ledger.compact import batches
from render.failures import FailureClass

_NUMBERS = ["input_size", "input_mtime_ns", "bytes"]
_COLUMNS = ["uid", "ok", "kind", "message", "config_hash", "companions", "attempt", *_NUMBERS]


class Seen(NamedTuple):
    """A model's last row, reduced to what resuming needs."""

    ok: bool
    kind: str
    message: str | None  # of a list's unusable rows only
    config_hash: str
    input_size: int
    input_mtime_ns: int
    companions: str | None
    bytes: int
    attempt: int


class Known:
    """uid -> Seen. Columns and one dictionary: some 250 bytes per model."""

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
        """Add newer rows."""
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
            if kind == FailureClass.INVALID or companions:
                self._texts[number] = (message if kind == FailureClass.INVALID else None, companions)

    def get(self, uid: str) -> Seen | None:
        """The model's last row; None if no run has processed it."""
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
        """(models that are ok, failures by class)."""
        at = np.fromiter(self._index.values(), np.int64, len(self._index))
        ok = np.frombuffer(self._ok, np.uint8)[at].astype(bool) if len(at) else np.zeros(0, bool)
        kinds, counts = np.unique(np.array(self._kind)[at[~ok]], return_counts=True)
        names = (self._names[kind] or FailureClass.ERROR for kind in kinds)
        return int(ok.sum()), collections.Counter(dict(zip(names, counts.tolist(), strict=True)))

    def _encoded(self, column: pa.Array) -> bytes:
        """Strings as int32 codes into `_names`."""
        encoded = column.fill_null("").dictionary_encode()
        for name in encoded.dictionary.to_pylist():
            if name not in self._codes:
                self._codes[name] = len(self._names)
                self._names.append(name)
        codes = np.array([self._codes[name] for name in encoded.dictionary.to_pylist()], np.int32)
        return codes[encoded.indices.to_numpy()].astype(np.int32).tobytes() if len(column) else b""
