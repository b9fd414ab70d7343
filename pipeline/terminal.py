"""Text for a terminal: names and messages that come from files are shown, never obeyed.

A file's name, a ledger's message or a log may hold escape sequences that move the cursor, set the window's
title or rewrite what was printed before. Whatever is printed goes through `show`.
"""

from __future__ import annotations

import sys
from typing import TextIO

from render.failures import printable


def show(*lines: str, file: TextIO | None = None) -> None:
    """Print each of `lines`, with control characters escaped, at once."""
    stream = file or sys.stdout
    for line in lines:
        stream.write(f"{printable(line)}\n")
    stream.flush()
