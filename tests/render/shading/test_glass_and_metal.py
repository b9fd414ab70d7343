"""Glass by texture is a surface, cut-outs are holes, metals of specular-glossiness have their color."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.engine.supervisor import Outcome
from render.bundle import Bundle

Render = Callable[..., Bundle]


def _uri(image: Image.Image) -> dict[str, str]:
    file = io.BytesIO()
    image.save(file, "PNG")
    return {"uri": "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()}


def _quad(path: Path, material: dict[str, Any], *images: Image.Image, **more: Any) -> Path:
    """A glTF quad, 2 wide, whose texture coordinates span all of every image."""
    points = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], "<f4")
    uv = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], "<f4")
    blob = points.tobytes() + uv.tobytes() + np.array([0, 1, 2, 0, 2, 3], "<u2").tobytes()
    views = [{"buffer": 0, "byteOffset": o, "byteLength": n} for o, n in ((0, 48), (48, 32), (80, 12))]
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [
            {"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0}]}
        ],
        "materials": [material],
        "textures": [{"source": i} for i in range(len(images))],
        "images": [_uri(image) for image in images],
        "buffers": [{"byteLength": 92, "uri": "data:;base64," + base64.b64encode(blob).decode()}],
        "bufferViews": views,
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3",
             "min": [-1, -1, 0], "max": [1, 1, 0]},
            {"bufferView": 1, "componentType": 5126, "count": 4, "type": "VEC2"},
            {"bufferView": 2, "componentType": 5123, "count": 6, "type": "SCALAR"},
        ],
    }  # fmt: skip
    path.write_text(json.dumps({k: v for k, v in document.items() if v} | more))
    return path


def _painted(left: int, right: int) -> Image.Image:
    """Blue, with one alpha on the left half and another on the right."""
    image = Image.new("RGBA", (64, 64), (20, 40, 200, left))
    image.paste((20, 40, 200, right), (32, 0, 64, 64))
    return image


def _covered(bundle: Bundle) -> int:
    return sum(int((view.depth > 0).sum()) for view in bundle.views())


@pytest.mark.parametrize(
    ("mode", "left", "right", "share"),
    [
        ("BLEND", 80, 80, 1.0),
        ("BLEND", 80, 255, 1.0),
        ("BLEND", 0, 255, 0.5),
        ("BLEND", 0, 80, 0.0),
        ("MASK", 80, 255, 0.5),
    ],
)
def test_only_a_texture_that_is_clear_somewhere_cuts(
    mode: str,
    left: int,
    right: int,
    share: float,
    render: Render,
    attempt: Callable[..., Outcome],
    tmp_path: Path,
) -> None:
    material = {"alphaMode": mode, "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    model = _quad(tmp_path / "pane.gltf", material, _painted(left, right))
    if share == 0:
        outcome = attempt(model)
        assert not outcome.ok and outcome.kind == "empty"
        assert "opacity" in str(outcome.message) and "Material_0" in str(outcome.message)
        return
    whole = _covered(render(_quad(tmp_path / "whole.gltf", {"pbrMetallicRoughness": {}}), "whole"))
    assert abs(_covered(render(model)) / whole - share) < 0.06


GLOSS = "KHR_materials_pbrSpecularGlossiness"


@pytest.mark.parametrize(
    ("diffuse", "specular", "expected"),
    [
        ([0, 0, 0, 1], [1.0, 0.766, 0.336], (255, 227, 157)),
        ([0.5, 0, 0, 1], [0.04, 0.04, 0.04], (188, 0, 0)),
        ([0, 0, 0, 1], [0.04, 0.04, 0.04], (0, 0, 0)),
    ],
)
def test_specular_glossiness(
    diffuse: list[float], specular: list[float], expected: tuple[int, ...], render: Render, tmp_path: Path
) -> None:
    extension = {"diffuseFactor": diffuse, "specularFactor": specular, "glossinessFactor": 0.5}
    model = _quad(tmp_path / "a.gltf", {"extensions": {GLOSS: extension}}, extensionsUsed=[GLOSS])
    _require_albedo(render(model), expected, 1.0)


def test_an_infinite_refraction_and_a_faint_glow(render: Render, tmp_path: Path) -> None:
    """`ior` 0 is specular-glossiness by other extensions; a glow of a tenth is no white."""
    gold = {
        "KHR_materials_ior": {"ior": 0},
        "KHR_materials_specular": {"specularColorFactor": [1, 0.766, 0.336]},
    }
    black = {"baseColorFactor": [0, 0, 0, 1], "metallicFactor": 0}
    material = {"pbrMetallicRoughness": black, "extensions": gold, "emissiveFactor": [0.1, 0.1, 0.1]}
    _require_albedo(
        render(_quad(tmp_path / "a.gltf", material, extensionsUsed=list(gold))), (255, 227, 157), 1.0
    )


@pytest.mark.parametrize("textured", [False, True])
def test_a_faint_glow_is_dark(textured: bool, render: Render, tmp_path: Path) -> None:
    material: dict[str, Any] = {"pbrMetallicRoughness": {"baseColorFactor": [0, 0, 0, 1]}}
    material |= {"emissiveFactor": [0.25, 0.25, 0.25]}
    if textured:
        material |= {"emissiveTexture": {"index": 0}}
    images = [Image.new("RGB", (8, 8), (255, 188, 0))] if textured else []
    expected = (137, 99, 0) if textured else (137, 137, 137)  # a quarter of linear light
    _require_albedo(render(_quad(tmp_path / "a.gltf", material, *images)), expected, 1.0)


def test_specular_glossiness_by_texture(render: Render, tmp_path: Path) -> None:
    """One half is gold, by its specular color, the other red plastic, by its diffuse color."""
    diffuse, specular = Image.new("RGB", (64, 64), "black"), Image.new("RGBA", (64, 64), (255, 227, 157, 128))
    diffuse.paste((188, 0, 0), (32, 0, 64, 64))
    specular.paste((56, 56, 56, 128), (32, 0, 64, 64))
    extension = {"diffuseTexture": {"index": 0}, "specularGlossinessTexture": {"index": 1}}
    model = _quad(
        tmp_path / "a.gltf", {"extensions": {GLOSS: extension}}, diffuse, specular, extensionsUsed=[GLOSS]
    )
    bundle = render(model)
    _require_albedo(bundle, (255, 227, 157), 0.4)
    _require_albedo(bundle, (188, 0, 0), 0.4)


def _require_albedo(bundle: Bundle, color: tuple[int, ...], least: float) -> None:
    albedo = np.concatenate([view.albedo[view.depth > 0] for view in bundle.views()]).astype(int)
    assert (np.abs(albedo - color).max(1) <= 4).mean() >= least - 0.02
