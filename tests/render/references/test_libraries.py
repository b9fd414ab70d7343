"""OBJ and MTL: libraries, keywords and options however they are written; staged and imported for real."""

from __future__ import annotations

from pathlib import Path

import pytest

from render.references.plain_text import usual_mtl
from tests.helpers.textured_models import (
    OBJ,
    RED,
    imported,
    obj,
    picture,
    text,
)

LINES = {
    "spaces": "red brick.png",
    "options": "-s 1 1 1 -o 0 0 0 -mm 0 1 -bm 0.5 -clamp on red brick.png",
    "windows": "C:\\my documents\\old maps\\Red Brick.PNG",
    "options and windows": "-s 2 2 2 ..\\old maps\\Red Brick.PNG",
    "quotes": '"red brick.png"',
    "blanks at the end": "red brick.png   ",
    "a comment at the end": "red brick.png # the kiln's",
    "an option nobody knows": "-foo 1 -gamma 2.2 -type sphere red brick.png",
}


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("place", ["", "maps/"])
def test_lines_of_an_mtl(line: str, place: str, tmp_path: Path):
    root = tmp_path / "models"
    obj(root / "c", LINES[line], mtllib="my mats\\the (final).mtl", mtl="my mats/the (final).mtl")
    picture(root / "c/my mats" / place / "red brick.png")
    found, staged = imported(root, "c/m.obj", tmp_path)
    assert (found["colors"], found["missing"]) == ([RED], []), staged


LIBRARIES = {
    "none": ("", "m.mtl"),
    "stale": ("other.mtl", "m.mtl"),
    "windows": ("C:\\work\\out\\mats.mtl", "mats.mtl"),
    "unix": ("/home/me/mats.mtl", "mats.mtl"),
    "case": ("Mats.MTL", "mats.mtl"),
    "stem in another case": ("", "M.mtl"),
    "elsewhere": ("mats.mtl", "materials/mats.mtl"),
    "several": ("empty.mtl mats.mtl", "mats.mtl"),
    "quotes": ('"my mats.mtl"', "my mats.mtl"),
}


@pytest.mark.parametrize("case", LIBRARIES)
def test_libraries_of_an_obj(case: str, tmp_path: Path):
    mtllib, where = LIBRARIES[case]
    root = tmp_path / "models"
    obj(root / "c", "wood.png", mtllib=mtllib, mtl=where)
    text(root / "c/empty.mtl", "newmtl unused\n")
    picture(root / "c/wood.png")
    found, staged = imported(root, "c/m.obj", tmp_path)
    assert (found["colors"], found["missing"]) == ([RED], []), staged


@pytest.mark.parametrize("keyword", ["map_kd", "\tMAP_KD"])
def test_keywords_of_an_mtl_in_any_case(keyword: str, tmp_path: Path):
    root = tmp_path / "models"
    text(root / "c/m.obj", OBJ.format(mtllib="mtllib m.mtl\n", usemtl="usemtl wood\n"))
    text(root / "c/m.mtl", f"NEWMTL wood\nKD 1 1 1\n{keyword} wood.png\n")
    picture(root / "c/wood.png")
    found, staged = imported(root, "c/m.obj", tmp_path)
    assert (found["colors"], found["missing"]) == ([RED], []), staged


def test_commas_for_decimal_points_and_for_blanks():
    mtl = b"Kd 0,5 0,25 0,1\nd 1,0\r\nNs 10\nKs 1,0,0\nmap_Kd a,1,2.png\n"
    assert usual_mtl(mtl) == b"Kd 0.5 0.25 0.1\nd 1.0\r\nNs 10\nKs 1 0 0\nmap_Kd a,1,2.png\n"
