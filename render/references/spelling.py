"""File names that are not UTF-8 as text that is, and back: `source` in ledgers, bundles and shards.

    spelled("K\\udcf6ln.obj")           # "K%F6ln.obj"
    unspelled("K%F6ln.obj")            # "K\\udcf6ln.obj", which names the same file

A byte that is no part of UTF-8 becomes `%` and two capital hex digits. So that this can be undone, `%` itself
becomes `%25` in a name that has such bytes, or that could be mistaken for one that has; every other name
stays as it is.
"""

from __future__ import annotations

import os
import re

_ESCAPED = re.compile("%(25|[89A-F][0-9A-F])")
_BYTE = re.compile("[\udc80-\udcff]")


def spelled(name: str) -> str:
    """A name as the file system gives it (surrogates for undecodable bytes), as valid text."""
    if not _BYTE.search(name) and not _ESCAPED.search(name):
        return name
    return _BYTE.sub(lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", name.replace("%", "%25"))


def unspelled(text: str) -> str:
    """The name that `spelled` made `text` of; the inverse for every name."""
    if not _ESCAPED.search(text):
        return text
    raw = re.sub(
        rb"%(25|[89A-F][0-9A-F])",
        lambda match: bytes([int(match[1], 16)]),
        text.encode("utf-8", "surrogateescape"),
    )
    return os.fsdecode(raw)


def is_text(name: str) -> bool:
    """Whether a name as the file system gives it is UTF-8."""
    return not _BYTE.search(name)
