"""Which other files a model names, found in its text before any importer sees it, and which it may have.

    companions(Path("chair/chair.gltf"))    # chair.bin, wood.png: what lies in the model's folder tree
    references(Path("chair/chair.gltf"))    # each with the file it means, or why it is refused

A model may have regular files of its own tree, named by it, and nothing else: no absolute path, no `..` that
leaves the tree, no address, no link out, no device. The tree is the model's folder unless the caller knows a
wider one. A name that exporters left stale (`C:\\me\\wood.png`) means a file of that name in the tree; how
names are looked up, in every format alike: `render.references.lookup`.

Only the scanner parses a file's bytes, which the engine has a confined child do (`render.references.orders`).
Bounded in bytes, names and folder entries; garbage gives fewer names, never an
exception. A name that this misses is a file that the confined importer cannot read: the error is on the safe
side.
"""

from __future__ import annotations

import itertools
import os
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from render.references.link_scan import SCANNED, Link, Scan, is_image, is_image_file, kind_of, scan
from render.references.lookup import LocalTree, Search, Tree, base_name, inside, is_absolute, spellings
from render.references.spelling import spelled

MOST_COMPANIONS = 4096
"""Files that one model may bring along."""

_ADDRESS = re.compile(r"(?!file://\.)[A-Za-z][A-Za-z0-9+.-]+:")  # exporters write file://../wood.png
_FILE = re.compile("file:", re.IGNORECASE)
_ABSOLUTELY, _LEAVES = "is an absolute path", "leaves the model's folder"
_FOREIGN = (_ABSOLUTELY, _LEAVES)
_NEEDING = ("gltf", "glb", "usda", "x3d", "wrl")  # their geometry may lie in the files that they name
_LISTING_IMAGES = ("gltf", "glb", "obj", "mtl", "ply", "dae", "x3d", "wrl", "usda", "usdc")
"""Formats whose image names are references for certain, to files outside."""
_UNESCAPING = ("gltf", "glb", "dae")  # their importers decode %20 themselves


@dataclass(frozen=True)
class Reference:
    """One name in a model file."""

    text: str
    """As written, shortened, in valid UTF-8."""
    path: Path | None
    """The file that is meant and may be read; None where there is none, or where it is refused."""
    refusal: str | None = None
    """Why it may not be read: in words that follow the reference's text."""
    needed: bool = False
    """Whether geometry may depend on it: a buffer, a layer. A texture is not needed."""
    stray: bool = False
    """Whether it may be no reference at all: a name without use found in a binary file."""
    foreign: tuple[str, ...] = ()
    """Whole names that lead out of the tree on this machine; also if a namesake stands in."""
    leads: Path | None = None
    """Where in the tree an importer will look for `path`; None where it looks at `path` itself."""
    exact: bool = True
    """Whether `path` is found by the name as it is written."""
    namesake: bool = False
    """Whether `path` agrees with the name only in its last part."""
    written: str = ""
    """The whole name as it stands in the file, in its likeliest reading."""
    spans: tuple[tuple[int, int], ...] = field(default=(), repr=False)
    """Where it stands (start, end), in bytes of its file; only in text formats."""
    group: int | None = None
    """References of the same group are alternatives."""


def companions(path: Path, tree: Path | None = None) -> list[Path]:
    """Every existing file of `tree` that the model at `path` names, and what those name in turn; sorted.

    `tree`, an ancestor of the model, is its own folder unless given. The paths begin with `tree` as given.
    """
    return sorted(itertools.islice((file for file in closure(path, tree) if file != path), MOST_COMPANIONS))


Scanner = Callable[[Path], Scan]


def closure(
    path: Path,
    tree: Path | None = None,
    files: Tree | None = None,
    scanner: Scanner = scan,
    check: Callable[[], None] = lambda: None,
) -> dict[Path, list[Reference]]:
    """What the model names, and what each file that goes with it names: the model first.

    `check` is called before every name is looked up; it may raise.
    """
    root = tree or path.parent
    files = files or LocalTree(root)
    named: dict[Path, list[Reference]] = {path: []}
    waiting = [path]
    while waiting:
        file = waiting.pop()
        named[file] = references(file, root, files, scanner, check)
        for reference in named[file]:
            if reference.path is not None and reference.path not in named and len(named) <= MOST_COMPANIONS:
                named[reference.path] = []
                waiting.append(reference.path)
    return named


def missing_images(path: Path) -> list[str]:
    """File names of the images that a staged model and its companions name, and that are not there; sorted.

    Staged, an image lies where its name leads, or beside the file that names it.
    """
    named = closure(path.absolute(), Path("/"), _Staged(Path("/")))
    return sorted({name for file, found in named.items() for name in _missing(file, found)})


class _Staged(LocalTree):
    """The whole file system, of which only the folder of a file is listed."""

    def files(self, near: str) -> list[str]:
        return self.entries(near, MOST_COMPANIONS)[0]


def _missing(file: Path, found: list[Reference]) -> Iterator[str]:
    try:
        kind = kind_of(file)
    except OSError:
        return
    there = {one.group for one in found if one.path is not None and one.group is not None}
    for one in found if kind in _LISTING_IMAGES else ():
        if one.path is None and is_image(one.written) and one.group not in there:
            yield spelled(base_name(one.written))


def references(
    path: Path,
    tree: Path | None = None,
    files: Tree | None = None,
    scanner: Scanner = scan,
    check: Callable[[], None] = lambda: None,
) -> list[Reference]:
    """What the one file at `path` names, each resolved within `tree` (the file's own folder by default).

    `files` is what lies there, where that is not for the file system to say.
    """
    if is_image_file(path):
        return []
    root, scanned = tree or path.parent, scanner(path)
    resolver = _Resolver(path, root, files or LocalTree(root), scanned.kind)
    found: list[Reference] = []
    for link in scanned.links:
        check()
        found += resolver.resolve(link)
    return found + (resolver.library(found) if scanned.kind == "obj" else [])


class _Resolver:
    """Resolves the names of one file."""

    def __init__(self, path: Path, root: Path, files: Tree, kind: str):
        self.path, self.root, self.files, self.kind = path, root, files, kind
        self.folder = _within(path.parent, root)
        self.search = Search(files, self.folder)
        self._known: dict[tuple[str, ...], list[Reference]] = {}

    def resolve(self, link: Link) -> list[Reference]:
        """The references of one link; one per tile where the name stands for many."""
        if link.spans:
            return self._resolved(link)
        if link.readings not in self._known:
            self._known[link.readings] = self._resolved(link)
        return [replace(one, group=link.group) for one in self._known[link.readings]]

    def _resolved(self, link: Link) -> list[Reference]:
        refusals = {reading: self._spelling(reading) for reading in link.readings}
        foreign = tuple(name for name, why in refusals.items() if why in _FOREIGN or _FILE.match(name))
        name = link.readings[0]
        common = Reference(
            _short(name), None, foreign=foreign, spans=link.spans, written=name, group=link.group
        )
        for anywhere in (False, True):
            for reading, refusal in refusals.items():
                found = self._find(common, reading, anywhere) if anywhere or not refusal else []
                if found and reading != name:
                    several = self._several(common, link.words) if link.words else []
                    found = several or [replace(one, exact=one.exact and not link.spans) for one in found]
                if found:
                    return found
        refusal = next(filter(None, refusals.values()), None) or self._refusal(name)
        stray = self.kind in SCANNED and not is_image(name)
        return [replace(common, refusal=refusal, needed=self._needed(name), stray=stray)]

    def _several(self, common: Reference, words: tuple[str, ...]) -> list[Reference]:
        """A reference per word, all of which stand in the place of one, where all are found."""
        found = [one for word in words for one in self._find(common, word, anywhere=True)[:1]]
        return [replace(one, exact=False) for one in found] if len(found) == len(words) else []

    def _find(self, common: Reference, name: str, anywhere: bool) -> list[Reference]:
        if anywhere and self._needed(name):
            return []
        found = self.search.find(name, anywhere)
        common = replace(common, text=_short(name))
        if found is None:
            return [replace(common, path=self.root / tile) for tile in self.search.tiles(name)]
        path, leads = self.root / found.path, self.root / self._leads(name)
        unescaped = inside(self.folder, unquote(name))
        exact = unescaped == found.path if self.kind in _UNESCAPING else found.exact
        return [
            replace(
                common,
                path=path,
                exact=exact,
                leads=None if exact or leads == path else leads,
                namesake=found.namesake,
            )
        ]

    def _needed(self, name: str) -> bool:
        return self.kind in _NEEDING and not is_image(name)

    def _leads(self, name: str) -> str:
        """Where an importer will look: in the named place, or beside the file where that is outside."""
        outside = is_absolute(name) or _FILE.match(name)
        place = None if outside else inside(self.folder, name.removeprefix("//").replace("\\", "/"))
        return place or posixpath.join(self.folder, base_name(name))

    def _spelling(self, name: str) -> str | None:
        """Why a name is refused whatever lies on the disk."""
        if _ADDRESS.match(name):
            return "is an address"
        if is_absolute(name):
            return _ABSOLUTELY
        places = (inside(self.folder, text.replace("\\", "/")) for text in spellings(name)[:2])
        return _LEAVES if None in places else None

    def _refusal(self, name: str) -> str | None:
        """Why the file that lies there is refused."""
        places = (inside(self.folder, text.replace("\\", "/")) for text in spellings(name)[:2])
        return next(filter(None, (self.files.refusal(place) for place in places if place)), None)

    def library(self, found: list[Reference]) -> list[Reference]:
        """An OBJ's MTL of its own stem, as Blender takes it, where none is named or there."""
        if any(one.path is not None and not one.namesake for one in found):
            return []
        name = f"{self.path.stem}.mtl"
        own = self.search.find(name, anywhere=False)
        if own is None:
            return []
        leads = None if own.exact else self.path.with_name(name)
        return [Reference(name, self.root / own.path, exact=own.exact, leads=leads)]


def _within(folder: Path, root: Path) -> str:
    text = os.path.relpath(folder, root)
    return "" if text == "." else text


def _short(name: str) -> str:
    return spelled(name if len(name) <= 120 else f"{name[:100]}...")
