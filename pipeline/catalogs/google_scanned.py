"""Google Scanned Objects: a folder per object with `meshes/model.obj` and `metadata.pbtxt`.

The metadata is a protocol buffer in text form; its name, description and first category are read. All
objects are under CC-BY 4.0, says the collection's page, and by Google Research.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.catalogs.entry import Entry
from pipeline.output.licenses import License

NAME = "gso"
_META = "metadata.pbtxt"
_MODEL = "meshes/model.obj"
_LICENSE = License("CC-BY-4.0", "Google Research")
_LONGEST = 300  # characters of a caption


def knows(folder: Path) -> bool:
    """Whether some folder in it is an object of the collection."""
    return any((path.parent / _MODEL).is_file() for path in folder.glob(f"*/{_META}"))


def entries(folder: Path) -> Iterator[Entry]:
    """Every object whose model is there."""
    for path in sorted(folder.glob(f"*/{_META}")):
        if (path.parent / _MODEL).is_file():
            text = path.read_text("utf-8", "replace")
            name = _field(text, "name") or path.parent.name
            words = _field(text, "description") or re.sub(r"_[A-Za-z0-9]{11}$", "", name).replace("_", " ")
            model = f"{path.parent.name}/{_MODEL}"
            yield Entry(model, words[:_LONGEST], _field(text, "first"), _LICENSE, path.parent.name)


def _field(text: str, name: str) -> str | None:
    """The first string that a field of this name has, in one line."""
    found = re.search(rf'^\s*{name}:\s*"((?:\\.|[^"\\])*)"', text, re.MULTILINE)
    if not found:
        return None
    text = re.sub(r"\\(.)", lambda match: " " if match[1] in "nrt" else match[1], found[1])
    return " ".join(text.split()) or None
