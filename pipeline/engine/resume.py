"""Decides what a run still has to do, for millions of models, from what earlier runs recorded.

    known = Known.load(layout.ledger("render"))             # the last row of every model, in columns
    resume = Resume(stage.config_hash, known, "skip", stored)
    todo = resume.todo(tasks)                               # tasks are built when their turn comes

A model is settled by a row of the same configuration whose input is unchanged (size and time, of the file and
of all that it names) and whose output is in place.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.engine.tasks import Tasks, Todo
from pipeline.inputs.file_stats import LocalStamps, Stamps
from pipeline.ledger.known import Known, Seen
from render.failures import DAMAGE, FailureClass

_AGAIN = {FailureClass.INFRASTRUCTURE, FailureClass.MISSING}  # no verdict on the model: every run tries again

Stored = Callable[[str, int | None], bool]
"""Whether the output of a uid, of that many bytes, is in place."""


@dataclass
class Resume:
    """Separates tasks that an earlier run settled from those to do."""

    config_hash: str
    known: Known
    on_existing: str
    stored: Stored
    stamps: Stamps | LocalStamps = field(default_factory=LocalStamps)
    kept: int = 0  # settled: ok
    left_failed: int = 0  # settled: failed

    def todo(self, tasks: Tasks) -> Todo:
        """The tasks that are not settled; counts the others."""
        chosen = array("q")
        for number, (uid, path) in enumerate(tasks.heads()):
            if not self._count(uid, path):
                chosen.append(number)
        return Todo(tasks, chosen)

    def settled(self, uid: str, path: str) -> Seen | None:
        """The row that settles the task of this input; None if it has to be done."""
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
        try:
            others = json.loads(seen.companions) if seen.companions else ()
            return all(self.stamps.match(_join(folder, name), size, mtime) for name, size, mtime in others)
        except DAMAGE:  # no list of them: a damaged ledger
            return False


def _join(folder: str, name: str) -> str:
    """A file's path from its name relative to the model's folder; stores do not resolve `..`."""
    while name.startswith("../"):
        folder, name = folder.rpartition("/")[0], name[3:]
    return f"{folder}/{name}"
