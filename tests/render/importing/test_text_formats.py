"""OFF, PLY, STL and OBJ as exporters write them against the letter: headers, names, types, ends of lines."""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from render.failures import FailureClass
from render.importing.formats import sniff
from tests.helpers.importing import BYTES, POINTS, attempt, bring_in, linear, size, worst_vertex_color
from tests.helpers.staging import stage

FACE = "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
XYZ = "".join(f"property float {axis}\n" for axis in "xyz")
OFF = "4 1 0\n0 0 0\n2 0 0\n2 1 0\n0 1 0\n4 0 1 2 3\n"
OBJ = "o quad\nv 0 0 0\nv 2 0 0\nv 2 1 0\nv 0 1 0\nf 1 2 3 4\n"
STL = """solid q
facet normal 0 0 1
outer loop
vertex 0 0 0
vertex 2 0 0
vertex 2 1 0
endloop
endfacet
endsolid q
"""


@pytest.mark.parametrize(
    "text",
    [
        "OFF\n" + OFF,
        "OFF" + OFF,
        "OFF " + OFF,
        "\n# by me\n\n# twice\nOFF # here\n# counts\n" + OFF,
        "# by me\rOFF" + OFF.replace("\n", "\r"),
        "OFF" + OFF.replace("\n", "\r\n"),
        "\ufeffOFF" + OFF,
        "off\n\n" + OFF,
        "COFF" + OFF.replace("1 0\n4 0", "1 0\n\n4 0"),
        OFF,
    ],
)
def test_headers_of_off(tmp_path: Path, text: str):
    path = tmp_path / "m.off"
    path.write_bytes(text.encode())
    assert sniff(path) == "off"
    found = bring_in(path, tmp_path / "scratch")
    assert found["faces"] == 1
    assert size(found).tolist() == pytest.approx([2, 1, 0], abs=1e-6)


def test_off_in_utf16(tmp_path: Path):
    (tmp_path / "m.off").write_bytes(codecs.BOM_UTF16_LE + ("OFF" + OFF).encode("utf-16-le"))
    assert bring_in(tmp_path / "m.off", tmp_path / "scratch")["faces"] == 1


def ply(names: str, kind: str, values: np.ndarray) -> str:
    colors = "".join(f"property {kind} {name}\n" for name in names.split())
    rows = "".join(
        f"{' '.join(map(str, point))} {' '.join(map(str, color))}\n"
        for point, color in zip(POINTS, values, strict=True)
    )
    return f"ply\nformat ascii 1.0\nelement vertex 4\n{XYZ}{colors}{FACE}{rows}4 0 1 2 3\n"


RGB = "red green blue"
PLYS = {
    "short names": ply("r g b", "uchar", BYTES),
    "diffuse": ply("diffuse_red diffuse_green diffuse_blue", "uchar", BYTES),
    "double to 255": ply(RGB, "double", BYTES.astype(float)),
    "float to 255": ply(RGB, "float", BYTES.astype(float)),
    "double to 1": ply(RGB, "double", BYTES / 255),
    "float to 1": ply(RGB, "float32", BYTES / 255),
    "short float names": ply("r g b", "float", BYTES / 255),
    "ushort": ply(RGB, "ushort", BYTES * 257),
    "ushort of bytes": ply(RGB, "ushort", BYTES),
    "int": ply(RGB, "int", BYTES),
    "uint8": ply(RGB, "uint8", BYTES),
    "capitals": ply("Red Green Blue", "uchar", BYTES),
    "CR LF": ply("r g b", "uchar", BYTES).replace("\n", "\r\n"),
}


@pytest.mark.parametrize("case", PLYS)
def test_colors_of_ply(tmp_path: Path, case: str):
    (tmp_path / "m.ply").write_bytes(PLYS[case].encode())
    found = bring_in(tmp_path / "m.ply", tmp_path / "scratch")
    assert worst_vertex_color(found) < 0.004


def test_colors_of_a_binary_ply(tmp_path: Path):
    head = "ply\nformat binary_little_endian 1.0\nelement vertex 4\n" + XYZ
    head += "".join(f"property ushort {name}\n" for name in "rgb") + FACE
    rows = b"".join(struct.pack("<3f3H", *p, *c) for p, c in zip(POINTS, BYTES * 257, strict=True))
    (tmp_path / "m.ply").write_bytes(head.encode() + rows + struct.pack("<B4i", 4, 0, 1, 2, 3))
    assert worst_vertex_color(bring_in(tmp_path / "m.ply", tmp_path / "scratch")) < 0.004


@pytest.mark.parametrize("more", [b"", b"\0", b"made by me\n", bytes(137)])
@pytest.mark.parametrize("header", [b"", b"solid q"])
def test_binary_stl_with_bytes_at_its_end(tmp_path: Path, header: bytes, more: bytes):
    corners = [(0, 0, 0), (2, 0, 0), (2, 1, 0), (0, 0, 0), (2, 1, 0), (0, 1, 0)]
    facets = b"".join(
        struct.pack("<12fH", 0, 0, 1, *corners[i], *corners[i + 1], *corners[i + 2], 0) for i in (0, 3)
    )
    (tmp_path / "m.stl").write_bytes(header.ljust(80, b"\0") + struct.pack("<I", 2) + facets + more)
    found = bring_in(tmp_path / "m.stl", tmp_path / "scratch")
    assert (found["faces"], size(found).tolist()) == (2, pytest.approx([2, 1, 0], abs=1e-6))


@pytest.mark.parametrize(("count", "noted"), [(2, 0), (0, 1), (3, 1)])
def test_binary_stl_that_counts_wrongly(tmp_path: Path, count: int, noted: int):
    corners = [(0, 0, 0), (2, 0, 0), (2, 1, 0), (0, 0, 0), (2, 1, 0), (0, 1, 0)]
    facets = [struct.pack("<12fH", 0, 0, 1, *np.ravel(corners[i : i + 3]), 0) for i in (0, 3)]
    (tmp_path / "m.stl").write_bytes(bytes(80) + struct.pack("<I", count) + b"".join(facets))
    found = bring_in(tmp_path / "m.stl", tmp_path / "scratch")
    assert (found["faces"], len(found["notes"])) == (2, noted)
    assert size(found).tolist() == pytest.approx([2, 1, 0], abs=1e-6)


@pytest.mark.parametrize("change", [str.upper, lambda text: text.replace("\n", " ")])
def test_text_stl_in_capitals_or_one_line(tmp_path: Path, change: Callable[[str], str]):
    (tmp_path / "m.stl").write_text(change(STL))
    found = bring_in(tmp_path / "m.stl", tmp_path / "scratch")
    assert (found["faces"], sorted(size(found).tolist())) == (1, pytest.approx([0, 1, 2], abs=1e-6))


def test_a_header_of_magics_colors_facets_that_have_no_color(tmp_path: Path):
    facet = struct.pack("<12fH", 0, 0, 1, 0, 0, 0, 2, 0, 0, 2, 1, 0, 0)
    header = b"COLOR=" + bytes([180, 60, 30, 255])
    (tmp_path / "m.stl").write_bytes(header.ljust(80, b"\0") + struct.pack("<I", 1) + facet)
    corners = np.array(bring_in(tmp_path / "m.stl", tmp_path / "scratch")["corners"])
    assert np.allclose(corners[:, 3:6], linear([180, 60, 30]), atol=0.004)


TEXTS = {"m.off": "OFF\n" + OFF, "m.obj": OBJ, "m.stl": STL, "m.ply": PLYS["uint8"]}
ENCODINGS = {
    "cr": lambda text: text.replace("\n", "\r").encode(),
    "crlf": lambda text: text.replace("\n", "\r\n").encode(),
    "utf-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "utf-16": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "utf-16 without a mark": lambda text: text.encode("utf-16-le"),
    "utf-16 and cr": lambda text: text.replace("\n", "\r").encode("utf-16"),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", TEXTS)
def test_texts_in_every_encoding(tmp_path: Path, name: str, encoding: str):
    (tmp_path / name).write_bytes(ENCODINGS[encoding](TEXTS[name]))
    staged = stage(tmp_path / name, name, tmp_path / "in")
    found = bring_in(staged.path, tmp_path / "scratch")
    assert found["faces"] == 1
    assert sorted(size(found).round(5).tolist()) == [0, 1, 2]


def _binary_off(header: str, color: tuple[float, ...]) -> bytes:
    """Geomview's: big-endian counts, vertices, and a face with as many floats of color as it says."""
    face = struct.pack(">5i", 4, 0, 1, 2, 3) + struct.pack(f">i{len(color)}f", len(color), *color)
    return f"{header}\n".encode() + struct.pack(">3i", 4, 1, 0) + POINTS.astype(">f4").tobytes() + face


@pytest.mark.parametrize("color", [(), (0.5, 0.25, 1.0, 1.0)])
def test_binary_off(tmp_path: Path, color: tuple[float, ...]):
    path = tmp_path / "m.off"
    path.write_bytes(_binary_off("OFF BINARY", color))
    found = bring_in(path, tmp_path / "scratch")
    assert found["faces"] == 1 and size(found).tolist() == pytest.approx([2, 1, 0], abs=1e-6)
    if color:
        shown = np.array(found["corners"])[:, 3:6]
        assert np.abs(shown - linear(np.array(color[:3]) * 255)).max() < 1e-4


@pytest.mark.parametrize("at", [11, 15, 19, 40, 71, 75, 90])
def test_binary_off_that_is_damaged(tmp_path: Path, at: int):
    data = bytearray(_binary_off("OFF BINARY", (1, 1, 1)))
    data[at : at + 4] = b"\x7f\xff\xff\xf0"
    (tmp_path / "m.off").write_bytes(data)
    outcome = attempt(tmp_path / "m.off", tmp_path / "scratch")
    assert outcome.ok or outcome.kind in {FailureClass.INVALID, FailureClass.EMPTY, FailureClass.IMPORT_ERROR}


WEIGHTED = ["{x} 1.0 {c}", "{x} {c} 1.0", "{x} 1 {c} # comment", "{x} {c}"]


@pytest.mark.parametrize("form", WEIGHTED)
def test_obj_vertices_with_a_weight_and_a_color(tmp_path: Path, form: str):
    colors = BYTES / 255
    rows = [
        "v " + form.format(x=" ".join(map(str, point)), c=" ".join(map(str, color)))
        for point, color in zip(POINTS, colors, strict=True)
    ]
    (tmp_path / "m.obj").write_text("\n".join(rows) + "\nf 1 2 3 4\n")
    found = bring_in(tmp_path / "m.obj", tmp_path / "scratch")
    assert found["faces"] == 1
    assert worst_vertex_color(found, "y") < 0.004


def test_obj_faces_by_their_old_name_keep_their_material(tmp_path: Path):
    (tmp_path / "m.mtl").write_text("newmtl paint\nKd 0.5\nnewmtl other\nKd 0.5 0.25 0.125\n")
    (tmp_path / "m.obj").write_text("mtllib m.mtl\n" + OBJ.replace("f 1", "usemtl paint\nfo 1"))
    found = bring_in(tmp_path / "m.obj", tmp_path / "scratch")
    assert found["faces"] == 1
    assert found["bases"]["paint"][:3] == pytest.approx([0.5, 0.5, 0.5])
