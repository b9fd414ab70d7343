"""Numbers, indices and images that no reader expects: the verdict names the file, and is never `error`."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.gltf_files import glb
from tests.helpers.importing import attempt
from tests.helpers.textured_models import imported, obj

SHAPE = "<Shape><Box/></Shape>"
COLORS = '<colorgroup id="2"><color color="#112233"/></colorgroup>'
USDA = """#usda 1.0
def Cylinder "A" { double height = 2 double radius = 1 uniform token axis = "W" }
"""


def _x3d(inside: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(f"<X3D><Scene>{inside}</Scene></X3D>")


def _3mf(path: Path) -> None:
    """A triangle whose color is the ninth of one."""
    corners = "".join(f'<vertex x="{x}" y="{y}" z="0"/>' for x, y in ((0, 0), (1, 0), (0, 1)))
    mesh = (
        f"<mesh><vertices>{corners}</vertices>"
        '<triangles><triangle v1="0" v2="1" v3="2" pid="2" p1="9"/></triangles></mesh>'
    )
    model = (
        f'<model><resources>{COLORS}<object id="1">{mesh}</object></resources>'
        '<build><item objectid="1"/></build></model>'
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("3D/3dmodel.model", model)


def _glb(path: Path) -> None:
    """A sheared node, so that a copy is imported, with an accessor of a type that is none."""
    points = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
    document = {
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": len(points)}],
        "bufferViews": [{"buffer": 0, "byteLength": len(points)}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC9"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "nodes": [{"mesh": 0, "matrix": [1, 0, 0, 0, 0.5, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]}],
        "scenes": [{"nodes": [0]}],
    }
    path.write_bytes(glb(document, points))


FILES: dict[str, Callable[[Path], object]] = {
    "beyond.off": lambda path: path.write_text(f"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 {10**30}\n"),
    "infinite.x3d": _x3d(f"<Switch whichChoice='inf'>{SHAPE}</Switch>"),
    "hexadecimal.x3d": _x3d(f"<Transform scale='0x{'f' * 300} 1 1'>{SHAPE}</Transform>"),
    "color.3mf": _3mf,
    "accessor.glb": _glb,
}


@pytest.mark.parametrize("name", FILES)
def test_the_verdict_names_the_file(name: str, tmp_path: Path) -> None:
    FILES[name](tmp_path / name)
    outcome = attempt(tmp_path / name, tmp_path / "s")
    assert outcome.kind in ("invalid", "import_error"), outcome
    assert outcome.message and name in outcome.message, outcome.message
    assert "plain.glb" not in outcome.message


def test_a_solid_about_no_axis_is_left_to_the_importer(tmp_path: Path) -> None:
    (tmp_path / "axis.usda").write_text(USDA)
    outcome = attempt(tmp_path / "axis.usda", tmp_path / "s")
    assert outcome.kind != "error", outcome


def test_a_texture_that_no_decoder_takes_is_missing(tmp_path: Path) -> None:
    """A DDS header of no pixel format: Pillow's NotImplementedError."""
    obj(tmp_path / "models" / "a", "damaged.dds")
    header = b"DDS " + struct.pack("<7I", 124, 0x1007, 4, 4, 0, 0, 1)
    (tmp_path / "models" / "a" / "damaged.dds").write_bytes(header + b"\0" * 999)
    found, _ = imported(tmp_path / "models", "a/m.obj", tmp_path)
    assert found["missing"] == ["damaged.dds"]
