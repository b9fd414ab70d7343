"""The elements of a PLY file as numpy columns, in each of its three encodings.

    elements = read_elements(path)
    elements["vertex"].scalars["x"]         # (N,) of the file's type
    elements["face"].lists["vertex_indices"]    # Lists: sizes (F,), and all values in one row

Polygons of several sizes, further properties and elements in any order are read. Text keeps all digits, of
what it calls `float` too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_NAMES = {kind: name for name, kind in reversed(TYPES.items())}
_HEADER = 65536
_END = re.compile(rb"end_header[ \t]*(\r\n|\n|\r)")
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}


@dataclass(frozen=True)
class Lists:
    """A list property: as many values per element as its size says, one after the other."""

    sizes: np.ndarray  # (N,) int64
    values: np.ndarray  # (sum of sizes,), of the file's type


@dataclass
class Element:
    """A kind of element: how many there are, and their properties by name."""

    count: int
    properties: list[tuple[str, str, str | None]] = field(default_factory=list)  # name, type, type of sizes
    scalars: dict[str, np.ndarray] = field(default_factory=dict)
    lists: dict[str, Lists] = field(default_factory=dict)


def read_elements(path: Path) -> dict[str, Element]:
    """The elements by name. Raises ValueError, OSError."""
    data = path.read_bytes()
    end = _END.search(data, 0, _HEADER)
    if end is None:
        raise ValueError("no end of the header")
    order, elements = _header(data[: end.start()].decode("utf-8", "replace"))
    body = data[end.end() :]
    if order:
        at = 0
        for element in elements.values():
            at = _binary(body, at, element, order)
    else:
        words = body.split()
        at = 0
        for element in elements.values():
            at = _ascii(words, at, element)
    return elements


def _header(text: str) -> tuple[str, dict[str, Element]]:
    """The byte order, empty for text, and the elements without values."""
    order, elements = None, {}
    for line in text.splitlines():
        match line.split():
            case ["format", encoding, *_]:
                order = _ORDERS.get(encoding)
            case ["element", name, count]:
                elements[name] = Element(int(count))
            case ["property", "list", size, kind, name]:
                next(reversed(elements.values())).properties.append((name, TYPES[kind], TYPES[size]))
            case ["property", kind, name]:
                next(reversed(elements.values())).properties.append((name, TYPES[kind], None))
    if order is None:
        raise ValueError("no known format")
    return order, elements


def _binary(data: bytes, at: int, element: Element, order: str) -> int:
    """Read an element's rows from `at`; where they end."""
    sizes = _first_sizes(data, at, element, order)
    fields = []
    for name, kind, size in element.properties:
        fields += [(f"size {name}", order + size)] if size else []
        fields.append((name, order + kind, (sizes[name],)) if size else (name, order + kind))
    row = np.dtype(fields)
    if at + element.count * row.itemsize <= len(data):
        rows = np.frombuffer(data, row, element.count, at)
        if all((rows[f"size {name}"] == sizes[name]).all() for name in sizes):
            _keep_rows(element, rows, sizes)
            return at + element.count * row.itemsize
    return _binary_rows(data, at, element, order)


def _first_sizes(data: bytes, at: int, element: Element, order: str) -> dict[str, int]:
    """The length of each list in the first row."""
    sizes: dict[str, int] = {}
    for name, kind, size in element.properties if element.count else ():
        if size:
            sizes[name] = int(np.frombuffer(data, order + size, 1, at)[0])
            at += np.dtype(size).itemsize
            if not 0 <= sizes[name] <= len(data):
                raise ValueError("a list reaches beyond the end")
        at += np.dtype(kind).itemsize * sizes.get(name, 1)
    return {name: sizes.get(name, 0) for name, _, size in element.properties if size}


def _keep_rows(element: Element, rows: np.ndarray, sizes: dict[str, int]) -> None:
    for name, _, size in element.properties:
        if size:
            lengths = np.full(element.count, sizes[name], np.int64)
            element.lists[name] = Lists(lengths, np.ascontiguousarray(rows[name]).ravel())
        else:
            element.scalars[name] = np.ascontiguousarray(rows[name])


def _binary_rows(data: bytes, at: int, element: Element, order: str) -> int:
    """`_binary` row by row, for lists of several lengths."""
    columns: list[list[bytes]] = [[] for _ in element.properties]
    kinds = [(np.dtype(kind), np.dtype(size) if size else None) for _, kind, size in element.properties]
    widths = [(kind.itemsize, size.itemsize if size else 0) for kind, size in kinds]
    byteorder = "little" if order == "<" else "big"
    for _ in range(element.count):
        for column, (width, size_width) in zip(columns, widths, strict=True):
            size = int.from_bytes(data[at : at + size_width], byteorder) if size_width else 1
            at += size_width
            column.append(data[at : at + width * size])
            at += width * size
            if at > len(data):
                raise ValueError("ends early")
    for column, (name, kind, size) in zip(columns, element.properties, strict=True):
        values = np.frombuffer(b"".join(column), order + kind)
        if size:
            width = np.dtype(kind).itemsize
            element.lists[name] = Lists(np.array([len(row) // width for row in column], np.int64), values)
        else:
            element.scalars[name] = values
    return at


def _ascii(words: list[bytes], at: int, element: Element) -> int:
    """Read an element's rows from the word `at`; where they end."""
    if all(size is None for _, _, size in element.properties):
        return _ascii_table(words, at, element)
    columns: list[list[bytes]] = [[] for _ in element.properties]
    sizes: list[list[int]] = [[] for _ in element.properties]
    lists = [size is not None for _, _, size in element.properties]
    for _ in range(element.count):
        for column, lengths, is_list in zip(columns, sizes, lists, strict=True):
            size = int(words[at]) if is_list else 1
            at += is_list
            if size < 0 or at + size > len(words):
                raise ValueError("ends early")
            lengths.append(size)
            column += words[at : at + size]
            at += size
    for column, lengths, (name, kind, size) in zip(columns, sizes, element.properties, strict=True):
        values = _of_text(np.array(column, np.float64), kind)
        if size:
            element.lists[name] = Lists(np.array(lengths, np.int64), values)
        else:
            element.scalars[name] = values
    return at


def _ascii_table(words: list[bytes], at: int, element: Element) -> int:
    end = at + element.count * len(element.properties)
    if end > len(words):
        raise ValueError("ends early")
    table = np.array(words[at:end], np.float64).reshape(element.count, len(element.properties))
    for column, (name, kind, _) in zip(table.T, element.properties, strict=True):
        element.scalars[name] = _of_text(column, kind)
    return end


def _of_text(values: np.ndarray, kind: str) -> np.ndarray:
    return values if kind == "f4" else values.astype(kind)


def written(elements: dict[str, Element]) -> bytes:
    """The elements as a binary file, the vertices first."""
    names = sorted(elements, key=lambda name: name != "vertex")
    header = ["ply", "format binary_little_endian 1.0"]
    for name in names:
        header.append(f"element {name} {elements[name].count}")
        header += [_declared(elements[name], column) for column, _, _ in elements[name].properties]
    head = "\n".join([*header, "end_header\n"]).encode()
    return head + b"".join(_rows(elements[name]) for name in names)


def _declared(element: Element, column: str) -> str:
    """The line of the header for a property."""
    if column in element.scalars:
        return f"property {_NAMES[element.scalars[column].dtype.str[1:]]} {column}"
    return f"property list uint {_NAMES[element.lists[column].values.dtype.str[1:]]} {column}"


def _rows(element: Element) -> bytes:
    columns = [column for column, _, _ in element.properties]
    if not element.lists:
        fields = [(column, f"<{element.scalars[column].dtype.str[1:]}") for column in columns]
        table = np.empty(element.count, np.dtype(fields))
        for column in columns:
            table[column] = element.scalars[column]
        return table.tobytes()
    pieces = [_pieces(element, column) for column in columns]
    return b"".join(piece for row in zip(*pieces, strict=True) for piece in row)


def _pieces(element: Element, column: str) -> list[bytes]:
    """The bytes of a property in each row."""
    if column in element.scalars:
        values = element.scalars[column]
        return [value.tobytes() for value in values.astype(f"<{values.dtype.str[1:]}")]
    found = element.lists[column]
    values = found.values.astype(f"<{found.values.dtype.str[1:]}")
    ends = np.cumsum(found.sizes).tolist()
    rows = (values[end - size : end].tobytes() for size, end in zip(found.sizes.tolist(), ends, strict=True))
    return [size.to_bytes(4, "little") + row for size, row in zip(found.sizes.tolist(), rows, strict=True)]
