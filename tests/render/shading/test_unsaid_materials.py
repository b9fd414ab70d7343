"""What stands in where a material says nothing: vertex colors, and colors whose alpha nobody asked for."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from render.bundle import Bundle

QUAD = ((0, 0), (2, 0), (2, 1), (0, 1))


def _obj(path: Path, color: str = "") -> Path:
    places = "".join(f"v {x} {y} 0{color}\nvt {x} {y}\n" for x, y in QUAD)
    path.write_text(f"mtllib a.mtl\n{places}usemtl m\nf 1/1 2/2 3/3 4/4\n")
    return path


def _albedo(bundle: Bundle) -> np.ndarray:
    return np.concatenate([view.albedo[view.depth > 0] for view in bundle.views()]).astype(int)


@pytest.mark.parametrize(
    ("mtl", "seen"),
    [
        (None, (204, 51, 26)),
        ("newmtl m\nKd 1 1 1\n", (204, 51, 26)),
        ("newmtl m\nKd 0 0 1\n", (0, 0, 255)),
    ],
)
def test_one_vertex_color_counts_where_no_library_describes_the_material(
    mtl: str | None, seen: tuple[int, int, int], render: Callable[..., Bundle], tmp_path: Path
) -> None:
    if mtl:
        (tmp_path / "a.mtl").write_text(mtl)
    model = _obj(tmp_path / "a.obj", " 0.8 0.2 0.1")
    assert np.abs(_albedo(render(model)) - seen).max() <= 2


def test_white_vertices_without_a_material_are_white(render: Callable[..., Bundle], tmp_path: Path) -> None:
    names = ["float x", "float y", "float z", "uchar red", "uchar green", "uchar blue"]
    (tmp_path / "a.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 4\n"
        + "".join(f"property {name}\n" for name in names)
        + "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
        + "".join(f"{x} {y} 0 255 255 255\n" for x, y in QUAD)
        + "4 0 1 2 3\n"
    )
    assert (_albedo(render(tmp_path / "a.ply")) == 255).all()


def test_a_part_without_colors_keeps_its_factor_beside_one_with(
    render: Callable[..., Bundle], tmp_path: Path
) -> None:
    """Two primitives of a glTF mesh share a red material; COLOR_0 of the second is a fifth."""
    places = [(x, y, z) for z in (0, 1) for x, y in QUAD]
    blob = np.array(places, "<f4").tobytes() + np.full(12, 0.2, "<f4").tobytes()
    blob += np.array([0, 1, 2, 0, 2, 3], "<u2").tobytes()
    spans = ((0, 48), (48, 48), (96, 48), (144, 12))
    vectors = {"componentType": 5126, "count": 4, "type": "VEC3"}
    bounds = [{"min": [0, 0, z], "max": [2, 1, z]} for z in (0, 1)]
    shared = {"indices": 3, "material": 0}
    document = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [
            {
                "primitives": [
                    {"attributes": {"POSITION": 0}, **shared},
                    {"attributes": {"POSITION": 1, "COLOR_0": 2}, **shared},
                ]
            }
        ],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1]}}],
        "buffers": [{"byteLength": 156, "uri": "data:;base64," + base64.b64encode(blob).decode()}],
        "bufferViews": [{"buffer": 0, "byteOffset": o, "byteLength": n} for o, n in spans],
        "accessors": [
            *({"bufferView": i, **vectors, **bounds[i]} for i in (0, 1)),
            {"bufferView": 2, **vectors},
            {"bufferView": 3, "componentType": 5123, "count": 6, "type": "SCALAR"},
        ],
    }
    (tmp_path / "a.gltf").write_text(json.dumps(document))
    seen = _albedo(render(tmp_path / "a.gltf"))
    for red in (255, 124):
        assert (np.abs(seen - (red, 0, 0)).max(1) <= 2).mean() > 0.3


def test_alpha_that_no_material_reads_does_not_darken(render: Callable[..., Bundle], tmp_path: Path) -> None:
    pixels = np.full((8, 8, 4), (200, 60, 20, 0), np.uint8)
    pixels[:, 4:, 3] = 100
    Image.fromarray(pixels).save(tmp_path / "skin.png")
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 1 1 1\nmap_Kd skin.png\n")
    assert np.abs(_albedo(render(_obj(tmp_path / "a.obj"))) - (200, 60, 20)).max() <= 4


@pytest.mark.parametrize(("second", "faces"), [("0", 2), ("1", 1)])
def test_what_is_all_invisible_is_meant_to_be_seen(
    second: str, faces: int, render: Callable[..., Bundle], tmp_path: Path
) -> None:
    """Not where another material is visible: then the part is hidden on purpose."""
    model = _obj(tmp_path / "a.obj")
    model.write_text(model.read_text() + "v 0 0 1\nv 2 0 1\nv 2 1 1\nusemtl n\nf 5/1 6/2 7/3\n")
    (tmp_path / "a.mtl").write_text(f"newmtl m\nKd 1 0 0\nd 0\nnewmtl n\nKd 0 1 0\nd {second}\n")
    bundle = render(model)
    assert len(np.unique(_albedo(bundle), axis=0)) == faces
    assert ("taken as opaque" in str(bundle.meta["notes"])) == (second == "0")
