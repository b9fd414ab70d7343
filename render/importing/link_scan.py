"""The names of other files in a model's text or bytes, as written there: nothing is resolved or opened.

    names(Path("chair/chair.gltf"))         # ["chair.bin", "wood.png"]

Text formats are searched for the words that introduce a name, binary ones for whatever ends like a file name.
Bounded in bytes, names and time (no pattern here can go back far); garbage gives fewer names, never an
exception.
"""

from __future__ import annotations

import contextlib
import gzip
import html
import itertools
import json
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from render.importing.crate import read_tokens
from render.importing.formats import sniff

MOST = 4096
"""Names that one file may have."""

SCANNED = ("fbx", "3ds", "blend", "usdc")
"""Formats in which a name is whatever ends like one: it may be no reference at all."""

_CHUNK = 8 << 20  # bytes
_LARGEST = 256 << 20  # bytes searched of one file
_HEADER = 64 << 10  # bytes of a PLY
_LONGEST = 1024  # bytes of a name
_IMAGE_SUFFIXES = "png jpg jpeg jpe tga bmp tif tiff exr hdr webp dds psd gif jp2 ktx ktx2 avif sgi rgb pcx"
_OTHER_SUFFIXES = "mtl usd usda usdc usdz abc blend ttf otf pfb bin"
_IMAGES = frozenset(_IMAGE_SUFFIXES.split())
_SUFFIXES = "|".join(
    "".join(f"[{c}{c.upper()}]" for c in suffix) for suffix in f"{_IMAGE_SUFFIXES} {_OTHER_SUFFIXES}".split()
)
_ENDING = re.compile(rf"\.(?:{_SUFFIXES})(?![A-Za-z0-9])".encode())
_BACKWARD = re.compile(rb"(?:>MIDU<|>ELITVU<|[^\x00-\x1f\x7f\"<>|*?@])*")


def names(path: Path) -> list[str]:
    """The references of the one file at `path`, as written but for escapes; in order, each once."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return []
        extract = _EXTRACTORS.get(kind_of(path))
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


def kind_of(path: Path) -> str:
    """What decides where names stand in the file: `mtl`, an image's extension, or the model's format, or "".

    Raises OSError where the file cannot be read.
    """
    suffix = path.suffix.lower()[1:]
    return suffix if suffix == "mtl" or suffix in _IMAGES else sniff(path) or ""


def is_image(name: str) -> bool:
    """Whether a name ends as images do."""
    return PurePosixPath(name.replace("\\", "/")).suffix.lower()[1:] in _IMAGES


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
_TEXTURE_FILE = re.compile(rb"^comment\s+TextureFile\s+([^\r\n]{1,1000})", re.MULTILINE | re.IGNORECASE)
_MAP = re.compile(rb"(?:map_\w+|map|bump|disp|decal|refl|norm)[ \t]+([^\r\n]{1,1000})", re.IGNORECASE)


def _obj(file: BinaryIO) -> Iterator[str]:
    for match in _found(file, _MTLLIB):
        yield from _rest_or_words(match[1])


def _mtl(file: BinaryIO) -> Iterator[str]:
    for match in _found(file, _MAP):
        yield from _rest_or_words(match[1])


def _ply(file: BinaryIO) -> Iterator[str]:
    for match in _TEXTURE_FILE.finditer(file.read(_HEADER).partition(b"end_header")[0]):
        yield _text(match[1]).strip()


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
    "ply": _ply,
    "dae": _dae,
    "usda": _usda,
    "usdc": _usdc,
    "blend": _blend,
}
"""stl, off and abc name no files; usdz and 3mf hold theirs."""
