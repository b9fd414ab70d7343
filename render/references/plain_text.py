"""Text of any encoding as UTF-8 with lines that end in `\\n`, which is what Blender's importers read.

    as_utf8(open("chair.mtl", "rb"))        # the whole text in UTF-8, or None where the bytes can stay

UTF-16 is recognized by its mark, or by its zeros; XML says its encoding. Other legacy encodings (GBK,
Shift-JIS, CP1252) stay as they are: importers compare names byte by byte, and file names are looked up in
every encoding (`render.references.lookup`). What must not stay is a line of Shift-JIS or GBK whose last byte
is a backslash: to an OBJ reader it would continue in the next line.
"""

from __future__ import annotations

import codecs
import os
import re
from typing import BinaryIO

LARGEST = 256 << 20
"""Bytes of a file that is converted."""

_HEAD = 4096
_PIECE = 4 << 20
_NOT_OLD_MAC = re.compile(rb"[\n\0]|format binary")
_DECLARED = re.compile(rb"""\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.-]{1,40})""")
_LEGACY = re.compile("gb|big5|shift_jis|cp|euc_|iso2022|iso8859|koi8|mac|hz$")
_XML_ENCODING = re.compile(r"""\A(\s*<\?xml[^>]{0,200}?encoding\s*=\s*["'])[\w.-]{1,40}""")


def as_utf8(file: BinaryIO) -> bytes | None:
    """The text of a file in UTF-16, in UTF-8 with a mark, in the encoding that its XML declares, or whose
    lines end in `\\r` alone; else None.

    The file is left at its start.
    """
    head = file.read(_HEAD)
    whole = file.seek(0, os.SEEK_END) <= LARGEST
    file.seek(0)
    encoding = utf16(head) or (_declared(head) if whole else None)
    old_mac = b"\r" in head and not _NOT_OLD_MAC.search(head)
    if encoding is None and not old_mac:
        return None
    data = file.read(LARGEST)
    file.seek(0)
    if encoding is not None:
        text = data.decode(encoding, "replace").removeprefix("\ufeff")
        data = _XML_ENCODING.sub(r"\g<1>utf-8", text).encode("utf-8", "replace")
    return data if b"\n" in data[:_HEAD] else data.replace(b"\r", b"\n")


def utf16(head: bytes) -> str | None:
    """The encoding of a file that begins with `head`, where it is UTF-16 or marked UTF-8."""
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    even, odd = head[0:512:2], head[1:512:2]
    if len(odd) >= 8 and b"\0" not in even and odd.count(0) > 0.7 * len(odd):
        return "utf-16-le"
    if len(odd) >= 8 and b"\0" not in odd and even.count(0) > 0.7 * len(even):
        return "utf-16-be"
    return None


def _declared(head: bytes) -> str | None:
    """The legacy encoding that XML names, if it is one that Python knows."""
    found = _DECLARED.match(head)
    try:
        known = codecs.lookup(found[1].decode()) if found else None
    except LookupError:
        return None
    return known.name if known and _LEGACY.match(known.name) else None


_CONTINUED = re.compile(rb"(?<=[\x81-\xfe])\\(?=\r?\n)")


def without_false_continuations(file: BinaryIO) -> bytes | None:
    """OBJ or MTL text whose lines of two-byte characters do not end in a backslash, in the same length.

    None where the bytes can stay. The file is left at its start.
    """
    found = any(_CONTINUED.search(piece) for piece in iter(lambda: file.read(_PIECE), b""))
    file.seek(0)
    data = file.read(LARGEST) if found else b""
    file.seek(0)
    if not found or _is_utf8(data):
        return None
    return _CONTINUED.sub(b"_", data)


_KEYWORD = re.compile(
    rb"^[ \t]*(newmtl|illum|k[adse]|map_k[adse]|map_d|tr|d)(?=[ \t])", re.MULTILINE | re.IGNORECASE
)
_USUAL = {word.lower(): word for word in (b"Ka Kd Ks Ke map_Ka map_Kd map_Ks map_Ke Tr").split()}


_WITH_OPTIONS = re.compile(
    rb"^([ \t]*(?:map_\w{1,64}|bump|disp|decal|refl|norm)[ \t]+)(-[^\r\n]{1,1000})",
    re.MULTILINE | re.IGNORECASE,
)
_OPTION = re.compile(
    rb"(?:-[ost](?:[ \t]+[-+.\deE]+){1,3}|-mm(?:[ \t]+[-+.\deE]+){1,2}|-([A-Za-z]+)[ \t]+\S+)[ \t]+"
)
_KNOWN = frozenset(b"bm type blendu blendv boost cc clamp imfchan texres".split())


_COMMAS = re.compile(
    rb"^[ \t]{0,64}(?:K[adse]|d|N[si])[ \t]{1,64}(?=[\d ,\t]{0,100}\d,\d)[\d ,\t]{1,200}\r?$",
    re.MULTILINE | re.IGNORECASE,
)


def usual_mtl(text: bytes) -> bytes:
    """MTL text as Blender reads it, in the same length: keywords in its case, no options unknown to it, and
    no commas for decimal points."""
    text = _COMMAS.sub(lambda found: _without_commas(found[0]), text)
    text = _KEYWORD.sub(lambda found: found[0][: found.start(1) - found.start()] + _usual(found[1]), text)
    return _WITH_OPTIONS.sub(lambda found: found[1] + _without_unknown(found[2]), text)


def _without_commas(line: bytes) -> bytes:
    """A line with points for commas, or blanks where they part its numbers."""
    part = any(word.count(b",") > 1 for word in line.split())
    return line.replace(b",", b" " if part else b".")


def _without_unknown(options: bytes) -> bytes:
    """A line's options and name, with blanks for options that Blender would take for a part of the name."""
    kept, at = b"", 0
    while option := _OPTION.match(options, at):
        unknown = option[1] and option[1] not in _KNOWN
        kept += b" " * len(option[0]) if unknown else option[0]
        at = option.end()
    return kept + options[at:]


def _usual(keyword: bytes) -> bytes:
    return _USUAL.get(keyword.lower(), keyword.lower())


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
