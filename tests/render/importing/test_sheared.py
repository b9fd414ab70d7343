"""Matrices that are no translation, rotation and scale: Blender's importers make others of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from render.failures import FailureClass
from tests.helpers.gltf_files import write_gltf
from tests.helpers.importing import attempt, bring_in

SHEAR = np.array([[1, 1.5, 0, 0], [0, 1, 0, 0], [0.25, 0, -2, 3], [0, 0, 0, 1]])
"""(4, 4) for columns; it mirrors, too."""
CORNERS = np.array([[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 5]], float)
FACES = np.array([[0, 1, 2], [0, 2, 3]])
FLAT = np.array([[0, 0.6, 0, 1], [0, 0.8, 0, 2], [2, 0, 0, 3], [0, 0, 0, 1]])
Y_UP = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])


def _at(matrix: np.ndarray, points: np.ndarray = CORNERS) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _require(found: dict[str, Any], truth: np.ndarray) -> None:
    """The corners in the scene are `truth` (4, 3)."""
    assert found["faces"] == 2
    places = np.array(found["corners"])[:, :3]
    nearest = np.linalg.norm(places[:, None] - truth[FACES.ravel()], axis=2)
    assert nearest.min(0).max() < 1e-5 and nearest.min(1).max() < 1e-5


# ---- glTF --------------------------------------------------------------------------------------------------


MATRIX = SHEAR.T.ravel().tolist()
TREES: dict[str, list[dict[str, Any]]] = {
    "with a mesh": [{"mesh": 0, "matrix": MATRIX}],
    "above": [{"matrix": MATRIX, "children": [1]}, {"mesh": 0}],
    "between": [{"children": [1]}, {"matrix": MATRIX, "children": [2]}, {"mesh": 0}],
    "twice": [{"matrix": MATRIX, "children": [1]}, {"mesh": 0, "matrix": MATRIX}],
    "flat": [{"mesh": 0, "matrix": FLAT.T.ravel().tolist()}],
}


@pytest.mark.parametrize("name", TREES)
def test_gltf(name: str, tmp_path: Path) -> None:
    write_gltf(tmp_path / "a.gltf", CORNERS, FACES, TREES[name])
    truth = {"twice": _at(SHEAR, _at(SHEAR)), "flat": _at(FLAT)}.get(name, _at(SHEAR))
    _require(bring_in(tmp_path / "a.gltf", tmp_path / "s"), truth @ Y_UP.T)


def test_gltf_far_away(tmp_path: Path) -> None:
    far = SHEAR.copy()
    far[:3, 3] += [4e6, 1e6, -2e6]
    write_gltf(tmp_path / "a.gltf", CORNERS, FACES, [{"mesh": 0, "matrix": far.T.ravel().tolist()}])
    found = bring_in(tmp_path / "a.gltf", tmp_path / "s")
    assert not any("times its size" in note for note in found["notes"])
    _require(found, _at(far) @ Y_UP.T)


def test_a_damaged_tree_is_blenders_to_refuse(tmp_path: Path) -> None:
    write_gltf(tmp_path / "a.gltf", CORNERS, FACES, [{"mesh": 0, "matrix": MATRIX, "children": 7}])
    outcome = attempt(tmp_path / "a.gltf", tmp_path / "s")
    assert outcome.kind is FailureClass.IMPORT_ERROR and "import_scene.gltf" in (outcome.message or "")


# ---- USD ---------------------------------------------------------------------------------------------------

ORDER = 'uniform token[] xformOpOrder = ["xformOp:transform"]\n'
XFORM = f"matrix4d xformOp:transform = ({', '.join(str(tuple(row)) for row in SHEAR.T.tolist())})\n{ORDER}"
MESH = f"""def Mesh "M" {{
    point3f[] points = {[tuple(point) for point in CORNERS.tolist()]}
    int[] faceVertexCounts = [3, 3]
    int[] faceVertexIndices = {FACES.ravel().tolist()}
    uniform token subdivisionScheme = "none"
    %s
}}
"""
BARE, PLACED = MESH % "", MESH % XFORM
INSTANCE = 'class Xform "P" {\n%s}\ndef Xform "I" (instanceable = true\ninherits = </P>) {\n%s}\n'
STAGES = {
    "with a mesh": PLACED,
    "above": f'def Xform "A" {{\n{XFORM}def Xform "B" {{\n{BARE}}}\n}}\n',
    "of an instance": INSTANCE % (BARE, XFORM),
    "within an instance": INSTANCE % (PLACED, ""),
    "flat": PLACED.replace(str(tuple(SHEAR.T[0].tolist())), "(0, 0, 0, 0)"),
}


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("head", ['upAxis = "Z"\nmetersPerUnit = 1', 'upAxis = "Y"\nmetersPerUnit = 0.01'])
def test_usd(name: str, head: str, tmp_path: Path) -> None:
    (tmp_path / "a.usda").write_text(f"#usda 1.0\n(\n{head}\n)\n{STAGES[name]}")
    placed = _at(SHEAR * [0, 1, 1, 1] if name == "flat" else SHEAR)
    truth = placed if "Z" in head else 0.01 * placed @ Y_UP.T
    _require(bring_in(tmp_path / "a.usda", tmp_path / "s"), truth)


def test_a_prim_that_resets_what_stands_above_it(tmp_path: Path) -> None:
    alone = PLACED.replace('["xformOp', '["!resetXformStack!", "xformOp')
    text = f'#usda 1.0\n(\nupAxis = "Z"\nmetersPerUnit = 1\n)\ndef Xform "A" {{\n{XFORM}{alone}}}\n'
    (tmp_path / "a.usda").write_text(text)
    _require(bring_in(tmp_path / "a.usda", tmp_path / "s"), _at(SHEAR))


# ---- Collada -----------------------------------------------------------------------------------------------


def test_collada(tmp_path: Path) -> None:
    positions = " ".join(f"{x:g}" for x in CORNERS.ravel())
    (tmp_path / "a.dae").write_text(
        '<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1"><asset>'
        '<up_axis>Z_UP</up_axis></asset><library_geometries><geometry id="g"><mesh><source id="p">'
        f'<float_array id="pa" count="12">{positions}</float_array><technique_common>'
        '<accessor source="#pa" count="4" stride="3"><param name="X" type="float"/>'
        '<param name="Y" type="float"/><param name="Z" type="float"/></accessor></technique_common></source>'
        '<vertices id="v"><input semantic="POSITION" source="#p"/></vertices><triangles count="2">'
        '<input semantic="VERTEX" source="#v" offset="0"/><p>0 1 2 0 2 3</p></triangles></mesh></geometry>'
        '</library_geometries><library_visual_scenes><visual_scene id="s"><node><matrix>'
        f'{" ".join(f"{x:g}" for x in SHEAR.ravel())}</matrix><instance_geometry url="#g"/></node>'
        '</visual_scene></library_visual_scenes><scene><instance_visual_scene url="#s"/></scene></COLLADA>'
    )
    _require(bring_in(tmp_path / "a.dae", tmp_path / "s"), _at(SHEAR))
