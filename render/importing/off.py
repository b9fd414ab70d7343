"""OFF (Object File Format), with its vertex and face colors.

The grammar is Geomview's: a header [ST][C][N][4][n]OFF, three counts, vertices with the optional parts
that the header announces (normal, color, texture coordinates), then faces: a count, that many indices, and
perhaps a color, which ends with its line. Numbers up to 1 are fractions, the others bytes; both are display
values (sRGB). Comments and blank lines may stand anywhere; lines may be broken anywhere, but then the faces
have no color. MeshLab has the letters in another order; bytes, or four fractions, after each position are a
color whether announced or not.
www.geomview.org/docs/html/OFF.html
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from render.failures import DAMAGE, FailureClass, ModelFailure
from render.importing.rawmesh import RawMesh
from render.references.plain_text import as_utf8
from render.srgb import srgb_to_linear

HEADER = re.compile(r"((?:ST|[CN4n])*)(?i:OFF)(?![A-Za-z_])[^\S\n]*(BINARY)?")
"""The first word, which ModelNet's files run together with the counts after it: `OFF312 528 0`."""
_THREE = re.compile(r"\s*3(?!\S)")
_BINARY = re.compile(rb"\s*(ST)?(C)?(N)?OFF[ \t]+BINARY[ \t]*\r?\n")
_HEAD = 64


def read_off(path: Path) -> list[RawMesh]:
    """The one mesh of an OFF file. Raises ModelFailure."""
    try:
        if _is_binary(path):
            return [_read_binary(path)]
        text = re.sub(r"#[^\n]*", "", _lines(path)).lstrip()
        header = HEADER.match(text)
        flags = (header[1] or "") if header else ""
        body = text[header.end() :] if header else text
        three = _THREE.match(body) if flags == "n" else None
        flags, body = ("", body[three.end() :]) if three else (flags, body)
        if "n" in flags or (header and header[2]):
            raise ModelFailure(
                FailureClass.UNSUPPORTED, f"{path.name}: OFF of more than three dimensions is not read"
            )
        return [_read(path.stem, body, flags)]
    except DAMAGE as error:
        raise ModelFailure(
            FailureClass.INVALID, f"{path.name}: OFF that ends early or holds no numbers: {error}"
        ) from error


def _is_binary(path: Path) -> bool:
    with path.open("rb") as file:
        return _BINARY.match(file.read(_HEAD)) is not None


def _read_binary(path: Path) -> RawMesh:
    """Big-endian: three counts, float32 vertices, and per face its corners and the floats of its color."""
    data = path.read_bytes()
    header = _BINARY.match(data)
    assert header
    words = np.frombuffer(data[header.end() : header.end() + (len(data) - header.end()) // 4 * 4], ">i4")
    n_vertices, n_faces = words[:2].tolist()
    width = 3 + 3 * bool(header[3]) + 4 * bool(header[2]) + 2 * bool(header[1])
    if n_vertices < 0 or n_faces < 0 or 3 + n_vertices * width + 2 * n_faces > len(words):
        raise ValueError(f"{n_vertices} vertices and {n_faces} faces announced, {len(data)} bytes present")
    vertices = words[3 : 3 + n_vertices * width].view(">f4").reshape(-1, width).astype(float)
    at, sizes, corners, colors = 3 + n_vertices * width, [], [], []
    for _ in range(n_faces):
        size = int(words[at])
        end = at + size + 2
        sizes.append(size)
        corners.append(words[at + 1 : end - 1])
        at = end + int(words[end - 1])
        colors.append(words[end:at].view(">f4"))
        if size < 0 or at < end or at > len(words):
            raise ValueError("a face reaches beyond the end")
    shown = _face_colors(colors, sizes)
    if header[2]:
        first = 3 + 3 * bool(header[3])
        shown = srgb_to_linear(vertices[np.concatenate(corners), first : first + 3])
    return RawMesh(
        path.stem, vertices[:, :3], np.concatenate(corners).astype(int), np.array(sizes), colors=shown
    )


def _face_colors(colors: list[np.ndarray], sizes: list[int]) -> np.ndarray | None:
    """Linear (C, 3) of each corner, from the floats of each face; None where no face has three."""
    if not any(len(color) >= 3 for color in colors):
        return None
    rows = np.array([color[:3] if len(color) >= 3 else (2 / 3,) * 3 for color in colors], float)
    return np.repeat(srgb_to_linear(rows), sizes, 0)


def _lines(path: Path) -> str:
    """The file's text, whatever its encoding, with `\n` as the end of a line."""
    with path.open("rb") as file:
        data = as_utf8(file) or file.read()
    return data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")


def _read(name: str, body: str, flags: str) -> RawMesh:
    """The mesh after the header; `flags` are the letters before OFF."""
    n_vertices, n_faces = (int(word) for word in body.split(None, 2)[:2])
    if min(n_vertices, n_faces) < 0 or 3 * n_vertices + n_faces > len(body):
        raise ValueError(
            f"{n_vertices} vertices and {n_faces} faces announced, {len(body)} characters present"
        )
    width = 4 if "4" in flags else 3
    rows = _by_lines(body, n_vertices, n_faces, width) or _by_words(
        body.split()[3:], n_vertices, n_faces, flags
    )
    of_vertices, of_faces = rows[:n_vertices], rows[n_vertices:]
    points = np.array([row[:width] for row in of_vertices], float).reshape(-1, width)
    if width == 4:
        points = points[:, :3] / points[:, 3:]
    sizes = np.array([int(row[0]) for row in of_faces], int)
    corners = np.array([int(x) for row in of_faces for x in row[1 : int(row[0]) + 1]], int)
    first = width + 3 * ("N" in flags)
    tails = [row[int(row[0]) + 1 :] for row in of_faces]
    colors = None
    shown = [row[first:] for row in of_vertices]
    announced = "C" in flags and all(len(color) >= 3 for color in shown)
    if announced or (not flags and _are_colors(shown)):
        colors = _colors(shown)[np.clip(corners, 0, n_vertices - 1)]
    elif any(len(tail) >= 3 for tail in tails):
        colors = np.repeat(_colors(tails), sizes, 0)
    return RawMesh(name, points, corners, sizes, colors=colors)


def _by_lines(body: str, n_vertices: int, n_faces: int, width: int) -> list[list[str]] | None:
    """The words of each vertex and face, where each has a line of its own; else None."""
    rows = [line.split() for line in body.split("\n") if line.strip()]
    if len(rows) <= n_vertices + n_faces or len(rows[0]) < 2:
        return None
    of_vertices, of_faces = rows[1 : n_vertices + 1], rows[n_vertices + 1 : n_vertices + n_faces + 1]
    whole = all(len(row) >= width for row in of_vertices) and all(len(row) > int(row[0]) for row in of_faces)
    return of_vertices + of_faces if whole else None


def _by_words(words: list[str], n_vertices: int, n_faces: int, flags: str) -> list[list[str]]:
    """The words of each vertex and face, wherever lines end."""
    width = 3 + ("4" in flags) + 3 * ("N" in flags) + 4 * ("C" in flags) + 2 * ("ST" in flags)
    rows = [words[i * width : (i + 1) * width] for i in range(n_vertices)]
    at = n_vertices * width
    for _ in range(n_faces):
        end = at + int(words[at]) + 1
        if not at < end <= len(words):
            raise ValueError("a face reaches beyond the end")
        rows.append(words[at:end])
        at = end
    return rows


def _are_colors(tails: list[list[str]]) -> bool:
    """Whether what follows each position is a color: bytes, or four fractions; three may be a normal."""
    return _are_bytes(tails) or all(
        len(tail) == 4 and all(0 <= float(word) <= 1 for word in tail) for tail in tails
    )


def _are_bytes(tails: list[list[str]]) -> bool:
    return all(
        len(tail) in (3, 4) and all(word.isdigit() and int(word) < 256 for word in tail) for tail in tails
    )


def _colors(rows: list[list[str]]) -> np.ndarray:
    """Linear (N, 3) from the words of each color, of which opacity is one: gray where there are not three."""
    whole = np.array([len(row) >= 3 for row in rows])
    fractions = all(float(word) <= 1 for row in rows if len(row) >= 3 for word in row[:4])
    values = np.array([row[:3] for row in rows if len(row) >= 3], float).reshape(-1, 3)
    colors = np.full((len(rows), 3), 2 / 3)
    colors[whole] = values if fractions else values / 255
    return srgb_to_linear(colors)
