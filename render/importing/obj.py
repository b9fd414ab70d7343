"""OBJ and MTL as they are meant where Blender's importer misreads them.

- `v x y z w r g b`: it takes w, r and g for the color; `fo`, the old name of `f`, it drops. `readable` writes
  a copy below the scratch folder.
- After a comment that ends with a backslash it skips a line; beside curves it drops a mesh. `readable` puts
  an end to both, and to commas for decimal points.
- Faces with a texture coordinate or normal that is not there (index 0, say) or that stand before their
  vertices it drops. `whole` writes a copy with these faces.
- `Kd` with one value is gray by the specification; it takes green and blue from its default.
- Colors that exporters wrote as 0..255 it reads as fractions.
- Names of materials it compares byte by byte, also where an OBJ is in UTF-8 and its MTL in GBK.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from render.references.lookup import in_other_encodings
from render.srgb import are_bytes, linear_to_srgb, srgb_to_linear

_HEAD = 64 << 10
_LARGEST = 64 << 20  # bytes; larger files are left to the importer
_NUMBER = rb"[ \t]+[-+.\deE]+"
_SEVEN = re.compile(rb"^(v(?:%b){3})(%b)((?:%b){2})(%b)(?=[ \t]*(?:#|\r?$))" % ((_NUMBER,) * 4), re.MULTILINE)
_OUTLINE = re.compile(rb"^fo(?=[ \t])", re.MULTILINE)
_COMMENT = re.compile(rb"^([ \t]*#[^\r\n]*\\)(\r?)$", re.MULTILINE)
_CURVE = re.compile(
    rb"^[ \t]*(?:cstype|deg|curv2?|surf|parm|trim|hole|end)\b(?:[^\r\n\\]|\\\r?\n|\\)*", re.MULTILINE
)
_WHOLE = rb"[ \t]+[-+]?\d+(?:,\d+)?(?:[eE][-+]?\d+)?"
_COMMAS = re.compile(rb"^v[nt]?(?:%b)+[ \t]*\r?$" % _WHOLE, re.MULTILINE)
_CONTINUED = re.compile(rb"\\\r?\n")
_LIBRARY = re.compile(rb"^([ \t]*mtllib[ \t]+)([^\r\n]+?)[ \t]*(\r?)$", re.MULTILINE)
_USED = re.compile(rb"^([ \t]*usemtl[ \t]+)([^\r\n]*[^\s])", re.MULTILINE)
_DEFINED = re.compile(rb"^[ \t]*newmtl[ \t]+([^\r\n]*[^\s])", re.MULTILINE)
_MATERIAL = re.compile(r"^[ \t]*newmtl[ \t]+([^\r\n]*)", re.MULTILINE)
_GRAY = re.compile(r"^[ \t]*Kd[ \t]+(\d+\.?\d*|\.\d+)[ \t]*\r?$", re.MULTILINE)


def readable(path: Path, scratch: Path) -> Path:
    """What to import in place of the file at `path`: itself, or a copy in `scratch`."""
    if path.stat().st_size > _LARGEST:
        return path
    data = path.read_bytes()
    text = _SEVEN.sub(rb"\1\3\4", data) if _has_weights(data[:_HEAD]) else data
    text = _OUTLINE.sub(b"f", text) if b"\nfo" in text else text
    text = _COMMENT.sub(rb"\1.\2", text) if _CONTINUED.search(text) else text
    text = _CURVE.sub(b"", text) if b"cstype" in text and _faces(text) else text
    if any(b"," in match[0] for match in _COMMAS.finditer(text[:_HEAD])):
        text = _COMMAS.sub(lambda match: match[0].replace(b",", b"."), text)
    text = _as_defined(text, path)
    return path if text == data else _copied(text, path, scratch)


def _copied(text: bytes, path: Path, scratch: Path) -> Path:
    copy = scratch / path.name
    copy.write_bytes(from_elsewhere(text, path, scratch))
    return copy


def joined(text: bytes) -> bytes:
    """An OBJ's text with each continued line as one."""
    return _CONTINUED.sub(b" ", text)


def _faces(text: bytes) -> int:
    """How many faces there are at least."""
    return text.count(b"\nf ") + text.count(b"\nf\t") + text.startswith((b"f ", b"f\t"))


def whole(path: Path, scratch: Path) -> Path | None:
    """A copy in `scratch` of the OBJ at `path`, just imported, with the faces that the importer dropped.

    None where it dropped none. Places come first, and corners have only what is there, counted from 1.
    """
    if path.stat().st_size > _LARGEST:
        return None
    text = path.read_bytes()
    if sum(len(mesh.polygons) for mesh in bpy.data.meshes) >= _faces(text):
        return None
    counts = {b"v": 0, b"vt": 0, b"vn": 0}
    places, rest = [], []
    for line in joined(text).splitlines():
        keyword, *words = line.partition(b"#")[0].split() or [b""]
        if keyword in counts:
            counts[keyword] += 1
            places.append(line)
        elif keyword == b"f":
            rest.append(_Face(words, tuple(counts.values())))
        else:
            rest.append(line)
    totals = tuple(counts.values())
    if all(all(one.has(one.counts)) for one in rest if isinstance(one, _Face)):
        return None
    lines = (one.line(totals) if isinstance(one, _Face) else one for one in rest)
    return _copied(b"\n".join([*places, *lines, b""]), path, scratch)


class _Face:
    """A face of the words of its corners, after as many vertices, texture coordinates and normals."""

    def __init__(self, words: list[bytes], counts: tuple[int, ...]):
        self.counts = counts
        try:
            columns = list(zip_longest(*(self._numbers(word) for word in words)))
        except ValueError:
            columns = []
        self.columns = [column if any(column) or 0 in column else () for column in columns]

    def has(self, counts: tuple[int, ...]) -> list[bool]:
        """Of vertices, texture coordinates and normals, whether all are among so many."""
        each = zip(self.columns, counts, strict=False)
        return [all(i is not None and 0 < i <= count for i in column) for column, count in each]

    def line(self, counts: tuple[int, ...]) -> bytes:
        """Its line, without what is not there; empty where a vertex is not."""
        there = self.has(counts)
        if not self.columns or not there[0]:
            return b""
        kept = [column if good else () for column, good in zip(self.columns, there, strict=False)]
        corners = zip_longest(*(map(b"%d".__mod__, column) for column in kept), fillvalue=b"")
        return b"f " + b" ".join(b"/".join(corner).rstrip(b"/") for corner in corners)

    def _numbers(self, word: bytes) -> list[int | None]:
        """The indices of a corner, counted from 1; None where there is none."""
        numbers = [int(part) if part else None for part in word.split(b"/")]
        counted = zip(numbers, self.counts, strict=False)
        return [count + 1 + i if i is not None and i < 0 else i for i, count in counted]


def _has_weights(text: bytes) -> bool:
    """Whether vertices of seven numbers are `x y z 1 r g b`, rather than `x y z r g b 1`."""
    ends = [(match[2], match[4]) for match in _SEVEN.finditer(text)]
    try:
        return bool(ends) and all(float(w) == 1 for w, _ in ends) and any(float(b) != 1 for _, b in ends)
    except ValueError:
        return False


def _as_defined(text: bytes, path: Path) -> bytes:
    """The text with the names of materials in the encoding of the libraries that define them."""
    used = set() if text.isascii() else {match[2] for match in _USED.finditer(text) if not match[2].isascii()}
    if not used:
        return text
    defined = {name for library in _libraries(text, path) for name in _DEFINED.findall(library.read_bytes())}
    names = {
        name: other
        for name in used - defined
        for other in map(os.fsencode, in_other_encodings(os.fsdecode(name)))
        if other in defined
    }
    return _USED.sub(lambda match: match[1] + names.get(match[2], match[2]), text) if names else text


def _libraries(text: bytes, path: Path) -> Iterator[Path]:
    """Those that the OBJ at `path` names in its text, and the one that Blender takes besides."""
    named = [os.fsdecode(match[2]) for match in _LIBRARY.finditer(text[:_HEAD])]
    for library in (*(path.parent / name for name in named), path.with_suffix(".mtl")):
        if library.is_file() and library.stat().st_size < _LARGEST:
            yield library


def from_elsewhere(text: bytes, path: Path, folder: Path) -> bytes:
    """The text of the OBJ at `path`, which names its libraries from `folder`.

    One of the model's own stem, which is Blender's default, is named too.
    """
    way = os.fsencode(os.path.relpath(path.parent, folder)) + b"/"
    if _LIBRARY.search(text) is None and path.with_suffix(".mtl").is_file():
        text = b"mtllib " + os.fsencode(path.with_suffix(".mtl").name) + b"\n" + text
    return _LIBRARY.sub(lambda match: match[1] + way + match[2] + match[3], text)


def correct_colors() -> None:
    """Of the imported meshes: bytes that were read as fractions, in any of them, and NaN."""
    attributes = [attribute for mesh in bpy.data.meshes for attribute in mesh.color_attributes]
    colors = [_colors(attribute) for attribute in attributes]
    odd = any(len(one) and not one[:, :3].max() <= 1.001 for one in colors)  # NaN is
    displayed = [
        linear_to_srgb(np.nan_to_num(one[:, :3], nan=0.8).astype(np.float64)) for one in colors if odd
    ]
    in_bytes = bool(displayed) and are_bytes(np.concatenate(displayed))
    for attribute, one, display in zip(attributes, colors, displayed, strict=False):
        one[:, :3] = srgb_to_linear(display / (255 if in_bytes else 1))
        attribute.data.foreach_set("color", np.nan_to_num(one, nan=1).ravel())


def _colors(attribute: Any) -> np.ndarray:
    """(N, 4) float32, linear."""
    values = np.empty(len(attribute.data) * 4, np.float32)
    attribute.data.foreach_get("color", values)
    return values.reshape(-1, 4)


def correct_grays(path: Path) -> None:
    """Of the imported materials of the OBJ at `path`: one value for all three channels."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    for library in _libraries(head, path):
        for name, gray in grays(library.read_bytes().decode("utf-8", "replace")).items():
            _paint(bpy.data.materials.get(name), gray)


def grays(text: str) -> dict[str, float]:
    """Material -> its `Kd`, of those of an MTL that give it one value."""
    _, *parts = _MATERIAL.split(text)
    found = {name: _GRAY.search(body) for name, body in zip(parts[::2], parts[1::2], strict=True)}
    return {name.strip(): float(match[1]) for name, match in found.items() if match}


def _paint(material: bpy.types.Material | None, gray: float) -> None:
    for node in material.node_tree.nodes if material is not None and material.node_tree else ():
        if node.type == "BSDF_PRINCIPLED":
            node.inputs["Base Color"].default_value = (gray, gray, gray, 1)
