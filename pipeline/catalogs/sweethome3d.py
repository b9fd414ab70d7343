"""Sweet Home 3D's furniture libraries, unpacked: `.sh3f` files are zips, in Debian's sweethome3d-furniture.

Each has a Java properties file with `name#N`, `category#N`, `creator#N`, `model#N`, ... per piece, and its
license in words. Format: sweethome3d.com, "Furniture Library Editor".
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from pipeline.catalogs.entry import Entry
from pipeline.output.licenses import License, spdx

NAME = "sweethome3d"
_CATALOG = "PluginFurnitureCatalog.properties"  # translations have a suffix: _fr
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)")
_LETTERS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def knows(folder: Path) -> bool:
    """Whether the folder, or one in it, is an unpacked library."""
    return any(_catalogs(folder))


def entries(folder: Path) -> Iterator[Entry]:
    """Every piece of every library below the folder."""
    for catalog in _catalogs(folder):
        values = properties(catalog.read_bytes())
        license = spdx(values.get("license", "").partition("  ")[0])
        pieces: dict[int, dict[str, str]] = defaultdict(dict)
        for key, value in values.items():
            name, mark, number = key.partition("#")
            if mark and number.isdigit():
                pieces[int(number)][name] = value
        inside = catalog.parent.relative_to(folder)
        for _, piece in sorted(pieces.items()):
            if model := piece.get("model"):
                path = (inside / model.lstrip("/")).as_posix()
                author = piece.get("creator")
                yield Entry(path, piece.get("name"), piece.get("category"), License(license or None, author))


def properties(data: bytes) -> dict[str, str]:
    """A Java properties file: Latin-1, `\\uXXXX` escapes, lines continued by a backslash."""
    text = re.sub(r"(?<!\\)((?:\\\\)*)\\\r?\n[ \t\f]*", r"\1", data.decode("latin-1"))
    found = {}
    for line in text.splitlines():
        line = line.lstrip()
        if line and line[0] not in "#!":
            key, value = re.match(r"((?:\\.|[^=:\s\\])*)\s*[=:]?\s*(.*)", line, re.DOTALL).groups()  # pyright: ignore[reportOptionalMemberAccess]
            found[_unescaped(key)] = _unescaped(value).strip()
    return found


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda m: chr(int(m[1][1:], 16)) if len(m[1]) == 5 else _LETTERS.get(m[1], m[1]), text)


def _catalogs(folder: Path) -> list[Path]:
    return sorted([*folder.glob(_CATALOG), *folder.glob(f"*/{_CATALOG}")])
