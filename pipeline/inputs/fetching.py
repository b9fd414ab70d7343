"""A remote model and the files that it names, copied to this machine, as they lie to each other there.

    fetched = fetch_model(task.input, task.source, folder, turn)    # fetched.path is the model, local now

Which of the named files it gets is decided by `render.references.closure`, as for a local model, and the
confined child finds the names; only what lies in the tree is for the store to say.
"""

from __future__ import annotations

import itertools
import posixpath
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fuse.dataset import storage
from pipeline.inputs.admission import tree_of
from pipeline.inputs.reader import Reader
from render.references.closure import MOST_COMPANIONS, references

_MOST_ENTRIES = 10_000  # of the model's folder and of its parent, for names that lead elsewhere


@dataclass
class Fetched:
    """A model on this machine."""

    path: Path
    stamps: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """(size, mtime_ns) of each file in the store, by its path here."""


def fetch_model(remote: Path, source: str, folder: Path, reader: Reader) -> Fetched:
    """Fetch the model at `remote`, recorded as `source`, and its companions into `folder`.

    OSError where the store does not give it; FileNotFoundError where it is not there.
    """
    path = folder / _local_name(remote, source)
    tree, _ = tree_of(path, source)
    home = posixpath.dirname(path.relative_to(tree).as_posix())
    there = RemoteTree(remote.parents[len(PurePosixPath(home).parts)], home)
    fetched, waiting = Fetched(path), [path]
    while waiting and len(fetched.stamps) <= MOST_COMPANIONS:
        file = waiting.pop()
        if file not in fetched.stamps:
            source_file = there.root / file.relative_to(tree).as_posix()
            with reader.paused():
                fetched.stamps[file] = storage.stamp(source_file)
                storage.fetch(source_file, file)
            found = references(file, tree, there, reader.scan, reader.check)
            waiting += [one.path for one in found if one.path is not None]
    return fetched


class RemoteTree:
    """The files of a store below `root`, for `render.references.lookup`; the model lies in `home`."""

    def __init__(self, root: Path, home: str):
        self.root, self.home = root, home
        self._listings: dict[str, dict[str, None]] = {}
        self._asked: dict[str, bool] = {}

    def has(self, path: str) -> bool:
        """As `Tree.has`."""
        listed = self._listing(self.home)
        if _is_below(path, self.home) and len(listed) < _MOST_ENTRIES:
            return path in listed
        if path not in self._asked:
            self._asked[path] = (self.root / path).is_file()
        return self._asked[path]

    def refusal(self, path: str) -> str | None:
        """As `Tree.refusal`: a store has neither links nor devices."""
        return "" if self.has(path) else None

    def files(self, near: str) -> list[str]:
        """As `Tree.files`: the home's, and those of the folder above it."""
        around = {**self._listing(self.home), **self._listing(posixpath.dirname(self.home))}
        return sorted(around)

    def _listing(self, folder: str) -> dict[str, None]:
        if folder not in self._listings:
            entries = itertools.islice(
                storage.listing(self.root / folder if folder else self.root), _MOST_ENTRIES
            )
            self._listings[folder] = {posixpath.join(folder, entry.name): None for entry in entries}
        return self._listings[folder]


def _is_below(path: str, folder: str) -> bool:
    return not folder or path.startswith(f"{folder}/")


def _local_name(remote: Path, source: str) -> str:
    """Where the model goes below the folder: as its list knows it, so that its tree is the same."""
    parts = PurePosixPath(source).parts
    plain = not storage.is_uri(source) and not source.startswith("/") and ".." not in parts
    return source if plain and parts[-1:] == (remote.name,) else remote.name
