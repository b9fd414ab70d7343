"""USD: what colors a face, as a render of it shows: its material, and only without one `displayColor`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from render.bundle import Bundle
from tests.helpers.staging import stage

HEAD = '#usda 1.0\n(\n    upAxis = "Z"\n    metersPerUnit = 1\n)\n'
RED, BLUE, GREEN, GRAY = (255, 0, 0), (0, 0, 255), (0, 255, 0), (231, 231, 231)
BOUND = "rel material:binding = </{}>\n"
QUADS = """
    point3f[] points = [(0, 0, 0), (1, 0, 0), (2, 0, 0), (0, 1, 0), (1, 1, 0), (2, 1, 0)]
    int[] faceVertexCounts = [4, 4]
    int[] faceVertexIndices = [0, 1, 4, 3, 1, 2, 5, 4]
    uniform token subdivisionScheme = "none"
"""
DISPLAYED = "color3f[] primvars:displayColor = [{}]\n"
VARIED = DISPLAYED.format("(0, 0, 1), (0, 1, 0)").replace("]\n", '] (interpolation = "uniform")\n')
BESIDE = """def GeomSubset "first" (prepend apiSchemas = ["MaterialBindingAPI"]) {
    uniform token elementType = "face"
    uniform token familyName = "materialBind"
    int[] indices = [0]
    rel material:binding = </red>
}
"""


def _material(name: str, color: str) -> str:
    said = f"color3f inputs:diffuseColor = ({color})" if color else ""
    return (
        f'def Material "{name}" {{\ntoken outputs:surface.connect = </{name}/s.outputs:surface>\n'
        f'def Shader "s" {{\nuniform token info:id = "UsdPreviewSurface"\n{said}\n'
        "token outputs:surface\n}\n}\n"
    )


def _connected(name: str, output: str, readers: str) -> str:
    """A material whose diffuse color is an output of one of its readers."""
    return f"""def Material "{name}" {{
    token outputs:surface.connect = </{name}/s.outputs:surface>
    def Shader "s" {{
        uniform token info:id = "UsdPreviewSurface"
        color3f inputs:diffuseColor.connect = </{name}/{output}>
        token outputs:surface
    }}
{readers}}}
"""


READ = _connected(
    "read",
    "r.outputs:result",
    """    def Shader "r" {
        uniform token info:id = "UsdPrimvarReader_float3"
        string inputs:varname = "displayColor"
        float3 inputs:fallback = (1, 0, 0)
        float3 outputs:result
    }
""",
)
MATERIALS = READ + _material("red", "1, 0, 0") + _material("blue", "0, 0, 1") + _material("unsaid", "")
CASES = {
    "others have the mesh's material": (BOUND.format("blue") + BESIDE, (RED, BLUE)),
    "others display a color": (DISPLAYED.format("(0, 0, 1)") + BESIDE, (RED, BLUE)),
    "others display their own": (VARIED.replace("0, 0, 1", "1, 1, 1") + BESIDE, (RED, GREEN)),
    "others have nothing": (BESIDE, (RED, GRAY)),
    "a material before colors": (BOUND.format("red") + VARIED, (RED, RED)),
    "colors before a material without": (BOUND.format("unsaid") + VARIED, (BLUE, GREEN)),
    "a material that reads colors": (BOUND.format("read") + VARIED, (BLUE, GREEN)),
    "a material that reads none": (BOUND.format("read"), (RED, RED)),
    "no colors": (DISPLAYED.format(""), (GRAY, GRAY)),
}


@pytest.mark.parametrize("case", CASES)
def test_what_colors_a_face(case: str, render: Callable[..., Bundle], tmp_path: Path) -> None:
    said, expected = CASES[case]
    mesh = f'def Mesh "M" (prepend apiSchemas = ["MaterialBindingAPI"]) {{{QUADS}{said}}}\n'
    (tmp_path / "a.usda").write_text(HEAD + MATERIALS + mesh)
    _require_halves(render(tmp_path / "a.usda"), expected)


SCATTERED = """def PointInstancer "I" {{
    rel prototypes = </I/p>
    int[] protoIndices = [0, 0, 0]
    point3f[] positions = [(0, 0, 0), (5, 0, 0), (9, 9, 9)]
    float3[] scales = [(1, 1, 1), (-1, 1, 1), (1, 1, 1)]
    int64[] ids = [1, 2, 3]
    int64[] invisibleIds = [3]
    color3f[] primvars:displayColor = [{}] (interpolation = "{}")
    def Mesh "p" {{{}
        double3 xformOp:translate = (0, 0, 1)
        uniform token[] xformOpOrder = ["xformOp:translate"]
    }}
}}
"""


@pytest.mark.parametrize("interpolation", ["vertex", "varying", "uniform"])
def test_each_instance_has_its_color(
    interpolation: str, render: Callable[..., Bundle], tmp_path: Path
) -> None:
    colors = "(1, 0, 0), (0, 0, 1), (0, 1, 0)"
    (tmp_path / "a.usda").write_text(HEAD + SCATTERED.format(colors, interpolation, QUADS))
    bundle = render(tmp_path / "a.usda")
    _require_halves(bundle, (RED, BLUE))
    corners = bundle.mesh().vertices / bundle.meta["scale"] + bundle.meta["center"]
    assert np.allclose([corners.min(0), corners.max(0)], [[0, 0, 1], [5, 1, 1]], atol=1e-5)


def test_an_instancer_without_colors_stays(render: Callable[..., Bundle], tmp_path: Path) -> None:
    text = HEAD + SCATTERED.format("", "vertex", QUADS)
    (tmp_path / "a.usda").write_text("\n".join(row for row in text.split("\n") if "displayColor" not in row))
    _require_halves(render(tmp_path / "a.usda"), (GRAY, GRAY))


TEXTURED = _connected(
    "m",
    "t.outputs:rgb",
    """    def Shader "t" {
        uniform token info:id = "UsdUVTexture"
        asset inputs:file = @NAME@
        float2 inputs:st.connect = </m/r.outputs:result>
        float3 outputs:rgb
    }
    def Shader "r" {
        uniform token info:id = "UsdPrimvarReader_float2"
        string inputs:varname = "st"
        float2 outputs:result
    }
""",
)
PLACES = "texCoord2f[] primvars:st = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]"


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("skin.<UDIM>.png", "skin.{}.png"),
        ("./maps/skin_<UDIM>.png", "maps/skin_{}.png"),
        ("C:/me/skin.<UDIM>.png", "textures/skin.{}.png"),
        ("Skin.<udim>.png", "skin.{}.png"),
    ],
)
def test_tiles(name: str, where: str, render: Callable[..., Bundle], tmp_path: Path) -> None:
    folder = tmp_path / "models" / "c"
    for number, color in ((1001, RED), (1002, BLUE)):
        path = folder / where.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), color).save(path)
    said = f'{BOUND.format("m")}{PLACES} (interpolation = "vertex")\n'
    mesh = f'def Mesh "M" (prepend apiSchemas = ["MaterialBindingAPI"]) {{{QUADS}{said}}}\n'
    (folder / "a.usda").write_text(HEAD + TEXTURED.replace("NAME", name) + mesh)
    staged = stage(folder / "a.usda", "c/a.usda", tmp_path / "in")
    bundle = render(staged.path)
    assert bundle.meta["missing_textures"] == []
    _require_halves(bundle, (RED, BLUE))


def _require_halves(bundle: Bundle, expected: tuple[tuple[int, int, int], ...]) -> None:
    albedo = np.concatenate([view.albedo[view.depth > 0] for view in bundle.views()]).astype(int)
    for color in expected:
        share = (np.abs(albedo - color).max(1) <= 2).mean()
        assert share > 0.95 if len(set(expected)) == 1 else 0.4 < share < 0.6
