"""References rewritten in the copy of a model that an importer gets.

    blinded(b"map_Kd ../../secret.png", ["../../secret.png"])      # b"map_Kd __/__/secret.png"
    redirected(b"map_Kd C:\\wood.png", "mtl", {(7, 18): [("C:\\wood.png", "maps/wood.png")]})

Those that lead out of the model's folder are made to lead nowhere, in the same length: so the copy is safe
even where nothing else keeps an importer from opening what it names, and what comes out is the same wherever
it runs. Those that lead to the wrong place are made to lead to the file that is meant. Names packed by
compression are not found.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

MOST_NAMES = 64
LARGEST = 64 << 20
"""Bytes of a file that is looked through."""

_LEADING = re.compile(rb"^(?:[/\\]+|(?:%2[fF])+|[fF][iI][lL][eE]:)+")
_ESCAPED = r"\x00-\x1f\x7f\udc80-\udcff\"@#\[\]\\"
_PLAIN = re.compile(rf"(?![ -])[^{_ESCAPED}]+(?<! )")
_UNSAFE = re.compile(r"[^A-Za-z0-9_./-]")
_OF_NAMES = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./\\%~-")
_UP = re.compile(rb"\.\.|%2[eE]")


def blinded(data: bytes, names: Iterable[str]) -> bytes:
    """`data` with each of `names` turned into a relative path that does not leave its folder."""
    for raw in _spellings(names):
        data = b"".join(_pieces(data, raw, _blind(raw)))
    return data


def _pieces(data: bytes, old: bytes, new: bytes) -> Iterator[bytes]:
    """`data` with `new` for `old` where that begins a name: by `find`: a pattern takes ten times as long."""
    kept = at = 0
    while (found := data.find(old, at)) >= 0:
        at = found + 1
        if found == 0 or data[found - 1] not in _OF_NAMES:
            yield data[kept:found]
            yield new
            kept = at = found + len(old)
    yield data[kept:]


def _blind(raw: bytes) -> bytes:
    plain = _LEADING.sub(lambda match: b"_" * len(match[0]), raw)
    return _UP.sub(lambda match: b"_" * len(match[0]), plain)


def _spellings(names: Iterable[str]) -> list[bytes]:
    """How a name may stand in a file: as it is, or with JSON's or XML's escapes; the longest first."""
    found: dict[bytes, None] = {}
    for name in list(dict.fromkeys(names))[:MOST_NAMES]:
        quoted = json.dumps(name)[1:-1]
        for text in (name, quoted, quoted.replace("/", "\\/"), html.escape(name)):
            found[text.encode("utf-8", "surrogateescape")] = None
    return sorted(found, key=len, reverse=True)


def redirected(data: bytes, kind: str, edits: dict[tuple[int, int], list[tuple[str, str]]]) -> bytes:
    """`data` with other names where names stand: (start, end) -> [(name as written, path to put there)].

    The paths are such as `spelled_for` makes. The lengths in a GLB follow.
    """
    pieces, at = [], 0
    for (start, end), names in sorted(edits.items()):
        if start < at:
            continue
        begin = start + _offset(data[start:end], names)
        lines = b"\nmtllib ".join(path.encode() for _, path in names)
        pieces += [data[at:begin], lines]
        at = end
    out = b"".join([*pieces, data[at:]])
    return _fitted(out, len(out) - len(data)) if kind == "glb" else out


def _offset(text: bytes, names: list[tuple[str, str]]) -> int:
    """Where in a line the name begins: options may stand before it."""
    if len(names) > 1:
        return 0
    at = text.rfind(os.fsencode(names[0][0]))
    return max(0, at - (text[at - 1 : at] == b'"'))


def _fitted(data: bytes, more: int) -> bytes:
    """A GLB whose JSON grew by `more` bytes, padded with spaces to a multiple of 4."""
    length = int.from_bytes(data[12:16], "little") + more
    padding = -length % 4
    end = 20 + length
    head = data[:8] + (len(data) + padding).to_bytes(4, "little") + (length + padding).to_bytes(4, "little")
    return head + data[16:end] + b" " * padding + data[end:]


def spelled_for(kind: str, path: str) -> str | None:
    """How a relative path is written in a file of format `kind`; None where that is not possible."""
    if kind in ("gltf", "glb", "dae"):
        return quote(path)
    return path if _PLAIN.fullmatch(path) else None


def safe_path(path: str) -> str:
    """`path` itself where it has only characters that no format escapes; else with the others as _XX."""
    return _UNSAFE.sub(lambda match: "".join(f"_{byte:02x}" for byte in os.fsencode(match[0])), path)
