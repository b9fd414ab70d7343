"""A remote model and the files that it names, brought to this machine, as they lie beside each other there.

    fetched = fetch_model(task.input, task.source, folder)     # fetched.path is the model, local now

Which of the named files it gets is decided by `render.importing.references`, as for a local model: what lies
around the remote one is listed, empty stand-ins are made for what could be meant, and those that are meant
are fetched.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from fuse.dataset import storage
from pipeline.inputs.staging import tree_of
from render.importing.link_scan import names
from render.importing.references import MOST_COMPANIONS, references

_MOST_ENTRIES = 10_000  # of the model's folder, for names whose path is stale
_TILE = re.compile(r"<udim>|<uvtile>")


@dataclass
class Fetched:
    """A model on this machine."""

    path: Path
    stamps: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """(size, mtime_ns) of each file in the store, by its path here."""


def fetch_model(remote: Path, source: str, folder: Path) -> Fetched:
    """Fetch the model at `remote`, known to its list as `source`, and its companions into `folder`.

    OSError where the store does not give it; FileNotFoundError where it is not there.
    """
    return _Fetch(remote, source, folder).all()


class _Fetch:
    def __init__(self, remote: Path, source: str, folder: Path):
        path = folder / _local_name(remote, source)
        self.path, self.home = path, remote.parent
        self.tree, _ = tree_of(path, source)
        self.remote_tree = remote.parents[len(path.relative_to(self.tree).parts) - 1]
        self.found = Fetched(path)
        self._around: dict[str, str] | None = None  # name in the model's folder -> its last part, lower case
        self._stand_ins: set[Path] = set()

    def all(self) -> Fetched:
        """The model, what it names, what that names."""
        waiting = [self._get(self.path)]
        while waiting and len(self.found.stamps) <= MOST_COMPANIONS:
            file = waiting.pop()
            self._stand_in(file, names(file))
            for reference in references(file, self.tree):
                if reference.path is not None and reference.path not in self.found.stamps:
                    waiting.append(self._get(reference.path))
        for path in self._stand_ins - self.found.stamps.keys():
            path.unlink(missing_ok=True)
        return self.found

    def _get(self, path: Path) -> Path:
        remote = self._remote(path)
        self.found.stamps[path] = storage.stamp(remote)
        storage.fetch(remote, path)
        return path

    def _remote(self, path: Path) -> Path:
        return self.remote_tree / path.relative_to(self.tree).as_posix()

    def _stand_in(self, file: Path, wanted: list[str]) -> None:
        """Empty files in place of every remote one that could be meant by the names in `file`."""
        if not wanted:
            return
        spellings = {spelling for name in wanted for spelling in (name, unquote(name))}
        parts = {PurePosixPath(spelling.replace("\\", "/")).name.lower() for spelling in spellings}
        tiles = [_tile_pattern(part) for part in parts if _TILE.search(part)]
        for name, last in self._listing().items():
            if last in parts or any(tile.fullmatch(last) for tile in tiles):
                self._make(self.path.parent / name)
        for spelling in spellings:
            self._try(file.parent, spelling)

    def _try(self, folder: Path, name: str) -> None:
        """Where a name leads to a place of the tree that is not listed: ask for it."""
        steps: list[str] = list(folder.relative_to(self.tree).parts)
        for part in PurePosixPath(name.replace("\\", "/").removeprefix("//")).parts:
            if part == "..":
                if not steps:
                    return
                steps.pop()
            else:
                steps.append(part)
        target = self.tree.joinpath(*steps)
        listed = target.is_relative_to(self.path.parent) and len(self._listing()) < _MOST_ENTRIES
        if not listed and target.is_relative_to(self.tree) and self._remote(target).is_file():
            self._make(target)

    def _make(self, path: Path) -> None:
        if path not in self.found.stamps:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            self._stand_ins.add(path)

    def _listing(self) -> dict[str, str]:
        if self._around is None:
            entries = itertools.islice(storage.listing(self.home), _MOST_ENTRIES)
            self._around = {entry.name: entry.name.rpartition("/")[2].lower() for entry in entries}
        return self._around


def _local_name(remote: Path, source: str) -> str:
    """Where the model goes below the folder: as its list knows it, so that its tree is the same."""
    parts = PurePosixPath(source).parts
    plain = not storage.is_uri(source) and not source.startswith("/") and ".." not in parts
    return source if plain and parts[-1:] == (remote.name,) else remote.name


def _tile_pattern(part: str) -> re.Pattern[str]:
    return re.compile(_TILE.sub(r"(\\d{4}|u\\d+_v\\d+)", re.escape(part)))
