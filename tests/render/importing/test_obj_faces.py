"""OBJ whose text the importer stumbles over, so that faces would be lost: truth is what the tests wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from render.bundle import Bundle
from tests.helpers.importing import POINTS, bring_in, size

PLACES = "".join("v {:g} {:g} {:g}\n".format(*point) for point in POINTS)
OTHERS = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nvn 0 0 1\n"
CURVE = "cstype bspline\ndeg 3\ncurv 0 1 1 2 \\\n3 4\nparm u 0 0 0 0 1 1 1 1\nend\n"
CASES = {
    "comments that end with a backslash": PLACES.replace("v ", "# C:\\\nv ") + "f 1 2 3 4\n",
    "the same with CRLF": (PLACES.replace("v ", "# C:\\\nv ") + "f 1 2 3 4\n").replace("\n", "\r\n"),
    "commas for points": PLACES.replace(" 0\n", " 0,0\n") + "f 1 2 3 4\n",
    "a curve beside": PLACES + "f 1 2 3 4\n" + CURVE,
    "a curve before": PLACES + CURVE + "f 1 2 3 4\n",
    "no texture coordinate 0": PLACES + OTHERS + "f 1/0/0 2/0/0 3/0/0 4/0/0\n",
    "no such normal": PLACES + OTHERS + "f 1//1 2//1 3//1 4//9\n",
    "no such texture coordinate": PLACES + OTHERS + "f 1/1/1 2/2/1 3/3/1 4/-9/1\n",
    "faces before their vertices": "o a\nf 1 2 3 4\nusemtl m\n" + PLACES,
    "continued, before its vertices": "f 1 2 \\\n3 4\n" + PLACES,
    "from the end": PLACES + OTHERS + "f -4/-4/-1 -3/-3/-1 -2/-2/-1 -1/0/-1\nv 9 9 9\n",
    "of two corners": PLACES + "f 1 2 3 4\nv 9 9 9\nf 1 5\nf 5\n",
}


@pytest.mark.parametrize("case", CASES)
def test_no_face_is_lost(case: str, tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_bytes(CASES[case].encode())
    found = bring_in(tmp_path / "a.obj", tmp_path / "s")
    assert found["faces"] == 1
    places = np.unique(np.array(found["corners"])[:, :3].round(5) + 0.0, axis=0)
    assert np.allclose(places, np.unique(POINTS[:, [0, 2, 1]] * [1, -1, 1] + 0.0, axis=0))


def test_only_what_is_missing_is_left_out(tmp_path: Path) -> None:
    faces = "f 1/1/1 2/2/1 3/3/1\nf 1/1/7 3/3/7 4/4/7\nf 1/1/1 2/2/1 99/3/1\n"
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 0.2 0.4 0.6\n")
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\n{PLACES}{OTHERS}usemtl m\n{faces}")
    found = bring_in(tmp_path / "a.obj", tmp_path / "s")
    corners = np.array(found["corners"])
    assert found["faces"] == 2 and np.allclose(size(found), [2, 0, 1], atol=1e-6)
    assert np.allclose(corners[:, 3:5], corners[:, [0, 2]] / [2, 1], atol=1e-6)
    assert np.allclose(found["bases"]["m"], [0.2, 0.4, 0.6, 1])


def test_what_lies_in_no_face_raises_no_doubt(render: Callable[..., Bundle], tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(CASES["of two corners"])
    bundle = render(tmp_path / "a.obj")
    assert bundle.meta["importer"] == "wm.obj_import" and bundle.meta["notes"] == []
    assert np.abs(bundle.mesh().vertices).max() <= 1


COLORS = {
    "a little more than 1": ("1.02 0.2 0", "0 0.2 1", (1, 0, 0)),
    "bytes, of which one mesh has small ones": ("255 0 0", "1 0 0", (1, 0, 0)),
}


@pytest.mark.parametrize("case", COLORS)
def test_which_colors_are_bytes(case: str, tmp_path: Path) -> None:
    first, second, shown = COLORS[case]
    quads = [PLACES.replace("\n", f" {color}\n") for color in (first, second)]
    text = f"o a\n{quads[0]}f 1 2 3 4\no b\n{quads[1].replace(' 0 ', ' 5 ')}f 5 6 7 8\n"
    (tmp_path / "a.obj").write_text(text)
    colors = np.array(bring_in(tmp_path / "a.obj", tmp_path / "s")["corners"])[:, 3:6]
    assert np.allclose(colors.max(0)[0], shown[0], atol=1e-3)
    assert colors.max() <= 1 and (colors[:, 0].min() < 0.01)
