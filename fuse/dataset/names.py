"""Names that come from files of a dataset: which of them may become part of a path.

A uid or a shard's name may be a stranger's: `checked` is the only way from such a name to a path.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, ValidationError

from render.failures import UserError, printable

LONGEST = 200  # bytes; a file name may have 255
RULE = f"At most {LONGEST} bytes, no slash, backslash or control character, and no dot in front."
_BAD = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|^\.|^$")


def is_name(text: str) -> bool:
    """Whether a text can name a file inside one folder, and nothing outside it."""
    return not _BAD.search(text) and len(text.encode()) <= LONGEST


def checked(text: str) -> str:
    """The text itself; UserError if it cannot name a file."""
    if not is_name(text):
        raise UserError(f"{printable(text[:LONGEST])!r} cannot be a file name. {RULE}")
    return text


Name = Annotated[str, AfterValidator(checked)]
"""A text that can name a file: for pydantic's models."""


def brief(error: ValidationError) -> str:
    """The first fault that a model found in a file, without the file's own content."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    return printable(f"{place}: {first['msg']}" if place else first["msg"])[:300]
