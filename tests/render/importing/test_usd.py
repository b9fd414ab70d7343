"""USD: shapes have what they inherit."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.importing import attempt, bring_in

HEAD = '#usda 1.0\n(\n    upAxis = "Z"\n    metersPerUnit = 1\n)\n'
MESH = """def Mesh "M" {{
    point3f[] points = [(0, 0, 0), (2, 0, 0), (2, 1, 0), (0, 1, 0)]
    int[] faceVertexCounts = [4]
    int[] faceVertexIndices = [0, 1, 2, 3]
    {}
}}
"""
RED = "color3f[] primvars:displayColor = [(1, 0, 0)]\n"
BLUE = "color3f[] primvars:displayColor = [(0, 0, 1)]\n"
SAID = 'color3f[] primvars:displayColor = [(1, 0, 0)] (interpolation = "constant")\n'
CHOSEN = RED.replace("[(1, 0, 0)]", "[(0, 1, 0), (1, 0, 0)]") + "int[] primvars:displayColor:indices = [1]\n"


def group(primvar: str, inside: str, name: str = "G") -> str:
    return f'def Xform "{name}" {{\n{primvar}{inside}}}\n'


COLORS = {
    "own": group("", MESH.format(RED)),
    "parent's": group(RED, MESH.format("")),
    "parent's, as constant": group(SAID, MESH.format("")),
    "parent's, by index": group(CHOSEN, MESH.format("")),
    "grandparent's": group(RED, group("", MESH.format(""), "H")),
    "the nearest": group(BLUE, group(RED, MESH.format(""), "H")),
    "own before the parent's": group(BLUE, MESH.format(RED)),
}


@pytest.mark.parametrize("case", COLORS)
def test_colors_are_inherited(case: str, tmp_path: Path) -> None:
    (tmp_path / "inherited.usda").write_text(HEAD + COLORS[case])
    corners = np.array(bring_in(tmp_path / "inherited.usda", tmp_path / "s")["corners"])
    assert corners.shape == (4, 6) and (corners[:, 3:] == [1, 0, 0]).all()


def test_each_instance_inherits_from_its_own_place(tmp_path: Path) -> None:
    instance = 'def "{0}" (instanceable = true\nreferences = </P>) {{\n{1}}}\n'
    text = (
        'class Xform "P" {\n'
        + MESH.format("")
        + "}\n"
        + instance.format("A", RED)
        + instance.format("B", BLUE)
    )
    (tmp_path / "a.usda").write_text(HEAD + text)
    corners = np.array(bring_in(tmp_path / "a.usda", tmp_path / "s")["corners"])
    assert {tuple(row) for row in corners[:, 3:].tolist()} == {(1, 0, 0), (0, 0, 1)}


def test_a_texture_beside_the_model_is_found_with_inherited_coordinates(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (200, 60, 20)).save(tmp_path / "red.png")
    material = """def Material "Mat" {
    token outputs:surface.connect = </G/Mat/S.outputs:surface>
    def Shader "S" {
        uniform token info:id = "UsdPreviewSurface"
        color3f inputs:diffuseColor.connect = </G/Mat/T.outputs:rgb>
        token outputs:surface
    }
    def Shader "T" {
        uniform token info:id = "UsdUVTexture"
        asset inputs:file = @red.png@
        float3 outputs:rgb
    }
}
"""
    mesh = MESH.format("rel material:binding = </G/Mat>").replace(
        'def Mesh "M"', 'def Mesh "M" (prepend apiSchemas = ["MaterialBindingAPI"])'
    )
    (tmp_path / "a.usda").write_text(
        HEAD + group("texCoord2f[] primvars:st = [(0.25, 0.75)]\n", material + mesh)
    )
    found = bring_in(tmp_path / "a.usda", tmp_path / "s")
    assert np.allclose(np.array(found["corners"])[:, -2:], [0.25, 0.75]) and found["loaded"] == 1


def test_an_archive_whose_first_file_is_no_usd_is_the_importers_to_judge(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.usdz", "w") as archive:
        archive.writestr("readme.txt", "not USD")
        archive.writestr("a.usda", HEAD + MESH.format(RED))
    assert attempt(tmp_path / "a.usdz", tmp_path / "s").kind in ("import_error", "empty")


@pytest.mark.parametrize("value", ["[]", "None"])
def test_an_inherited_value_that_is_none_changes_nothing(value: str, tmp_path: Path) -> None:
    coordinate = f'texCoord2f[] primvars:st = {value} (interpolation = "constant")\n'
    (tmp_path / "a.usda").write_text(HEAD + group(coordinate, MESH.format("")))
    assert len(bring_in(tmp_path / "a.usda", tmp_path / "s")["corners"]) == 4


@pytest.mark.parametrize("before", ["", group("", MESH.format("")), 'def Cube "C" {'])
def test_another_file_at_the_same_path_is_read_anew(before: str, tmp_path: Path) -> None:
    """USD keeps layers by their path, as long as anything holds them."""
    (tmp_path / "a.usda").write_text(HEAD + before)
    attempt(tmp_path / "a.usda", tmp_path / "s")
    (tmp_path / "a.usda").write_text(HEAD + group(RED, MESH.format("").replace("(2, 1, 0)", "(2, 7, 0)")))
    found = bring_in(tmp_path / "a.usda", tmp_path / "s")
    assert found["high"][1] == 7 and np.array(found["corners"])[0, 3:].tolist() == [1, 0, 0]


BIND = "[((1,0,0,0),(0,1,0,0),(0,0,1,0),(0,0,0,1)), ((1,0,0,0),(0,1,0,0),(0,0,1,0),(0,0,0,1))]"
SKINNED = """def SkelRoot "R" {{
    def Mesh "M" (prepend apiSchemas = ["SkelBindingAPI"]) {{
        point3f[] points = [(0, 0, 0), (2, 0, 0), (2, 1, 0), (0, 1, 0)]
        int[] faceVertexCounts = [4]
        int[] faceVertexIndices = [0, 1, 2, 3]
        int[] primvars:skel:jointIndices = [0, 1, 1, 0] (elementSize = 1
            interpolation = "vertex")
        float[] primvars:skel:jointWeights = [1, 1, 1, 1] (elementSize = 1
            interpolation = "vertex")
        rel skel:skeleton = </R/S>
    }}
    def Skeleton "S" (prepend apiSchemas = ["SkelBindingAPI"]) {{
        uniform token[] joints = ["a", "a/b"]
        uniform matrix4d[] bindTransforms = {bind}
        uniform matrix4d[] restTransforms = {bind}
        rel skel:animationSource = </R/S/A>
        def SkelAnimation "A" {{
            uniform token[] joints = ["a", "a/b"]
            float3[] translations{moved}
            quatf[] rotations = [(1, 0, 0, 0), (1, 0, 0, 0)]
            half3[] scales = [(1, 1, 1), (1, 1, 1)]
        }}
    }}
}}
"""


@pytest.mark.parametrize("said", [" = {}", ".timeSamples = {{0: {}}}", ".timeSamples = {{0: {}, 9: {}}}"])
def test_a_skeleton_holds_its_pose(said: str, tmp_path: Path) -> None:
    moved = said.format("[(0, 0, 0), (3, 0, 0)]", "[(0, 0, 0), (3, 0, 0)]")
    (tmp_path / "a.usda").write_text(HEAD + SKINNED.format(bind=BIND, moved=moved))
    assert np.allclose(bring_in(tmp_path / "a.usda", tmp_path / "s")["high"], [5, 1, 0], atol=1e-5)
