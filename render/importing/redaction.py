"""References that lead out of a model's folder, made to lead nowhere: the same bytes in the same length.

    blinded(b"map_Kd ../../secret.png", ["../../secret.png"])      # b"map_Kd __/__/secret.png"

So a copy of a model can be given to an importer even where nothing else keeps it from opening what it is told
to open, and what comes out is the same wherever it runs. Names packed by compression are not found.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable

MOST_NAMES = 64
LARGEST = 64 << 20
"""Bytes of a file that is looked through."""

_LEADING = re.compile(rb"^(?:[/\\]+|(?:%2[fF])+|[fF][iI][lL][eE]:)+")
_UP = re.compile(rb"\.\.|%2[eE]")


def blinded(data: bytes, names: Iterable[str]) -> bytes:
    """`data` with each of `names` turned into a relative path that does not leave its folder."""
    for raw in _spellings(names):
        pattern = re.compile(rb"(?<![A-Za-z0-9_./\\%~-])" + re.escape(raw))
        data = pattern.sub(lambda match: _blind(match[0]), data)
    return data


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
