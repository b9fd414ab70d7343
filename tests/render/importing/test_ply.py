"""PLY whose color Blender drops or misreads: truth is what the tests wrote."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from render.bundle import Bundle
from render.importing.ply_elements import read_elements
from tests.helpers.importing import POINTS, bring_in, linear

XYZ = "property float x\nproperty float y\nproperty float z\n"


@pytest.mark.parametrize("kind", ["uchar", "float"])
@pytest.mark.parametrize("names", ["red green blue", "r g b", "diffuse_red diffuse_green diffuse_blue"])
def test_faces_with_colors(names: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "faces.ply"
    rows = "".join(" ".join(map(str, p)) + "\n" for p in POINTS)
    head = f"ply\nformat ascii 1.0\nelement vertex 4\n{XYZ}element face 2\n"
    head += "property list uchar int vertex_indices\n"
    head += "".join(f"property {kind} {name}\n" for name in names.split()) + "end_header\n"
    values = np.array([[200, 100, 50], [0, 0, 64]]) / (1 if kind == "uchar" else 255)
    first, second = (" ".join(f"{x:.6g}" for x in row) for row in values)
    path.write_text(f"{head}{rows}3 0 1 2 {first}\n3 0 2 3 {second}\n")
    corners = np.array(bring_in(path, tmp_path / "scratch")["corners"])
    assert np.allclose(corners[:3, 3:6], linear([200, 100, 50]), atol=1e-5)
    assert np.allclose(corners[3:, 3:6], linear([0, 0, 64]), atol=1e-5)


def test_ply_with_a_texture_named_in_a_comment(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2), (200, 100, 50)).save(tmp_path / "skin.png")
    rows = "".join(" ".join(map(str, p)) + "\n" for p in POINTS)
    (tmp_path / "skin.ply").write_text(
        f"ply\nformat ascii 1.0\ncomment TextureFile skin.png\nelement vertex 4\n{XYZ}element face 2\n"
        "property list uchar int vertex_indices\nproperty list uchar float texcoord\nend_header\n"
        f"{rows}3 0 1 2 6 0 0 1 0 1 1\n3 0 2 3 6 0 0 1 1 0 1\n"
    )
    found = bring_in(tmp_path / "skin.ply", tmp_path / "scratch")
    assert found["images"] == ["skin.png"] and found["loaded"] == 1
    corners = np.array(found["corners"])
    assert np.allclose(corners[:, 3:5], corners[:, :2] / [2, 1])


@pytest.mark.parametrize("order", ["<", ">"])
def test_polygons_of_several_sizes_in_binary(order: str, tmp_path: Path) -> None:
    """Between an element with lists of several lengths and one that nobody knows."""
    name = "binary_little_endian" if order == "<" else "binary_big_endian"
    head = (
        f"ply\nformat {name} 1.0\nelement strip 2\nproperty list ushort float value\nelement vertex 4\n{XYZ}"
        "element face 2\nproperty uchar flag\nproperty list uchar int vertex_index\n"
        "property float r\nproperty float g\nproperty float b\nelement end 1\nproperty double last\n"
        "end_header\n"
    )
    body = struct.pack(f"{order}H2fHf", 2, 0.5, 0.25, 1, 8.0)
    body += b"".join(struct.pack(f"{order}3f", *point) for point in POINTS)
    body += struct.pack(f"{order}BB3i3f", 7, 3, 0, 1, 2, 1, 0, 0)
    body += struct.pack(f"{order}BB4i3f", 7, 4, 0, 1, 2, 3, 0, 0, 1) + struct.pack(f"{order}d", 0.125)
    (tmp_path / "a.ply").write_bytes(head.encode() + body)
    elements = read_elements(tmp_path / "a.ply")
    assert elements["strip"].lists["value"].sizes.tolist() == [2, 1]
    assert elements["strip"].lists["value"].values.tolist() == [0.5, 0.25, 8]
    assert elements["end"].scalars["last"].tolist() == [0.125]
    found = bring_in(tmp_path / "a.ply", tmp_path / "s")
    corners = np.array(found["corners"])
    assert found["faces"] == 2 and np.allclose(corners[:, :3], POINTS[[0, 1, 2, 0, 1, 2, 3]])
    assert (corners[:3, 3:6] == [1, 0, 0]).all() and (corners[3:, 3:6] == [0, 0, 1]).all()


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_file_that_ends_early_is_damaged(cut: int, tmp_path: Path) -> None:
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex 4\n{XYZ}element face 1\n"
    head += "property list uchar int vertex_index\nend_header\n"
    body = b"".join(struct.pack("<3f", *point) for point in POINTS) + struct.pack("<B4i", 4, 0, 1, 2, 3)
    (tmp_path / "a.ply").write_bytes((head.encode() + body)[:-cut])
    with pytest.raises(ValueError):
        read_elements(tmp_path / "a.ply")


def _ply(
    path: Path, vertex: str = "", face: str = "", rows: tuple[str, str] = ("", ""), head: str = ""
) -> None:
    """Two triangles whose vertices and faces have more properties; `rows` are their values."""
    vertices = "".join(f"{x} {y} {z} {rows[0]}\n" for x, y, z in POINTS)
    first, second = rows[1].split("|") if rows[1] else ("", "")
    path.write_text(
        f"ply\nformat ascii 1.0\n{head}element vertex 4\n{XYZ}{vertex}element face 2\n"
        f"property list uchar int vertex_indices\n{face}end_header\n"
        f"{vertices}3 0 1 2 {first}\n3 0 2 3 {second}\n"
    )


RGB = "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
WEDGES = "property list uchar float color\n"
COLORED = {
    "of corners": ("", WEDGES, "", "9 1 0 0 1 0 0 1 0 0|9 0 0 1 0 0 1 0 0 1"),
    "of faces, as a list": ("", WEDGES, "", "3 1 0 0|3 0 0 1"),
    "of faces, beside white vertices": (RGB, RGB, "255 255 255", "255 0 0|0 0 255"),
    "of faces, in bytes with a sign": ("", RGB.replace("uchar", "char"), "", "-1 0 0|0 0 -1"),
}


@pytest.mark.parametrize("case", COLORED)
def test_colors_of_faces_and_corners(case: str, tmp_path: Path) -> None:
    vertex, face, *rows = COLORED[case]
    _ply(tmp_path / "a.ply", vertex, face, (rows[0], rows[1]))
    corners = np.array(bring_in(tmp_path / "a.ply", tmp_path / "s")["corners"])
    assert (corners[:3, 3:6] == [1, 0, 0]).all() and (corners[3:, 3:6] == [0, 0, 1]).all()


def test_colors_of_vertices_count_more_than_those_of_faces(tmp_path: Path) -> None:
    _ply(tmp_path / "a.ply", RGB, RGB, ("255 0 0", "0 0 255|0 0 255"))
    corners = np.array(bring_in(tmp_path / "a.ply", tmp_path / "s")["corners"])
    assert (corners[:, 3:6] == [1, 0, 0]).all()


def test_faces_that_name_materials(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    _ply(path, "", "property int material_index\n", ("", "1|0"))
    head, rows = path.read_text().split("end_header\n")
    path.write_text(f"{head}element material 2\n{RGB}end_header\n{rows}0 0 255\n255 0 0\n")
    corners = np.array(bring_in(path, tmp_path / "s")["corners"])
    assert (corners[:3, 3:6] == [1, 0, 0]).all() and (corners[3:, 3:6] == [0, 0, 1]).all()


PLACED = "property list uchar float texcoord\n"
HALVES = "6 0 0 1 0 1 1|6 0 0 1 1 0 1"


def test_each_face_has_its_own_texture(render: Callable[..., Bundle], tmp_path: Path) -> None:
    for name, color in (("a.png", (200, 60, 20)), ("b.png", (20, 60, 200))):
        Image.new("RGB", (2, 2), color).save(tmp_path / name)
    rows = "|".join(f"{row} {i}" for i, row in enumerate(HALVES.split("|")))
    head = "comment TextureFile a.png\ncomment TextureFile b.png\n"
    _ply(tmp_path / "a.ply", "", f"{PLACED}property int texnumber\n", ("", rows), head)
    albedo = np.concatenate(
        [view.albedo[view.depth > 0] for view in render(tmp_path / "a.ply").views()]
    ).astype(int)
    for color in ((200, 60, 20), (20, 60, 200)):
        assert (np.abs(albedo - color).max(1) <= 4).mean() > 0.4


def test_colors_stand_in_for_a_texture_that_is_missing(tmp_path: Path) -> None:
    head = "comment TextureFile gone.png\n"
    _ply(tmp_path / "a.ply", RGB, PLACED, ("255 0 0", HALVES), head)
    corners = np.array(bring_in(tmp_path / "a.ply", tmp_path / "s")["corners"])
    assert (corners[:, 3:6] == [1, 0, 0]).all()
