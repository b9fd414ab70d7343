"""Data as scripts: a page opened from disk may load scripts, and nothing else.

    report.put("index", JSON.parse('{"rows": 320}'));

JSON.parse makes plain data of whatever the text says: no name or caption becomes code or a prototype. The
text is ASCII, so that no encoding and no line separator matters.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

_ESCAPED = str.maketrans({"\\": "\\\\", "'": "\\'", "<": "\\u003c", "\x7f": "\\u007f"})


def script(name: str, value: Any) -> bytes:
    """A script that hands `value` to the page under `name`. NaN is refused: JSON has none."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    quoted = json.dumps(name, ensure_ascii=True).translate(_ESCAPED)
    return f"report.put(JSON.parse('{quoted}'),JSON.parse('{text.translate(_ESCAPED)}'));\n".encode("ascii")


def packed(array: np.ndarray) -> str:
    """Any array's bytes, little-endian, C order, as base64; its (N, ...) shape and dtype are the reader's
    to know."""
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def data_uri(data: bytes, mime: str) -> str:
    """Bytes as an address that an image may have."""
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
