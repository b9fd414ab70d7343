"""OFF (Object File Format), with its vertex and face colors.

The grammar is Geomview's: a header [ST][C][N][4][n]OFF, three counts, vertices with the optional parts
that the header announces, then faces: a count, that many indices, and perhaps a color. Numbers up to 1 with
a point are fractions, the others bytes; both are display values (sRGB). Comments and blank lines may stand
anywhere.
www.geomview.org/docs/html/OFF.html
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from render.failures import FailureClass, ModelFailure
from render.importing.rawmesh import RawMesh
from render.references.plain_text import as_utf8
from render.srgb import srgb_to_linear

HEADER = re.compile(r"(ST)?(C)?(N)?(4)?(n)?(?:OFF|off)(?![A-Za-z_])[^\S\n]*(BINARY)?")
"""The first word, which ModelNet's files run together with the counts after it: `OFF312 528 0`."""
_BINARY = re.compile(rb"\s*(ST)?(C)?(N)?OFF[ \t]+BINARY[ \t]*\r?\n")
_HEAD = 64


def read_off(path: Path) -> list[RawMesh]:
    """The one mesh of an OFF file. Raises ModelFailure."""
    try:
        if _is_binary(path):
            return [_read_binary(path)]
        text = re.sub(r"#[^\n]*", "", _lines(path)).lstrip()
        header = HEADER.match(text)
        flags = header.groups() if header else (None,) * 6
        if flags[4] or flags[5]:
            raise ModelFailure(
                FailureClass.UNSUPPORTED, f"{path.name}: OFF of more than three dimensions is not read"
            )
        body = text[header.end() :] if header else text
        return [_read(path.stem, body.split("\n"), bool(flags[1]), 4 if flags[3] else 3)]
    except (ValueError, IndexError) as error:
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


def _read(name: str, lines: list[str], colored: bool, width: int) -> RawMesh:
    rows = [line.split() for line in lines if line.strip()]
    n_vertices, n_faces = int(rows[0][0]), int(rows[0][1])
    if n_vertices < 0 or n_faces < 0 or n_vertices + n_faces + 1 > len(rows):
        raise ValueError(
            f"{n_vertices} vertices and {n_faces} faces announced, {len(rows) - 1} lines present"
        )
    rows = rows[1:]
    points = np.array([row[:width] for row in rows[:n_vertices]], float).reshape(-1, width)
    if width == 4:
        points = points[:, :3] / points[:, 3:]
    faces = [[int(x) for x in row[1 : int(row[0]) + 1]] for row in rows[n_vertices : n_vertices + n_faces]]
    tails = [row[int(row[0]) + 1 :] for row in rows[n_vertices : n_vertices + n_faces]]
    sizes = np.array([len(face) for face in faces], int)
    corners = np.array([index for face in faces for index in face], int)
    of_vertices = (
        _colors([row[-4:] if len(row) >= width + 4 else row[-3:] for row in rows[:n_vertices]])
        if colored
        else None
    )
    colors = None
    if of_vertices is not None:
        colors = of_vertices[np.clip(corners, 0, n_vertices - 1)]
    elif any(len(tail) >= 3 for tail in tails):
        colors = np.repeat(_colors([tail if len(tail) >= 3 else ["170"] * 3 for tail in tails]), sizes, 0)
    return RawMesh(name, points, corners, sizes, colors=colors)


def _colors(rows: list[list[str]]) -> np.ndarray:
    """Linear (N, 3) from the words of each color."""
    fractions = any("." in word for row in rows for word in row[:3])
    values = np.array([row[:3] for row in rows], float).reshape(-1, 3)
    return srgb_to_linear(values if fractions and values.max(initial=0) <= 1 else values / 255)
