"""The names of other files in a model's text or bytes, as written there: nothing is resolved or opened.

    [link.readings for link in scan(Path("chair/chair.gltf")).links]    # [("chair.bin",), ("wood.png",)]

Text formats are searched for the words that introduce a name, binary ones for whatever ends like a file name.
Bounded in bytes, names and time: every pattern here runs in time linear in its text (`pipeline.bench.scan`
measures it); garbage gives fewer names, never an exception.
"""

from __future__ import annotations

import contextlib
import gzip
import html
import io
import itertools
import json
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from render.importing.formats import sniff
from render.references.crate import read_tokens
from render.references.lookup import base_name
from render.references.plain_text import as_utf8

MOST = 4096
"""Names that one file may have."""

MOST_LINKS = 16 * MOST
"""Places where they may stand."""

MOST_TEXT = 1 << 20
"""Bytes of all readings of one file's links."""

SCANNED = ("fbx", "3ds", "blend", "usdc")
"""Formats in which a name is whatever ends like one: it may be no reference at all."""

TEXTS = ("gltf", "obj", "mtl", "ply", "dae", "x3d", "wrl", "usda")
"""Formats of text, which may come in UTF-16."""

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
_BACKWARD = re.compile(rb"(?:>MIDU<|>ELITVU<|[^\x00-\x1f\x7f\"<>|*?@]+)*")


@dataclass(frozen=True)
class Link:
    """A name in a file."""

    readings: tuple[str, ...]
    """What the name may be, the likeliest first."""
    spans: tuple[tuple[int, int], ...] = ()
    """(start, end) of the texts that hold it, in bytes of the file; none where that is not known."""
    words: tuple[str, ...] = ()
    """Several names that the text may be instead."""
    group: int | None = None
    """Links of the same group are alternatives: one that is found is enough."""


@dataclass(frozen=True)
class Scan:
    """What the bytes of one file say."""

    kind: str = ""
    """See `kind_of`."""
    links: tuple[Link, ...] = ()
    """In order, equal ones once."""
    coded: bool = False
    """Whether its text has to be decoded for its importer; only the engine asks."""


def scan(path: Path) -> Scan:
    """The names in the one file at `path`, as written but for escapes. None where it cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return Scan()
        kind = kind_of(path)
        extract = _EXTRACTORS.get(kind)
        if extract is None:
            return Scan(kind)
        with path.open("rb") as file:
            text = as_utf8(file) if kind in TEXTS else None
            return Scan(kind, _distinct(extract(file if text is None else io.BytesIO(text))))
    except OSError:
        return Scan()


def names(path: Path) -> list[str]:
    """Every reading of every link of the file at `path`."""
    return list(dict.fromkeys(reading for link in scan(path).links for reading in link.readings))[:MOST]


def _distinct(found: Iterator[Link]) -> tuple[Link, ...]:
    """The first links, those of equal readings as one; what came before a fault in the file counts."""
    places: dict[tuple[tuple[str, ...], int | None], tuple[Link, list[tuple[int, int]]]] = {}
    different: set[tuple[str, ...]] = set()
    size = 0
    with contextlib.suppress(OSError, EOFError, zlib.error, ValueError):
        for link in filter(_is_usable, itertools.islice(found, MOST_LINKS)):
            key = (link.readings, link.group)
            if key not in places:
                different.add(link.readings)
                size += sum(len(os.fsencode(reading)) for reading in (*link.readings, *link.words))
                if len(different) > MOST or size > MOST_TEXT:
                    break
            places.setdefault(key, (link, []))[1].extend(link.spans)
    return tuple(replace(link, spans=tuple(spans)) for link, spans in places.values())


def _is_usable(link: Link) -> bool:
    """Whether a file of this system can have such a name at all."""
    try:
        all(map(os.fsencode, (*link.readings, *link.words)))
    except UnicodeEncodeError:
        return False
    return any(link.readings[:1]) and "\0" not in link.readings[0]


def kind_of(path: Path) -> str:
    """What decides where names stand in the file: `mtl`, an image's extension, or the model's format, or "".

    Raises OSError where the file cannot be read.
    """
    suffix = path.suffix.lower()[1:]
    return suffix if suffix == "mtl" or is_image_file(path) else sniff(path) or ""


def is_image_file(path: Path) -> bool:
    """Whether a file is taken for an image, and not read, by its name."""
    return path.suffix.lower()[1:] in _IMAGES


def is_image(name: str) -> bool:
    """Whether a name ends as images do."""
    return base_name(name).rpartition(".")[2].lower() in _IMAGES


def _chunks(file: BinaryIO, size: int = _LARGEST) -> Iterator[tuple[int, bytes, int]]:
    """(offset, bytes, how many of them may begin a find): they overlap, so that a name is whole in one."""
    before = b""
    for start in range(0, size, _CHUNK):
        piece = before + file.read(min(_CHUNK, size - start))
        last = len(piece) < len(before) + _CHUNK
        yield start - len(before), piece, len(piece) if last else len(piece) - _LONGEST
        if last:
            return
        before = piece[-_LONGEST:]


def _found(
    file: BinaryIO, pattern: re.Pattern[bytes], size: int = _LARGEST
) -> Iterator[tuple[int, re.Match[bytes]]]:
    """(what to add to its positions, match)"""
    for offset, piece, until in _chunks(file, size):
        for match in pattern.finditer(piece):
            if match.start() < until:
                yield offset, match


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _link(offset: int, match: re.Match[bytes], group: int, *readings: str) -> Link:
    return Link(readings, ((offset + match.start(group), offset + match.end(group)),))


_URI = re.compile(rb'"uri"\s*:\s*"((?!data:)(?:[^"\\]|\\.){1,1000})"', re.DOTALL)


def _gltf(file: BinaryIO) -> Iterator[Link]:
    head = file.read(20)
    binary = head[:4] == b"glTF"
    size = int.from_bytes(head[12:16], "little") if binary else _LARGEST
    at = 20 if binary else 0
    file.seek(at)
    for offset, match in _found(file, _URI, min(size, _LARGEST)):
        try:
            text = json.loads(b'"' + match[1] + b'"')
        except ValueError:
            text = _text(match[1])
        yield _link(at + offset, match, 1, text)


_MTLLIB = re.compile(rb"(?<!\S)mtllib[ \t]+([^\r\n]{1,1000})")
_MAP = re.compile(
    rb"(?<!\S)(?:map_\w{1,64}|map|bump|disp|decal|refl|norm)[ \t]+([^\r\n]{1,1000})", re.IGNORECASE
)
_OPTION = re.compile(
    r"-(?:[ost](?:[ \t]+[-+.\deE]+){1,3}|mm(?:[ \t]+[-+.\deE]+){1,2}|[A-Za-z]+[ \t]+\S+)[ \t]+"
)


def _obj(file: BinaryIO) -> Iterator[Link]:
    for offset, match in _found(file, _MTLLIB):
        text = _text(match[1])
        yield from _line(text, offset + match.start(1), text)


def _mtl(file: BinaryIO) -> Iterator[Link]:
    for offset, match in _found(file, _MAP):
        text = rest = _text(match[1])
        for _ in range(16):
            option = _OPTION.match(rest)
            if option is None:
                break
            rest = rest[option.end() :]
        yield from _line(text, offset + match.start(1), rest)


def _line(text: str, start: int, likeliest: str) -> Iterator[Link]:
    """Names may hold spaces, many may stand in a line, and options before them: every reading is tried."""
    text = text.rstrip()
    words = text.split(" ")
    tails = [
        " ".join(words[first:]) for first in range(0 if not text.startswith("-") else 1, min(len(words), 16))
    ]
    uncommented = likeliest.partition(" #")[0]
    readings = dict.fromkeys(_unquoted(tail) for tail in (likeliest, *tails, uncommented))
    several = [_unquoted(word) for word in words[:16] if "." in word[1:]]
    readings |= dict.fromkeys(several)
    end = start + len(text.encode("utf-8", "surrogateescape"))
    alternatives = tuple(several) if 1 < len(several) == len(words) else ()
    yield Link(tuple(readings), ((start, end),), alternatives)


def _unquoted(text: str) -> str:
    return text.strip().strip('"')


_TEXTURE_FILE = re.compile(rb"^comment[ \t]+TextureFile[ \t]+([^\r\n]{1,1000})", re.MULTILINE | re.IGNORECASE)


def _ply(file: BinaryIO) -> Iterator[Link]:
    header = file.read(_HEADER).partition(b"end_header")[0]
    for match in _TEXTURE_FILE.finditer(header.replace(b"\r", b"\n")):
        yield _link(0, match, 1, _text(match[1]).strip())


_INIT_FROM = re.compile(rb"<(?:\w{1,64}:)?(?:init_from|ref)\b[^<>]{0,200}>([^<]{1,1000})<")


def _dae(file: BinaryIO) -> Iterator[Link]:
    for offset, match in _found(file, _INIT_FROM):
        name = html.unescape(_text(match[1])).strip()
        if "." in name:  # else the identity of an image element
            yield _link(offset, match, 1, name)


_URL = re.compile(
    rb"\burl\s{0,64}(?:=\s{0,64}'([^']{1,1000})|=\s{0,64}\"([^\"]{1,1000})"
    rb"|(\[?\s{0,64}(?:\"[^\"]{0,300}\"[\s,]{0,64}){1,64}))"
)
_QUOTED = re.compile(r'"([^"]+)"')


def _x3d(file: BinaryIO) -> Iterator[Link]:
    with gzip.GzipFile(fileobj=file) if _is_gzip(file) else file as plain:  # type: ignore[attr-defined]
        for group, (_, match) in enumerate(_found(plain, _URL)):  # type: ignore[arg-type]
            text = html.unescape(_text(match[1] or match[2] or match[3]))
            for name in _QUOTED.findall(text) or [text.strip()]:
                if not name.startswith("#"):
                    yield Link((name,), group=group)


def _is_gzip(file: BinaryIO) -> bool:
    magic = file.read(2)
    file.seek(0)
    return magic == b"\x1f\x8b"


_ASSET = re.compile(rb"@@@([^\x00]{1,1000}?)@@@|@([^@\r\n\x00]{1,1000})@")


def _usda(file: BinaryIO) -> Iterator[Link]:
    for offset, match in _found(file, _ASSET):
        raw = (match[1] or match[2]).partition(b"[")[0]  # what stands in brackets is a file in an archive
        start = offset + match.start(1 if match[1] else 2)
        yield Link((_text(raw),), ((start, start + len(raw)),))


def _usdc(file: BinaryIO) -> Iterator[Link]:
    yield from _endings(read_tokens(file))


def _scan(file: BinaryIO) -> Iterator[Link]:
    """Whatever ends like a file name: for formats that keep names in the clear among binary data."""
    for _, piece, _ in _chunks(file):
        yield from _endings(piece)


def _endings(data: bytes) -> Iterator[Link]:
    seen: set[bytes] = set()
    for ending in _ENDING.finditer(data):
        backward = _BACKWARD.match(data[max(0, ending.start() - 512) : ending.start()][::-1])
        if backward:
            raw = backward[0][::-1] + ending[0]
            if raw not in seen and len(seen) < 16 * MOST:
                seen.add(raw)
                yield Link((_text(raw).strip(),))


def _blend(file: BinaryIO) -> Iterator[Link]:
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
    import zstandard  # Python has it since 3.14

    with contextlib.suppress(zstandard.ZstdError):
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False)
        yield from _scan(io.BufferedReader(reader))  # type: ignore[arg-type]


_EXTRACTORS: dict[str, Callable[[BinaryIO], Iterator[Link]]] = {
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
