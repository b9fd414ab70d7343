"""USD's solids: round, as large as they say, and in their material."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.importing import bring_in, size

STAGE = """#usda 1.0
(
    upAxis = "Z"
    metersPerUnit = 1
)
def Xform "W" (prepend apiSchemas = ["MaterialBindingAPI", "CollectionAPI:all"]) {{
    {binding}
    def {solid}
    def Material "Mat" {{
        token outputs:surface.connect = </W/Mat/S.outputs:surface>
        def Shader "S" {{
            uniform token info:id = "UsdPreviewSurface"
            color3f inputs:diffuseColor = (1, 0, 0)
            token outputs:surface
        }}
    }}
}}
"""
DIRECT = "rel material:binding = </W/Mat>"
BY_COLLECTION = """rel material:binding:collection:all = [</W.collection:all>, </W/Mat>]
    uniform token collection:all:expansionRule = "expandPrims"
    rel collection:all:includes = </W>"""
PLANE = 'Plane "M" { double width = 3\ndouble length = 4\n}'
SOLIDS = {
    "sphere": ('Sphere "M" { double radius = 2\n}', [4, 4, 4]),
    "cube": ('Cube "M" { double size = 3\n}', [3, 3, 3]),
    "cylinder": ('Cylinder "M" { double radius = 1\ndouble height = 5\n}', [2, 2, 5]),
    "cylinder along x": ('Cylinder "M" { uniform token axis = "X"\ndouble height = 5\n}', [5, 2, 2]),
    "cone along y": ('Cone "M" { uniform token axis = "Y"\ndouble height = 5\n}', [2, 5, 2]),
    "capsule": ('Capsule "M" { double radius = 1\ndouble height = 2\n}', [2, 2, 4]),
    "plane": (PLANE, [3, 4, 0]),
    "plane across x": (
        'Plane "M" { uniform token axis = "X"\ndouble width = 3\ndouble length = 4\n}',
        [0, 4, 3],
    ),
    "by its schema": ('Cube "M" {\n}', [2, 2, 2]),
}


@pytest.mark.parametrize("name", SOLIDS)
def test_solids(name: str, tmp_path: Path) -> None:
    solid, sizes = SOLIDS[name]
    (tmp_path / "a.usda").write_text(STAGE.format(solid=solid, binding=DIRECT))
    found = bring_in(tmp_path / "a.usda", tmp_path / "s")
    assert np.allclose(size(found), sizes, atol=1e-5)
    assert found["bases"]["Mat"][:3] == [1, 0, 0]


@pytest.mark.parametrize("solid", [SOLIDS["cube"][0], 'Mesh "M" {%s}'])
def test_a_material_bound_by_a_collection(solid: str, tmp_path: Path) -> None:
    mesh = (
        "point3f[] points = [(0, 0, 0), (3, 0, 0), (0, 3, 3)]\nint[] faceVertexCounts = [3]\n"
        "int[] faceVertexIndices = [0, 1, 2]\n"
    )
    text = STAGE.format(solid=solid.replace("%s", mesh), binding=BY_COLLECTION)
    (tmp_path / "a.usda").write_text(text)
    found = bring_in(tmp_path / "a.usda", tmp_path / "s")
    assert np.allclose(size(found), 3, atol=1e-5) and found["bases"]["Mat"][:3] == [1, 0, 0]


def test_solids_within_an_instance(tmp_path: Path) -> None:
    solid = SOLIDS["sphere"][0].replace("radius = 2", "radius = 2\nrel material:binding = </W/Mat>")
    instance = 'Xform "I" (instanceable = true\ninherits = </P>) {\n}'
    stage = STAGE.format(solid=instance, binding="") + 'class Xform "P" {\ndef ' + solid + "\n}\n"
    (tmp_path / "a.usda").write_text(stage)
    found = bring_in(tmp_path / "a.usda", tmp_path / "s")
    assert np.allclose(size(found), 4, atol=1e-5) and found["bases"]["Mat"][:3] == [1, 0, 0]
