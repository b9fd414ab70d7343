"""Which other files a model names, found in its text before any importer sees it, and which it may have.

    companions(Path("chair/chair.gltf"))    # chair.bin, wood.png: what lies in the model's folder tree
    references(Path("chair/chair.gltf"))    # each with the file it means, or why it is refused
    names(Path("chair/chair.gltf"))         # as written: what to fetch from an object store

A model may have regular files of its own tree, named by it, and nothing else: no absolute path, no `..` that
leaves the tree, no address, no link out, no device. The tree is the model's folder unless the caller knows a
wider one. Exporters' stale paths (`C:\\me\\wood.png`) are taken for a file of that name in the model's
folder, in one right below it, or in `../textures`.

Pure Python, bounded in bytes, names and folder entries; garbage gives fewer names, never an exception. A name
that this misses is a file that the confined importer cannot read: the error is on the safe side.
"""

from __future__ import annotations

import contextlib
import gzip
import html
import itertools
import json
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote

from render.crate import read_tokens
from render.formats import sniff

MOST = 4096
"""References that one file may have, and companions that one model may have."""

_CHUNK = 8 << 20  # bytes
_LARGEST = 256 << 20  # bytes searched of one file
_LONGEST = 1024  # bytes of a reference
_MOST_ENTRIES = 10_000  # of the model's folder and those right below, for names whose path is stale
_MOST_FOLDERS = 64

_IMAGES = [
    "png",
    "jpg",
    "jpeg",
    "jpe",
    "tga",
    "bmp",
    "tif",
    "tiff",
    "exr",
    "hdr",
    "webp",
    "dds",
    "psd",
    "gif",
    "jp2",
    "ktx",
    "ktx2",
    "avif",
    "sgi",
    "rgb",
    "pcx",
]
_OTHERS = ["mtl", "usd", "usda", "usdc", "usdz", "abc", "blend", "ttf", "otf", "pfb", "bin"]
_ADDRESS = re.compile(r"(?!file://\.)[A-Za-z][A-Za-z0-9+.-]+:")  # exporters write file://..\\wood.png
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:")
_SUFFIXES = "|".join("".join(f"[{c}{c.upper()}]" for c in suffix) for suffix in [*_IMAGES, *_OTHERS])
_ENDING = re.compile(rf"\.(?:{_SUFFIXES})(?![A-Za-z0-9])".encode())
_BACKWARD = re.compile(rb"(?:>MIDU<|>ELITVU<|[^\x00-\x1f\x7f\"<>|*?@])*")
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


def companions(path: Path, tree: Path | None = None) -> list[Path]:
    """Every existing file of `tree` that the model at `path` names, and what those name in turn; sorted.

    `tree`, an ancestor of the model, is its own folder unless given. The paths begin with `tree` as given.
    """
    found: dict[Path, None] = {}
    waiting = [path]
    while waiting and len(found) < MOST:
        for reference in references(waiting.pop(), tree or path.parent):
            file = reference.path
            if file is not None and file != path and file not in found:
                found[file] = None
                waiting.append(file)
    return sorted(itertools.islice(found, MOST))


def references(path: Path, tree: Path | None = None) -> list[Reference]:
    """What the one file at `path` names, each resolved within `tree` (the file's own folder by default)."""
    search = _Search(path.parent, tree or path.parent)
    needing = _needs(path)
    found: list[Reference] = []
    for name in names(path):
        found += search.resolve(name, needing and not _is_image(name))
    return found


def names(path: Path) -> list[str]:
    """The references of the one file at `path`, as written but for escapes; in order, each once."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return []
        extract = _EXTRACTORS.get(_kind(path))
        if extract is None:
            return []
        with path.open("rb") as file:
            return _distinct(extract(file))
    except OSError:
        return []


def _distinct(found: Iterator[str]) -> list[str]:
    """The first `MOST` different names; what came before a fault in the file counts."""
    kept: dict[str, None] = {}
    with contextlib.suppress(OSError, EOFError, zlib.error, ValueError):
        for name in itertools.islice(found, 16 * MOST):
            if name and "\0" not in name:
                kept[name] = None
            if len(kept) == MOST:
                break
    return list(kept)


class _Search:
    """Looks names up for one file in `folder`; the entries around it are listed once, and only if needed."""

    def __init__(self, folder: Path, tree: Path):
        self.folder, self.tree = folder, tree
        self._around: dict[str, Path] | None = None

    def resolve(self, name: str, needed: bool) -> Iterator[Reference]:
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
            yield Reference(_short(name), beside, None if beside else refusal, needed)

    def _told(self, name: str) -> tuple[Path | None, str | None]:
        """The file exactly as told, or why not; (None, None) where nothing is there."""
        relative = name.replace("\\", "/").removeprefix("file:").removeprefix("//")
        target = Path(os.path.normpath(self.folder / relative))
        if not target.is_relative_to(os.path.normpath(self.tree)):
            return None, "leaves the model's folder"
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
        return "is an absolute path"
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


def _is_image(name: str) -> bool:
    return PurePosixPath(name.replace("\\", "/")).suffix.lower()[1:] in _IMAGES


def _needs(path: Path) -> bool:
    """Whether this file's geometry may lie in the files that it names."""
    try:
        return _kind(path) in ("gltf", "glb", "usda", "x3d", "wrl")
    except OSError:
        return False


def _kind(path: Path) -> str:
    """What decides where names stand in the file."""
    suffix = path.suffix.lower()[1:]
    return suffix if suffix in ("mtl", *_IMAGES) else sniff(path) or ""


def _chunks(file: BinaryIO, size: int = _LARGEST) -> Iterator[tuple[bytes, int]]:
    """(bytes, how many of them may begin a find): overlapping pieces, so that a name is whole in one."""
    before = b""
    for start in range(0, size, _CHUNK):
        piece = before + file.read(min(_CHUNK, size - start))
        last = len(piece) < len(before) + _CHUNK
        yield piece, len(piece) if last else len(piece) - _LONGEST
        if last:
            return
        before = piece[-_LONGEST:]


def _found(file: BinaryIO, pattern: re.Pattern[bytes], size: int = _LARGEST) -> Iterator[re.Match[bytes]]:
    for piece, until in _chunks(file, size):
        for match in pattern.finditer(piece):
            if match.start() < until:
                yield match


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


_URI = re.compile(rb'"uri"\s*:\s*"((?!data:)(?:[^"\\]|\\.){1,1000})"', re.DOTALL)


def _gltf(file: BinaryIO) -> Iterator[str]:
    head = file.read(20)
    binary = head[:4] == b"glTF"
    size = int.from_bytes(head[12:16], "little") if binary else _LARGEST
    file.seek(20 if binary else 0)
    for match in _found(file, _URI, min(size, _LARGEST)):
        try:
            yield json.loads(b'"' + match[1] + b'"')
        except ValueError:
            yield _text(match[1])


_MTLLIB = re.compile(rb"mtllib[ \t]+([^\r\n]{1,1000})")
_MAP = re.compile(rb"(?:map_\w+|map|bump|disp|decal|refl|norm)[ \t]+([^\r\n]{1,1000})", re.IGNORECASE)


def _obj(file: BinaryIO) -> Iterator[str]:
    for match in _found(file, _MTLLIB):
        yield from _rest_or_words(match[1])


def _mtl(file: BinaryIO) -> Iterator[str]:
    for match in _found(file, _MAP):
        yield from _rest_or_words(match[1])


def _rest_or_words(raw: bytes) -> Iterator[str]:
    """Names may hold spaces, many may stand in a line, and options before them: every reading is tried."""
    words = _text(raw).strip().strip('"').split(" ")
    if not words[0].startswith("-"):
        yield " ".join(words)
    for start in range(1, min(len(words), 16)):
        yield " ".join(words[start:])
    yield from (word for word in words[:16] if "." in word[1:])


_INIT_FROM = re.compile(rb"<(?:\w+:)?(?:init_from|ref)\b[^<>]{0,200}>([^<]{1,1000})<")


def _dae(file: BinaryIO) -> Iterator[str]:
    for match in _found(file, _INIT_FROM):
        name = html.unescape(_text(match[1])).strip()
        if "." in name:  # else the identity of an image element
            yield name


_URL = re.compile(
    rb"\burl\s{0,64}(?:=\s{0,64}'([^']{1,1000})|=\s{0,64}\"([^\"]{1,1000})"
    rb"|(\[?\s{0,64}(?:\"[^\"]{0,300}\"[\s,]{0,64}){1,64}))"
)
_QUOTED = re.compile(r'"([^"]+)"')


def _x3d(file: BinaryIO) -> Iterator[str]:
    with gzip.GzipFile(fileobj=file) if _is_gzip(file) else file as plain:  # type: ignore[attr-defined]
        for match in _found(plain, _URL):  # type: ignore[arg-type]
            text = html.unescape(_text(match[1] or match[2] or match[3]))
            quoted = _QUOTED.findall(text)
            yield from (name for name in quoted or [text.strip()] if not name.startswith("#"))


def _is_gzip(file: BinaryIO) -> bool:
    magic = file.read(2)
    file.seek(0)
    return magic == b"\x1f\x8b"


_ASSET = re.compile(rb"@@@([^\x00]{1,1000}?)@@@|@([^@\r\n\x00]{1,1000})@")


def _usda(file: BinaryIO) -> Iterator[str]:
    for match in _found(file, _ASSET):
        yield _text(match[1] or match[2]).partition("[")[0]


def _usdc(file: BinaryIO) -> Iterator[str]:
    yield from _endings(read_tokens(file))


def _scan(file: BinaryIO) -> Iterator[str]:
    """Whatever ends like a file name: for formats that keep names in the clear among binary data."""
    for piece, _ in _chunks(file):
        yield from _endings(piece)


def _endings(data: bytes) -> Iterator[str]:
    for ending in _ENDING.finditer(data):
        backward = _BACKWARD.match(data[max(0, ending.start() - 512) : ending.start()][::-1])
        if backward:
            yield _text(backward[0][::-1] + ending[0]).strip()


def _blend(file: BinaryIO) -> Iterator[str]:
    """Plain, or wrapped in gzip (Blender before 3.0) or zstandard."""
    if _is_gzip(file):
        with gzip.GzipFile(fileobj=file) as plain:
            yield from _scan(plain)  # type: ignore[arg-type]
        return
    magic = file.read(4)
    file.seek(0)
    if magic != b"\x28\xb5\x2f\xfd":
        yield from _scan(file)
        return
    import pyarrow  # has zstandard, which Python 3.11 has not

    with pyarrow.CompressedInputStream(pyarrow.PythonFile(file, "r"), "zstd") as plain:
        yield from _scan(plain)  # type: ignore[arg-type]


_EXTRACTORS: dict[str, Callable[[BinaryIO], Iterator[str]]] = {
    **dict.fromkeys(("gltf", "glb"), _gltf),
    **dict.fromkeys(("x3d", "wrl"), _x3d),
    **dict.fromkeys(("fbx", "3ds"), _scan),
    "obj": _obj,
    "mtl": _mtl,
    "dae": _dae,
    "usda": _usda,
    "usdc": _usdc,
    "blend": _blend,
}
"""stl, ply, off and abc name no files; usdz and 3mf hold theirs."""
