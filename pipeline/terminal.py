"""Text for a terminal: names and messages that come from files are shown, never obeyed.

A file's name, a ledger's message or a log may hold escape sequences that move the cursor, set the window's
title or rewrite what was printed before. Whatever is printed goes through `show`, or through `plain`.
"""

from __future__ import annotations

import sys
import unicodedata
from typing import TextIO


def plain(text: str) -> str:
    r"""`text` as one line that a terminal only displays: control characters, line ends too, become `\x1b`."""
    return text if text.isprintable() else "".join(map(_shown, text))


def show(*lines: str, file: TextIO | None = None) -> None:
    """Print each of `lines`, made plain, at once."""
    stream = file or sys.stdout
    for line in lines:
        stream.write(f"{plain(line)}\n")
    stream.flush()


def _shown(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")
