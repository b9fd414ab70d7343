"""Which other files a model names, found in its text before any importer sees it, and which it may have.

    companions(Path("chair/chair.gltf"))    # chair.bin, wood.png: what lies in the model's folder tree
    references(Path("chair/chair.gltf"))    # each with the file it means, or why it is refused
    names(Path("chair/chair.gltf"))         # as written (render.importing.link_scan): what to fetch from an object store

A model may have regular files of its own tree, named by it, and nothing else: no absolute path, no `..` that
leaves the tree, no address, no link out, no device. The tree is the model's folder unless the caller knows a
wider one. Exporters' stale paths (`C:\\me\\wood.png`) are taken for a file of that name in the model's
folder, in one right below it, or in `../textures`.

Pure Python, bounded in bytes, names and folder entries; garbage gives fewer names, never an exception. A name
that this misses is a file that the confined importer cannot read: the error is on the safe side.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from render.importing.link_scan import SCANNED, is_image, kind_of, names

MOST_COMPANIONS = 4096
"""Files that one model may bring along."""

_MOST_ENTRIES = 10_000  # of the model's folder and those right below, for names whose path is stale
_MOST_FOLDERS = 64
_ADDRESS = re.compile(r"(?!file://\.)[A-Za-z][A-Za-z0-9+.-]+:")  # exporters write file://../wood.png
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:")
_FILE = re.compile("file:", re.IGNORECASE)
_ABSOLUTELY, _LEAVES = "is an absolute path", "leaves the model's folder"
_NEEDING = ("gltf", "glb", "usda", "x3d", "wrl")  # their geometry may lie in the files that they name
_TILE = re.compile(r"<UDIM>|<UVTILE>")


@dataclass(frozen=True)
class Reference:
    """One name in a model file."""

    text: str
    """As written, shortened."""
    path: Path | None
    """The file that is meant and may be read; None where there is none, or where it is refused."""
    refusal: str | None = None
    """Why it may not be read: in words that follow the reference's text."""
    needed: bool = False
    """Whether geometry may depend on it: a buffer, a layer. A texture is not needed."""
    stray: bool = False
    """Whether it may be no reference at all: a name without use found in a binary file."""
    foreign: str | None = None
    """The whole name where, on this machine, it leads out of the tree; also if a namesake stands in."""


def companions(path: Path, tree: Path | None = None) -> list[Path]:
    """Every existing file of `tree` that the model at `path` names, and what those name in turn; sorted.

    `tree`, an ancestor of the model, is its own folder unless given. The paths begin with `tree` as given.
    """
    found: dict[Path, None] = {}
    waiting = [path]
    while waiting and len(found) < MOST_COMPANIONS:
        for reference in references(waiting.pop(), tree or path.parent):
            file = reference.path
            if file is not None and file != path and file not in found:
                found[file] = None
                waiting.append(file)
    return sorted(itertools.islice(found, MOST_COMPANIONS))


def references(path: Path, tree: Path | None = None) -> list[Reference]:
    """What the one file at `path` names, each resolved within `tree` (the file's own folder by default)."""
    search = _Search(path.parent, tree or path.parent)
    try:
        kind, written = kind_of(path), names(path)
    except OSError:
        return []
    found: list[Reference] = []
    for name in written:
        image = is_image(name)
        stray = kind in SCANNED and not image
        found += search.resolve(name, needed=kind in _NEEDING and not image, stray=stray)
    return found


class _Search:
    """Looks names up for one file in `folder`; the entries around it are listed once, and only if needed."""

    def __init__(self, folder: Path, tree: Path):
        self.folder, self.tree = folder, tree
        self._around: dict[str, Path] | None = None

    def resolve(self, name: str, needed: bool, stray: bool) -> Iterator[Reference]:
        """The reference; one a tile where the name stands for many."""
        refusal = _spelling(name)
        if refusal is None:
            for told in dict.fromkeys((name, unquote(name))):
                file, refusal = self._told(told)
                if file is not None:
                    yield Reference(_short(name), file)
                    return
        tiles = list(self._tiles(name)) if _TILE.search(name) else []
        yield from (Reference(_short(name), tile) for tile in tiles)
        if not tiles:
            beside = None if needed else self._beside(name)
            foreign = name if refusal in (_ABSOLUTELY, _LEAVES) or _FILE.match(name) else None
            yield Reference(_short(name), beside, None if beside else refusal, needed, stray, foreign)

    def _told(self, name: str) -> tuple[Path | None, str | None]:
        """The file exactly as told, or why not; (None, None) where nothing is there."""
        relative = name.replace("\\", "/").removeprefix("file:").removeprefix("//")
        target = Path(os.path.normpath(self.folder / relative))
        if not target.is_relative_to(os.path.normpath(self.tree)):
            return None, _LEAVES
        return _admitted(target, self.tree)

    def _beside(self, name: str) -> Path | None:
        """A file of the same name in the folder, right below it, or in `../textures`, whatever its case."""
        base = PurePosixPath(unquote(name).replace("\\", "/")).name
        if base in ("", ".", ".."):
            return None
        exact, _ = _admitted(self.folder / base, self.tree)
        return exact or self._listing().get(base.lower())

    def _tiles(self, name: str) -> Iterator[Path]:
        base = re.escape(PurePosixPath(name.replace("\\", "/")).name.lower())
        pattern = re.compile(re.sub("<udim>|<uvtile>", r"(\\d{4}|u\\d+_v\\d+)", base))
        return (path for key, path in self._listing().items() if pattern.fullmatch(key))

    def _listing(self) -> dict[str, Path]:
        if self._around is None:
            self._around = {}
            places = [self.folder, *_folders(self.folder)]
            if self.folder.parent.is_relative_to(self.tree):
                places.append(self.folder.parent / "textures")
            entries = itertools.chain.from_iterable(map(_files, places))
            for path in itertools.islice(entries, _MOST_ENTRIES):
                self._around.setdefault(path.name.lower(), path)
        return self._around


def _spelling(name: str) -> str | None:
    """Why a reference is refused whatever lies on the disk."""
    if _ADDRESS.match(name):
        return "is an address"
    if _ABSOLUTE.match(name.removeprefix("//")):  # `//` is Blender's word for the file's own folder
        return _ABSOLUTELY
    return None


def _admitted(target: Path, tree: Path) -> tuple[Path | None, str | None]:
    """`target` if it is a regular file that really lies in `tree`; else None and why."""
    try:
        real = target.resolve(strict=True)
        if not real.is_relative_to(tree.resolve()):
            return None, "is a link that leaves the model's folder"
        if not stat.S_ISREG(real.stat().st_mode):
            return None, None if real.is_dir() else "is no regular file"
        return target, None
    except (OSError, ValueError, RuntimeError):
        return None, None


def _folders(folder: Path) -> list[Path]:
    return sorted(_entries(folder, lambda entry: entry.is_dir(follow_symlinks=False)))[:_MOST_FOLDERS]


def _files(folder: Path) -> list[Path]:
    return sorted(_entries(folder, lambda entry: entry.is_file(follow_symlinks=False)))


def _entries(folder: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [
                folder / entry.name for entry in itertools.islice(entries, _MOST_ENTRIES) if wanted(entry)
            ]
    except OSError:
        return []


def _short(name: str) -> str:
    return name if len(name) <= 120 else f"{name[:100]}..."
