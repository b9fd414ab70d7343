"""Files of a model's tree, put where the confined child may read them: their bytes are for the child alone.

    placed = PlacedTree(tree, folders, reader)
    placed.scan(file)                   # the names in a file, which is put there first
    placed.finish(file, references)     # its copy, and what it names, are as an importer should find them

What is placed is what an importer opens: where a name leads elsewhere than to the file that it means, the
placed copy names that file, or the file is placed where the name leads. No copy can change the original.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from pipeline.inputs.reader import Reader
from pipeline.inputs.workspace import Folders
from render.failures import FailureClass, ModelFailure
from render.references.closure import Reference
from render.references.link_scan import Scan
from render.references.orders import Edits, RewriteOrder
from render.references.redaction import safe_path, spelled_for
from render.references.spelling import is_text, spelled

_MOST_BYTES = 32 << 30  # of one model's files
_FICLONE = 0x40049409
_REWRITTEN = ("obj", "mtl", "gltf", "glb", "usda", "dae")
"""Formats whose importers find a file only where its name leads, and whose names can be replaced."""


class PlacedTree:
    """The files of `tree` that have been placed, as they lie to each other."""

    def __init__(self, tree: Path, folders: Folders, reader: Reader):
        self.tree, self.folders, self.reader = tree, folders, reader
        self._scans: dict[Path, Scan] = {}
        self._bytes = 0

    def place(self, file: Path) -> Path:
        """Where a file of the tree goes; one whose name is not UTF-8 gets a name that is."""
        return self.folders.input / text_path(str(file.relative_to(self.tree)))

    def put(self, file: Path) -> Path:
        """Place a file that may be read, unless it is there; ModelFailure where all become too many bytes."""
        target = self.place(file)
        if not os.path.lexists(target):
            self._bytes += file.stat().st_size
            if self._bytes > _MOST_BYTES:
                message = f"{spelled(file.name)}: with it, the model's files exceed {_MOST_BYTES >> 30} GiB"
                raise ModelFailure(FailureClass.INVALID, message)
            put(file, target, self.reader)
        return target

    def scan(self, file: Path) -> Scan:
        """The names in a file, which is placed for that."""
        self._scans[file] = self.reader.scan(self.put(file))
        return self._scans[file]

    def finish(self, file: Path, found: list[Reference]) -> None:
        """Have the reader decode and redact a placed file, and its names lead to what is placed."""
        self.put(file)
        scan = self._scans.get(file)
        if scan is None:  # an image
            return
        edits = self._edits(file, scan.kind, found)
        foreign = [name for one in found for name in one.foreign]
        if not (edits or foreign or scan.coded):
            return
        rewritten = self.folders.work / "rewritten"
        order = RewriteOrder.of(self.place(file), rewritten, scan.kind, foreign, edits)
        if self.reader.rewrite(order).changed:
            take(rewritten, self.place(file))

    def _edits(self, file: Path, kind: str, found: Iterable[Reference]) -> Edits:
        """What to write in a file's names; what it names is placed where the other names lead."""
        edits: Edits = {}
        for one in found:
            if one.path is None or (one.exact and self.place(one.path) == self._as_is(one.path)):
                continue
            if kind in _REWRITTEN and one.spans:
                name = self._name_for(one.path, self.place(file), kind)
                for span in one.spans:
                    edits.setdefault(span, []).append((one.written, name))
            else:
                self._put_again(one.path, self._as_is(one.leads or one.path))
        return edits

    def _as_is(self, file: Path) -> Path:
        return self.folders.input / file.relative_to(self.tree)

    def _name_for(self, file: Path, user: Path, kind: str) -> str:
        """What a placed file `user` of format `kind` calls `file`."""
        name = os.path.relpath(self.place(file), user.parent)
        written = spelled_for(kind, name)
        if written is None:
            written = safe_path(name)
            self._put_again(file, user.parent / written)
        return written

    def _put_again(self, file: Path, target: Path) -> None:
        """Another place of a companion, unless something is there."""
        if target.is_relative_to(self.folders.input) and not os.path.lexists(target):
            put(file, target, self.reader)


def put(file: Path, target: Path, reader: Reader) -> None:
    """A hard link of a file where its reader cannot change it; else a copy, which shares blocks if it can."""
    real, may_link = file.resolve(), reader.seals_input()
    with reader.paused():
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (may_link and _link(real, target)) and not _clone(real, target):
            shutil.copyfile(real, target)


def take(made: Path, target: Path, kind: int = stat.S_IFREG) -> None:
    """Move the file that a reader made, or the folder (S_IFDIR), to where it cannot change it."""
    if not os.path.lexists(made) or stat.S_IFMT(made.lstat().st_mode) != kind:
        raise ModelFailure(FailureClass.CRASH, "The process broke the protocol: it made no file or folder.")
    os.replace(made, target)


def text_path(path: str) -> str:
    """The path itself where it is UTF-8, else one that is."""
    return path if is_text(path) else safe_path(path)


def _link(file: Path, target: Path) -> bool:
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without hard links
        return False
    return True


def _clone(file: Path, target: Path) -> bool:
    """Whether the file system has made a copy that shares the file's blocks."""
    with file.open("rb") as source, target.open("wb") as copy:
        try:
            fcntl.ioctl(copy.fileno(), _FICLONE, source.fileno())
        except OSError:
            return False
    return True
