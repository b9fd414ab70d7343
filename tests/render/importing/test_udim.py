"""An OBJ whose material names tiles shows each at its place, wherever they lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from render.bundle import Bundle
from tests.helpers.staging import stage

UDIM = ("1001", "1002")
CASES = {
    "lower case": ("skin.<udim>.png", "skin.{}.png", UDIM),
    "rows and columns": ("skin_<UVTILE>.png", "skin_{}.png", ("u1_v1", "u2_v1")),
    "as Mari writes": ("skin.%(UDIM)d.png", "skin.{}.png", UDIM),
    "backslash": ("maps\\skin.<UDIM>.png", "maps/skin.{}.png", UDIM),
    "stale": ("C:\\me\\skin.<UDIM>.png", "textures/skin.{}.png", UDIM),
}


@pytest.mark.parametrize("case", CASES)
def test_tiles(case: str, render: Callable[..., Bundle], tmp_path: Path) -> None:
    name, where, numbers = CASES[case]
    folder = tmp_path / "models" / "c"
    for number, color in zip(numbers, ((200, 30, 30), (30, 30, 200)), strict=True):
        path = folder / where.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), color).save(path)
    (folder / "a.mtl").write_text(f"newmtl m\nKd 1 1 1\nmap_Kd {name}\n")
    quads = "".join(f"v {x} {y} 0\nvt {x} {y}\n" for x in (0, 1, 2) for y in (0, 1))
    (folder / "a.obj").write_text(f"mtllib a.mtl\n{quads}usemtl m\nf 1/1 3/3 4/4 2/2\nf 3/3 5/5 6/6 4/4\n")
    staged = stage(folder / "a.obj", "c/a.obj", tmp_path / "in")
    bundle = render(staged.path)
    albedo = np.concatenate([view.albedo[view.depth > 0] for view in bundle.views()]).astype(int)
    assert bundle.meta["missing_textures"] == []
    for color in ((200, 30, 30), (30, 30, 200)):
        assert (np.abs(albedo - color).max(1) <= 4).mean() > 0.4


def test_tiles_without_a_number_of_their_own_are_missing(
    render: Callable[..., Bundle], tmp_path: Path
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "skin_u0_v0.png")
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 1 0 0\nmap_Kd skin_<UVTILE>.png\n")
    (tmp_path / "a.obj").write_text("mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl m\nf 1 2 3\n")
    assert render(tmp_path / "a.obj").meta["missing_textures"] == ["skin_<UVTILE>.png"]
