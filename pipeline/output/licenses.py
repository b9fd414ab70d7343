"""The text of a row's `license`: a name, and after semicolons its author and where the model comes from.

    CC-BY-4.0; by Jane Doe; https://example.org/chair

Attribution travels with the license that asks for it. A text without semicolons is a name alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_SPDX = [
    (r"public domain|cc0|cc-0", "CC0-1.0"),
    (r"non-?commercial.*no-?deriv", "CC-BY-NC-ND-{version}"),
    (r"non-?commercial.*share-?alike", "CC-BY-NC-SA-{version}"),
    (r"non-?commercial", "CC-BY-NC-{version}"),
    (r"no-?deriv", "CC-BY-ND-{version}"),
    (r"share-?alike", "CC-BY-SA-{version}"),
    (r"creative commons.*attribution|attribution.*creative commons", "CC-BY-{version}"),
]


class License(NamedTuple):
    """A license, whom to credit, and where the model comes from."""

    name: str | None
    author: str | None = None
    url: str | None = None

    def __str__(self) -> str:
        author = f"by {_one_part(self.author)}" if self.author else None
        return "; ".join(part for part in (_one_part(self.name or "unknown"), author, self.url) if part)


def parse(text: str | None) -> License:
    """The parts of a row's license."""
    name, *rest = [part.strip() for part in (text or "").split(";")]
    author = next((part[3:] for part in rest if part.startswith("by ")), None)
    url = next((part for part in rest if re.match(r"https?://", part)), None)
    return License(name if name not in ("", "unknown") else None, author, url)


def is_known(text: str | None) -> bool:
    """Whether a row's license says what one may do with the model."""
    return parse(text).name is not None


def spdx(words: str) -> str:
    """A Creative Commons license's SPDX name, from its name in words; other words as they are."""
    lower = words.lower()
    found = re.search(r"\b(\d\.\d)\b", lower)
    for pattern, name in _SPDX:
        if re.search(pattern, lower):
            country = "-US" if "united states" in lower and "{version}" in name else ""
            return name.format(version=found[1] if found else "4.0") + country
    return words.strip()


def _one_part(text: str) -> str:
    """Without the separator."""
    return " ".join(text.replace(";", ",").split())
