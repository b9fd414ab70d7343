"""What a file is, judged by its bytes; its name only decides where the bytes leave it open.

Downloaded collections are full of GLBs named .gltf, OBJs named .stl, error pages and Git LFS pointers.
`sniff` names the format, or gives None, and then `explain` says what the file is instead. Nothing is read
beyond the first 64 KiB (and a zip's directory), and neither Blender nor any other heavy package is
imported: model discovery uses this module.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from render.references.archives import TooLarge, directory
from render.references.plain_text import utf16

SUPPORTED = frozenset(
    {
        ".glb",
        ".gltf",
        ".obj",
        ".fbx",
        ".stl",
        ".ply",
        ".usd",
        ".usda",
        ".usdc",
        ".usdz",
        ".abc",
        ".dae",
        ".blend",
        ".3ds",
        ".off",
        ".3mf",
        ".x3d",
        ".wrl",
    }
)
"""Extensions, lower case with their dot, that discovery picks up."""

_HEAD = 65536

_MAGIC = (
    (b"glTF", "glb"),
    (b"PXR-USDC", "usdc"),
    (b"#usda", "usda"),
    (b"Ogawa", "abc"),
    (b"\x89HDF\r\n\x1a\n", "abc"),
    (b"BLENDER", "blend"),
    (b"\x28\xb5\x2f\xfd", "blend"),  # zstandard: of all these formats only .blend is wrapped in it
    (b"Kaydara FBX Binary", "fbx"),
    (b"#VRML", "wrl"),
    (b"#X3D", "wrl"),  # X3D in its classic encoding: the same grammar as VRML 2
    (b"ply\n", "ply"),
    (b"ply\r", "ply"),
)

_STRANGERS = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the model itself: run `git lfs pull` where it came from",
    ),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"DDS ", "a DDS image"),
    (b"\xabKTX", "a KTX image"),
    (b"\x7fELF", "an ELF program"),
    (b"MZ", "a Windows program"),
    (b"%PDF", "a PDF document"),
    (b"Rar!", "a RAR archive: unpack it"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it"),
)

_BY_MAGIC_ONLY = frozenset({"glb", "usda", "usdc", "usdz", "3mf", "abc", "blend", "3ds", "ply", "wrl"})
"""Formats whose first bytes are fixed: without them the name alone proves nothing."""

_XML_ROOTS = {"COLLADA": "dae", "X3D": "x3d"}
_GLTF_KEYS = ('"asset"', '"accessors"', '"buffers"', '"bufferViews"', '"meshes"', '"nodes"', '"scenes"')
_OFF_HEADER = re.compile(r"(?:#[^\n]*\n\s*)*(?:ST|[CN4n])*(?i:OFF)(?![A-Za-z_])")
_OBJ_VERTEX = re.compile(r"^[ \t]*v[ \t]+[-+.\d]\S*[ \t]+[-+.\d]\S*[ \t]+[-+.\d]", re.MULTILINE)
_OBJ_OTHER = re.compile(r"^[ \t]*(f[ \t]+-?\d|vn\s|vt\s|mtllib\s|usemtl\s|[og]\s)", re.MULTILINE)
_STL_FACET = re.compile(r"^[ \t]*(facet[ \t]+normal|outer[ \t]+loop|endsolid)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class _Verdict:
    """`known` is a format or None; `stranger` says what the file is when it is certainly no model."""

    known: str | None = None
    stranger: str | None = None


def sniff(path: Path) -> str | None:
    """The format of the file at `path` as an extension without dot (glb, gltf, obj, ...), or None if it is no
    model.

    `usda`, `usdc` and `usdz` are told apart; `wrl` is VRML and classic X3D. Raises OSError where it cannot
    be read.
    """
    verdict = _judge(path)
    named = _named(path)
    if verdict.known or verdict.stranger or named in _BY_MAGIC_ONLY:
        return verdict.known
    return named


def explain(path: Path) -> str:
    """Why `sniff` gave None: what the file seems to be, and what to do about it."""
    if path.is_dir():
        return f"{path.name} is a folder"
    verdict = _judge(path)
    if verdict.stranger:
        return f"{path.name} is {verdict.stranger}"
    named = _named(path)
    if named:
        return f"{path.name} does not begin as a .{named} file must, and is no other known format: damaged?"
    return f"{path.name} is in no format that can be imported ({' '.join(sorted(SUPPORTED))})"


def _named(path: Path) -> str | None:
    """The format that the extension claims; `.usd` may hold either encoding."""
    suffix = path.suffix.lower()
    return suffix[1:] if suffix in SUPPORTED else None


def _judge(path: Path) -> _Verdict:
    if not path.is_file():
        return _Verdict(stranger="not a regular file")
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head[:2] == b"\x1f\x8b":
        return _judge_gzip(path)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _judge_zip(path)
    return _judge_bytes(head, size)


def _judge_bytes(head: bytes, size: int) -> _Verdict:
    if not head.strip(b"\0 \t\r\n"):
        return _Verdict(stranger="empty" if size == 0 else "only zeros and white space: a broken download?")
    encoding = utf16(head)
    if encoding:
        head = head.decode(encoding, "replace").lstrip("\ufeff").encode("utf-8", "replace")
    for magic, known in _MAGIC:
        if head.startswith(magic):
            return _Verdict(known)
    for magic, stranger in _STRANGERS:
        if head.startswith(magic):
            return _Verdict(stranger=stranger)
    if _is_binary_stl(head, size):
        return _Verdict("stl")
    if _is_3ds(head, size):
        return _Verdict("3ds")
    return _judge_text(_text(head))


def _is_binary_stl(head: bytes, size: int) -> bool:
    """80 bytes of header, a count, 50 bytes per triangle: the size equation proves it, even after the word
    `solid`."""
    count = int.from_bytes(head[80:84], "little")
    return size >= 134 and size == 84 + 50 * count


def _is_3ds(head: bytes, size: int) -> bool:
    """The main chunk 0x4D4D spans the file, and one of the chunks that may stand first in it follows."""
    length = int.from_bytes(head[2:6], "little")
    first = int.from_bytes(head[6:8], "little")
    return head[:2] == b"MM" and 6 < length <= size + 6 and first in (0x0002, 0x3D3D, 0x3D3E, 0xB000, 0x0100)


def _text(head: bytes) -> str:
    """The head as text whose lines end with `\n`."""
    text = head.decode("utf-8", "replace").lstrip("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _judge_text(text: str) -> _Verdict:
    start = text.lstrip()
    if start[:1] == "<":
        return _judge_xml(start)
    if start[:1] == "{":
        return _Verdict("gltf") if any(key in text for key in _GLTF_KEYS) else _Verdict()
    if _OFF_HEADER.match(start):
        return _Verdict("off")
    if "FBXHeaderExtension" in text or start.startswith("; FBX"):
        return _Verdict("fbx")
    if start[:5].lower() == "solid" and _STL_FACET.search(text):
        return _Verdict("stl")
    if _OBJ_VERTEX.search(text) and (_OBJ_OTHER.search(text) or len(text) >= _HEAD // 2):
        return _Verdict("obj")
    return _Verdict()


def _judge_xml(start: str) -> _Verdict:
    if re.match(r"<!doctype\s+html|<html", start, re.IGNORECASE):
        return _Verdict(stranger="an HTML page, probably an error page that a download saved")
    root = re.search(r"<(?:\w+:)?([A-Za-z]\w*)", _without_comments(start))
    if root is None:
        return _Verdict()
    known = _XML_ROOTS.get(root.group(1))
    return (
        _Verdict(known)
        if known
        else _Verdict(stranger=f"an XML document <{root.group(1)}>, not COLLADA or X3D")
    )


def _without_comments(text: str) -> str:
    """XML without comments and processing instructions; what follows one that does not end is dropped."""
    pieces, at = [], 0
    while at < len(text):
        start = min((found for mark in ("<!--", "<?") if (found := text.find(mark, at)) >= 0), default=-1)
        if start < 0:
            return "".join([*pieces, text[at:]])
        pieces.append(text[at:start])
        mark = "-->" if text.startswith("<!--", start) else "?>"
        end = text.find(mark, start + 2)
        at = end + len(mark) if end >= 0 else len(text)
    return "".join(pieces)


def _judge_gzip(path: Path) -> _Verdict:
    """Compressed .blend, and .wrl or .x3d as old exporters gzip them."""
    try:
        with gzip.open(path) as file:
            head = file.read(_HEAD)
    except (EOFError, OSError, zlib.error):
        return _Verdict(stranger="a damaged gzip file")
    inner = _judge_bytes(head, len(head))
    if inner.known in ("blend", "wrl", "x3d"):
        return inner
    return _Verdict(stranger="a gzip archive: unpack it")


def _judge_zip(path: Path) -> _Verdict:
    entries = None
    try:
        with contextlib.suppress(OSError):
            entries = directory(path)
    except TooLarge:
        return _Verdict(stranger="a zip archive with a directory beyond all measure")
    if entries is None:  # USD reads from the front, and so survives a missing directory at the end
        names = [_first_zip_name(path)]
    else:
        names = [entry.filename.lower() for entry in entries if not entry.filename.endswith("/")]
    if any(name.endswith(".model") for name in names):
        return _Verdict("3mf")
    if any(name.endswith((".usda", ".usdc", ".usd")) for name in names[:64]):
        return _Verdict("usdz")
    return _Verdict(stranger="a zip archive without a USD layer or 3MF model: unpack it")


def _first_zip_name(path: Path) -> str:
    with path.open("rb") as file:
        header = file.read(30)
        return file.read(int.from_bytes(header[26:28], "little")).decode("utf-8", "replace").lower()
