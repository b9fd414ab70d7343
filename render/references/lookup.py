"""Where the file that a model names really lies: one rule for every format, for libraries and images.

    search = Search(LocalTree(Path("set/chair")), "meshes")
    search.find("C:\\\\me\\\\wood.png", anywhere=True)    # Found("materials/textures/wood.png", exact=False)

A name is looked for as written; then with `\\` as `/`, percent-decoded, without case, in another encoding;
then by its last part alone, anywhere in the tree: the file whose folders agree best with the name, else the
nearest. Of two that are equally good none counts, unless they lie below the folder of the naming file.

Names and answers are relative to the tree, with slashes. Listing a tree is bounded in entries and folders,
and starts at the folder of the file that names: what is near is found in a collection of any size.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import posixpath
import re
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

MOST_ENTRIES = 20_000
"""Files and folders of a tree that are looked at."""
MOST_FOLDERS = 2_000
LEGACY_ENCODINGS = ("gb18030", "cp932", "big5", "cp949", "cp1252", "cp1251", "cp437", "mac_roman")
"""Tried, in this order, for names that are not UTF-8 on one side and are on the other."""

_MOST_NAMESAKES = 256  # of one name, compared
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:")
_QUERY = re.compile(r"[?#].*", re.DOTALL)
_FILE = re.compile(r"file:(?://)?", re.IGNORECASE)
TILE = re.compile(r"<UDIM>|<UVTILE>|%\(UDIM\)d", re.IGNORECASE)
_TILE_NUMBER = r"(\d{4}|u\d+_v\d+)"


class Tree(Protocol):
    """The files that a model may have."""

    def has(self, path: str) -> bool:
        """Whether a regular file of the tree lies there."""
        ...

    def refusal(self, path: str) -> str | None:
        """Why what lies there is no file of the tree; "" for a file that is, None where nothing is there."""
        ...

    def files(self, near: str) -> list[str]:
        """Every file, as far as the bounds go; those around the folder `near` first."""
        ...


@dataclass(frozen=True)
class Found:
    """A file that is meant by a name."""

    path: str
    exact: bool
    """Whether it lies exactly where the name leads; an importer will find it there without help."""
    namesake: bool = False
    """Whether only its last part agrees with the name."""


def base_name(name: str) -> str:
    """The last part of a name, whichever system's separators and escapes it has."""
    return posixpath.basename(unquote(name).replace("\\", "/").rstrip("/"))


def is_absolute(name: str) -> bool:
    """Whether a name is a path from the root of some system; `//wood.png` is Blender's relative one."""
    return bool(_ABSOLUTE.match(name[2:] if name.startswith("//") else name))


def spellings(name: str) -> list[str]:
    """`name`, without its escapes, and in other encodings: what a file of that name may be called on disk."""
    plain = _FILE.sub("", name, count=1) if _FILE.match(name) else name
    plain = plain[2:] if plain.startswith("//") else plain
    found = dict.fromkeys((plain, _unescaped(plain), _unescaped(_QUERY.sub("", plain))))
    for text in list(found):
        if not text.isascii():
            found |= dict.fromkeys(in_other_encodings(text))
    return list(found)


def _unescaped(text: str) -> str:
    """`text` percent-decoded; bytes that are not UTF-8 stay, as in a file name."""
    return unquote(text, errors="surrogateescape")


def in_other_encodings(text: str) -> Iterator[str]:
    """A name as a file system gives it, misread or written in each of the legacy encodings."""
    raw = os.fsencode(text)
    for encoding in LEGACY_ENCODINGS:
        with contextlib.suppress(UnicodeDecodeError):
            yield raw.decode(encoding)
        with contextlib.suppress(UnicodeEncodeError):
            yield os.fsdecode(text.encode(encoding))


def inside(folder: str, name: str) -> str | None:
    """Where a relative name leads within the tree; None where it leaves it or is absolute."""
    if not name or name.startswith("/") or "\0" in name:
        return None
    path = posixpath.normpath(posixpath.join(folder, name))
    return None if path == ".." or path.startswith("../") else path


class Search:
    """Looks names up for the files of one folder; the tree is listed once, and only where it must be."""

    def __init__(self, tree: Tree, folder: str):
        self.tree, self.folder = tree, folder
        self._listing: tuple[dict[str, str], dict[str, list[str]]] | None = None

    def find(self, name: str, anywhere: bool) -> Found | None:
        """The file that `name` means; a namesake elsewhere in the tree only where `anywhere`."""
        texts = spellings(name)
        return self._as_written(name, texts) or self._in_listing(texts, anywhere)

    def tiles(self, name: str) -> list[str]:
        """The tiles of an image whose name has the mark of one: of the nearest folder that has any."""
        if not TILE.search(name):
            return []
        before, _, after = TILE.sub("\0", _key(base_name(name)), count=1).partition("\0")
        pattern = re.compile(re.escape(before) + _TILE_NUMBER + re.escape(after))
        found = [path for base, paths in self._by_base().items() if pattern.fullmatch(base) for path in paths]
        if not found:
            return []
        nearest = posixpath.dirname(min(found, key=lambda path: (_distance(self.folder, path), path)))
        return sorted(path for path in found if posixpath.dirname(path) == nearest)

    def _as_written(self, name: str, texts: list[str]) -> Found | None:
        """Without a listing: where the name leads, also with slashes for backslashes and without escapes."""
        for text in texts:
            for spelling in dict.fromkeys((text, text.replace("\\", "/"))):
                path = inside(self.folder, spelling)
                if path is not None and self.tree.has(path):
                    return Found(path, exact=spelling == name)
        return None

    def _in_listing(self, texts: list[str], anywhere: bool) -> Found | None:
        slashed = [text.replace("\\", "/") for text in texts]
        for text in slashed:
            path = inside(self.folder, text)
            if path is not None and _key(path) in self._by_path():
                return self._admitted(self._by_path()[_key(path)])
        for text in slashed if anywhere else ():
            path = self._namesake(text)
            if path is not None:
                return self._admitted(path, namesake=True)
        return None

    def _admitted(self, path: str, namesake: bool = False) -> Found | None:
        return Found(path, exact=False, namesake=namesake) if self.tree.has(path) else None

    def _namesake(self, name: str) -> str | None:
        candidates = self._by_base().get(_key(posixpath.basename(name)), [])
        ranked = sorted(
            (-_agreement(name, path), _distance(self.folder, path), path)
            for path in candidates[:_MOST_NAMESAKES]
        )
        if not ranked:
            return None
        *rank, best = ranked[0]
        tied = len(ranked) > 1 and [*ranked[1][:2]] == rank
        own = not self.folder or best.startswith(f"{self.folder}/")
        return best if own or not tied else None

    def _by_path(self) -> dict[str, str]:
        return self._listed()[0]

    def _by_base(self) -> dict[str, list[str]]:
        return self._listed()[1]

    def _listed(self) -> tuple[dict[str, str], dict[str, list[str]]]:
        """The tree's files by what is compared, their paths and their last parts without case."""
        if self._listing is None:
            paths: dict[str, str] = {}
            bases: dict[str, list[str]] = {}
            for path in self.tree.files(self.folder):
                key = _key(path)
                paths.setdefault(key, path)
                bases.setdefault(posixpath.basename(key), []).append(path)
            self._listing = paths, bases
        return self._listing


def _key(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text).lower()


def _agreement(name: str, path: str) -> int:
    """How many folders before the last part are the same in both."""
    pairs = zip(reversed(_key(name).split("/")), reversed(_key(path).split("/")), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)) - 1


def _distance(folder: str, path: str) -> tuple[int, int]:
    """(steps up, steps down) from `folder` to the file."""
    start, end = [part for part in folder.split("/") if part], path.split("/")[:-1]
    shared = sum(
        1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(start, end, strict=False))
    )
    return len(start) - shared, len(end) - shared


class LocalTree:
    """A folder of this machine. Links that leave it, devices and pipes are no files of it."""

    def __init__(self, root: Path):
        self.root = root
        self._real: Path | None = None
        self._files: dict[str, list[str]] = {}

    def has(self, path: str) -> bool:
        """As `Tree.has`."""
        return self.refusal(path) == ""

    def refusal(self, path: str) -> str | None:
        """As `Tree.refusal`."""
        try:
            if self._real is None:
                self._real = self.root.resolve()
            real = (self.root / path).resolve(strict=True)
            if not real.is_relative_to(self._real):
                return "is a link that leaves the model's folder"
            mode = real.stat().st_mode
        except (OSError, ValueError, RuntimeError):
            return None
        if stat.S_ISREG(mode):
            return ""
        return None if stat.S_ISDIR(mode) else "is not a regular file"

    def files(self, near: str) -> list[str]:
        """As `Tree.files`."""
        if near not in self._files:
            self._files[near] = list(self._walk(near))
        return self._files[near]

    def _walk(self, near: str) -> Iterator[str]:
        """Folder by folder: what lies below `near`, then below its parent, and so on up to the root."""
        seen: set[str] = set()
        entries = 0
        for start in ancestors(near):
            waiting = [start]
            for folder in waiting:  # grows meanwhile: breadth first
                if folder in seen:
                    continue
                seen.add(folder)
                if entries >= MOST_ENTRIES or len(seen) > MOST_FOLDERS:
                    return
                files, folders, looked_at = self.entries(folder, MOST_ENTRIES - entries)
                entries += looked_at
                waiting += folders
                yield from files

    def entries(self, folder: str, most: int) -> tuple[list[str], list[str], int]:
        """The files and folders right in `folder`, each sorted, and how many entries were looked at."""
        files, folders, count = [], [], 0
        # A folder that cannot be read offers no namesake; discovery names it.
        with contextlib.suppress(OSError), os.scandir(self.root / folder) as entries:
            for entry in itertools.islice(entries, most):
                count += 1
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                elif entry.is_file(follow_symlinks=False):
                    files.append(path)
        return sorted(files), sorted(folders), count


def ancestors(folder: str) -> Iterator[str]:
    """The folder, its parent and so on; the root, which is "", last."""
    while folder:
        yield folder
        folder = posixpath.dirname(folder)
    yield ""
