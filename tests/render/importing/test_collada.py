"""Collada: nested instances, odd transforms, units, axes, skins, coordinates, opacity, hostile nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from render.bundle import Bundle
from tests.helpers.importing import BYTES, POINTS, attempt, bring_in, linear, size, worst_vertex_color

QUAD = " ".join(f"{x:g}" for x in POINTS.ravel())
EYE = "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"
PLACE = '<node><instance_geometry url="#quad"/></node>'


def _source(name: str, values: str, parameters: str) -> str:
    count, stride = len(values.split()), len(parameters)
    names = "".join(f'<param name="{letter}" type="float"/>' for letter in parameters)
    return (
        f'<source id="{name}"><float_array id="{name}-a" count="{count}">{values}</float_array>'
        f'<technique_common><accessor source="#{name}-a" count="{count // stride}" stride="{stride}">{names}'
        "</accessor></technique_common></source>"
    )


def _quad(points: str = QUAD, sources: str = "", inputs: str = "") -> str:
    """A geometry of one quad whose corners read every source at their own index."""
    return (
        f'<geometry id="quad" name="quad"><mesh>{_source("p", points, "XYZ")}{sources}'
        '<vertices id="v"><input semantic="POSITION" source="#p"/></vertices>'
        f'<polylist count="1" material="s"><input semantic="VERTEX" source="#v" offset="0"/>{inputs}'
        "<vcount>4</vcount><p>0 1 2 3</p></polylist></mesh></geometry>"
    )


def _write(path: Path, scene: str = PLACE, libraries: str = "", asset: str = "", quad: str = "") -> Path:
    asset = asset or '<unit meter="1"/><up_axis>Z_UP</up_axis>'
    path.write_text(
        '<?xml version="1.0"?><COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">'
        f"<asset>{asset}</asset>{libraries}<library_geometries>{quad or _quad()}</library_geometries>"
        f'<library_visual_scenes><visual_scene id="scene">{scene}</visual_scene></library_visual_scenes>'
        '<scene><instance_visual_scene url="#scene"/></scene></COLLADA>'
    )
    return path


def _material(shading: str, parameters: str = "", images: str = "") -> tuple[str, str]:
    """Libraries with the material `m`, and a node that binds it to the quad."""
    libraries = (
        f'<library_images>{images}</library_images><library_effects><effect id="e"><profile_COMMON>'
        f'{parameters}<technique sid="t"><lambert>{shading}</lambert></technique></profile_COMMON></effect>'
        '</library_effects><library_materials><material id="m" name="m"><instance_effect url="#e"/>'
        "</material></library_materials>"
    )
    bound = (
        '<node><instance_geometry url="#quad"><bind_material><technique_common>'
        '<instance_material symbol="s" target="#m">'
        '<bind_vertex_input semantic="CHANNEL" input_semantic="TEXCOORD" input_set="1"/>'
        "</instance_material></technique_common></bind_material></instance_geometry></node>"
    )
    return libraries, bound


def _texture(sid: str, file: str) -> tuple[str, str]:
    """The parameters and the image that make `<texture texture="SID"/>` show a file."""
    parameters = (
        f'<newparam sid="{sid}-s"><surface type="2D"><init_from>{sid}-i</init_from></surface></newparam>'
        f'<newparam sid="{sid}"><sampler2D><source>{sid}-s</source></sampler2D></newparam>'
    )
    return parameters, f'<image id="{sid}-i"><init_from>{file}</init_from></image>'


def test_nodes_instanced_within_instanced_nodes(tmp_path: Path) -> None:
    nodes = (
        '<node id="inner"><translate>1 0 0</translate><instance_geometry url="#quad"/></node>'
        '<node id="middle"><rotate>0 0 1 90</rotate><instance_node url="#inner"/>'
        '<node><translate>0 0 7</translate><instance_node url="#inner"/></node></node>'
        '<node id="outer"><scale>2 2 2</scale><instance_node url="#middle"/></node>'
    )
    scene = '<node><translate>10 0 0</translate><instance_node url="#outer"/></node>'
    model = _write(tmp_path / "a.dae", scene, f"<library_nodes>{nodes}</library_nodes>")
    found = bring_in(model, tmp_path / "s")
    # x of the quad, 1..3, becomes y; its y, 0..1, becomes -x; twice the size; then 10 along x
    assert np.allclose(found["low"], [8, 2, 0]) and np.allclose(found["high"], [10, 6, 14])
    assert found["faces"] == 2 and found["importer"] == "pycollada"


def test_a_matrix_beside_translate_rotate_and_scale_counts_in_its_place(tmp_path: Path) -> None:
    shift = '<matrix sid="parentinverse">1 0 0 -3 0 1 0 0 0 0 1 0 0 0 0 1</matrix>'
    scene = f"<node><translate>5 0 0</translate>{shift}<scale>4 1 1</scale>{PLACE}</node>"
    found = bring_in(_write(tmp_path / "a.dae", scene), tmp_path / "s")
    assert np.allclose(found["low"], [2, 0, 0]) and np.allclose(found["high"], [10, 1, 0])


def test_a_skew_shifts_along_one_axis_by_the_other(tmp_path: Path) -> None:
    scene = f"<node><skew>45 0 2 0 3 0 0</skew>{PLACE}</node>"
    found = bring_in(_write(tmp_path / "a.dae", scene), tmp_path / "s")
    assert np.allclose(found["low"], [0, 0, 0]) and np.allclose(found["high"], [3, 1, 0])


@pytest.mark.parametrize(
    ("transform", "target", "values", "low"),
    [
        ('<translate sid="t">5 0 0</translate>', "t", "1 2 3 9 9 9", [1, 2, 3]),
        ('<translate sid="t">5 6 0</translate>', "t.X", "1 9", [1, 6, 0]),
        (f'<matrix sid="m">{EYE}</matrix>', "m(1)(3)", "4 9", [0, 4, 0]),
        ('<rotate sid="r">0 0 1 0</rotate>', "r.ANGLE", "90 0", [-1, 0, 0]),
        ('<scale sid="s">1 1 1</scale>', "s", "0 0 0 1 1 1", [0, 0, 0]),
        ('<translate sid="t">5 0 0</translate>', "nothing", "1 2 3 9 9 9", [5, 0, 0]),
    ],
)
def test_the_scene_is_that_of_the_first_key(
    transform: str, target: str, values: str, low: list[float], tmp_path: Path
) -> None:
    sampler = (
        '<sampler id="k"><input semantic="INPUT" source="#in"/><input semantic="OUTPUT" source="#out"/>'
        f'</sampler><channel source="#k" target="n/{target}"/>'
    )
    animation = f"<animation>{_source('in', '0 1', 'T')}{_source('out', values, 'V')}{sampler}</animation>"
    scene = f'<node id="n">{transform}{PLACE}</node>'
    model = _write(tmp_path / "a.dae", scene, f"<library_animations>{animation}</library_animations>")
    found = bring_in(model, tmp_path / "s")
    assert np.allclose(found["low"], low, atol=1e-6)
    assert np.allclose(np.sort(size(found)), [0, 1, 2], atol=1e-6)


def test_polygons_with_holes(tmp_path: Path) -> None:
    points = "0 0 0 4 0 0 4 4 0 0 4 0 1 1 0 3 1 0 3 3 0 1 3 0"
    quad = (
        _quad(points)
        .replace("polylist", "polygons")
        .replace("<vcount>4</vcount><p>0 1 2 3</p>", "<ph><p>0 1 2 3</p><h>4 5 6 7</h></ph>")
    )
    found = bring_in(_write(tmp_path / "a.dae", quad=quad), tmp_path / "s")
    corners = np.array(found["corners"])[:, :2].reshape(-1, 3, 2)
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2
    middle = corners.mean(1)
    assert area.sum() == pytest.approx(16 - 4) and not ((middle > 1) & (middle < 3)).all(1).any()


@pytest.mark.parametrize(
    ("up", "box"),
    [("Y_UP", ([0, 0, 0], [2, 0, 1])), ("Z_UP", ([0, 0, 0], [2, 1, 0])), ("X_UP", ([0, 0, 0], [0, 1, 2]))],
)
def test_units_and_axes(up: str, box: tuple[list[float], list[float]], tmp_path: Path) -> None:
    asset = f'<unit name="inch" meter="0.0254"/><up_axis>{up}</up_axis>'
    found = bring_in(_write(tmp_path / "a.dae", asset=asset), tmp_path / "s")
    assert np.allclose(found["low"], np.array(box[0]) * 0.0254, atol=1e-7)
    assert np.allclose(found["high"], np.array(box[1]) * 0.0254, atol=1e-7)


def test_vertex_colors_are_srgb(tmp_path: Path) -> None:
    values = " ".join(f"{x:.6f}" for x in (BYTES / 255).ravel())
    inputs = '<input semantic="COLOR" source="#c" offset="0"/>'
    quad = _quad(sources=_source("c", values, "RGB"), inputs=inputs)
    assert worst_vertex_color(bring_in(_write(tmp_path / "a.dae", quad=quad), tmp_path / "s")) < 1e-5


@pytest.mark.parametrize(
    ("diffuse", "painted"), [("1 1 1 1", True), ("0.8 0.8 0.8 1", True), ("0 0 1 1", False)]
)
def test_one_vertex_color_counts_under_a_plain_material(diffuse: str, painted: bool, tmp_path: Path) -> None:
    libraries, bound = _material(f"<diffuse><color>{diffuse}</color></diffuse>")
    inputs = '<input semantic="COLOR" source="#c" offset="0"/>'
    quad = _quad(sources=_source("c", "0.8 0.2 0.1 " * 4, "RGB"), inputs=inputs)
    corners = np.array(
        bring_in(_write(tmp_path / "a.dae", bound, libraries, quad=quad), tmp_path / "s")["corners"]
    )
    assert (corners.shape[1] >= 6) == painted
    assert not painted or np.allclose(corners[:, 3:6], linear([204, 51, 25.5]), atol=1e-5)


@pytest.mark.parametrize("version", ["1.4", "1.5"])
def test_the_texture_reads_the_coordinates_bound_to_it(version: str, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), "red").save(tmp_path / "my wood.png")
    parameters, image = _texture("wood", "file:///home/someone/my%20wood.png")
    if version == "1.5":
        sampler = '<sampler2D><instance_image url="#wood-i"/></sampler2D>'
        parameters = f'<newparam sid="wood">{sampler}</newparam>'
        image = image.replace("<init_from>", "<init_from><ref>").replace("</init_from>", "</ref></init_from>")
    shading = '<diffuse><texture texture="wood" texcoord="CHANNEL"/></diffuse>'
    libraries, bound = _material(shading, parameters, image)
    sources = _source("u0", "0 0 0 0 0 0 0 0", "ST") + _source("u1", "0.1 0.2 0.9 0.2 0.9 0.8 0.1 0.8", "ST")
    inputs = "".join(
        f'<input semantic="TEXCOORD" source="#u{i}" offset="0" set="{i}"/>' for i in (0, 1)
    )  # fmt: skip
    quad = _quad(sources=sources, inputs=inputs)
    found = bring_in(_write(tmp_path / "a.dae", bound, libraries, quad=quad), tmp_path / "s")
    assert found["images"] == ["my wood.png"] and found["loaded"] == 1 and found["notes"] == []
    uv = np.array(found["corners"])[:, 3:5]
    assert np.allclose(uv, [[0.1, 0.2], [0.9, 0.2], [0.9, 0.8], [0.1, 0.8]])


def test_primitives_of_one_geometry_keep_their_materials(tmp_path: Path) -> None:
    quad = _quad().replace(
        "</polylist>",
        '</polylist><triangles count="1" material="other"><input semantic="VERTEX" source="#v" offset="0"/>'
        "<p>0 1 2</p></triangles>",
    )
    libraries = (
        '<library_effects><effect id="e1"><profile_COMMON><technique sid="t"><phong><diffuse><color>0.5 0 0 1'
        '</color></diffuse></phong></technique></profile_COMMON></effect><effect id="e2"><profile_COMMON>'
        '<technique sid="t"><constant><emission><color>0 0.25 0 1</color></emission></constant></technique>'
        '</profile_COMMON></effect></library_effects><library_materials><material id="one" name="one">'
        '<instance_effect url="#e1"/></material><material id="two" name="two"><instance_effect url="#e2"/>'
        "</material></library_materials>"
    )
    scene = (
        '<node><instance_geometry url="#quad"><bind_material><technique_common>'
        '<instance_material symbol="s" target="#one"/><instance_material symbol="other" target="#two"/>'
        "</technique_common></bind_material></instance_geometry></node>"
    )
    found = bring_in(_write(tmp_path / "a.dae", scene, libraries, quad=quad), tmp_path / "s")
    assert found["faces"] == 2
    assert np.allclose(found["bases"]["one"], [0.5, 0, 0, 1])
    assert np.allclose(found["bases"]["two"], [0, 0.25, 0, 1])


@pytest.mark.parametrize(
    ("said", "alpha"),
    [
        ("", 1.0),
        ("<transparency><float>0.3</float></transparency>", 0.3),
        ('<transparent opaque="A_ONE"><color>0 0 0 0.5</color></transparent>', 0.5),
        ('<transparent opaque="A_ONE"><color>0 0 0 1</color></transparent>'
         "<transparency><float>0.25</float></transparency>", 0.25),
        ('<transparent opaque="A_ZERO"><color>1 1 1 0.2</color></transparent>'
         "<transparency><float>0.5</float></transparency>", 0.9),
        ('<transparent opaque="RGB_ZERO"><color>0 0 0 1</color></transparent>'
         "<transparency><float>1</float></transparency>", 1.0),
        ('<transparent opaque="RGB_ZERO"><color>1 1 1 1</color></transparent>'
         "<transparency><float>0</float></transparency>", 1.0),
        ('<transparent opaque="RGB_ZERO"><color>1 1 1 1</color></transparent>'
         "<transparency><float>0.75</float></transparency>", 0.25),
        ('<transparent opaque="RGB_ONE"><color>0.5 0.5 0.5 0</color></transparent>', 0.5),
        ('<transparent opaque="A_ONE"><color>1 1 1 0</color></transparent>', 0.0),
        ("<transparent><color>0 0 0 1</color></transparent>"
         "<transparency><float>0</float></transparency>", 1.0),
    ],
)  # fmt: skip
def test_opacity_follows_the_specification(said: str, alpha: float, tmp_path: Path) -> None:
    libraries, bound = _material(f"<diffuse><color>0.2 0.4 0.6 1</color></diffuse>{said}")
    found = bring_in(_write(tmp_path / "a.dae", bound, libraries), tmp_path / "s")
    assert np.allclose(found["bases"]["m"], [0.2, 0.4, 0.6, alpha], atol=1e-5)


@pytest.mark.parametrize("mode", ["A_ONE", "RGB_ZERO"])
def test_a_texture_of_opacity_cuts_the_surface(
    mode: str, render: Callable[..., Bundle], tmp_path: Path
) -> None:
    """Half the quad is there: the left by alpha 255 beside 0, or by black beside white."""
    there, gone = (
        ((9, 9, 9, 255), (9, 9, 9, 0)) if mode == "A_ONE" else ((0, 0, 0, 255), (255, 255, 255, 255))
    )
    mask = Image.new("RGBA", (64, 64), gone)
    mask.paste(there, (0, 0, 32, 64))
    mask.save(tmp_path / "mask.png")
    parameters, image = _texture("mask", "mask.png")
    shading = (
        "<diffuse><color>0.2 0.4 0.6 1</color></diffuse>"
        f'<transparent opaque="{mode}"><texture texture="mask" texcoord="CHANNEL"/></transparent>'
    )
    libraries, bound = _material(shading, parameters, image)
    uv = _source("u", "0 0 1 0 1 1 0 1", "ST")
    quad = _quad(sources=uv, inputs='<input semantic="TEXCOORD" source="#u" offset="0" set="1"/>')
    cut = render(_write(tmp_path / "a.dae", bound, libraries, quad=quad), "cut")
    whole = render(_write(tmp_path / "b.dae", quad=quad), "whole")
    assert 0.45 < _covered(cut) / _covered(whole) < 0.55


def test_colors_show_where_an_alpha_of_zero_is_opaque(render: Callable[..., Bundle], tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (200, 60, 20, 0)).save(tmp_path / "skin.png")
    parameters, image = _texture("skin", "skin.png")
    texture = '<texture texture="skin" texcoord="CHANNEL"/>'
    shading = f'<diffuse>{texture}</diffuse><transparent opaque="A_ZERO">{texture}</transparent>'
    libraries, bound = _material(shading, parameters, image)
    uv = _source("u", "0 0 1 0 1 1 0 1", "ST")
    quad = _quad(sources=uv, inputs='<input semantic="TEXCOORD" source="#u" offset="0" set="1"/>')
    bundle = render(_write(tmp_path / "a.dae", bound, libraries, quad=quad))
    seen = np.concatenate([view.albedo[view.depth > 0] for view in bundle.views()]).astype(int)
    assert len(seen) and np.abs(seen - (200, 60, 20)).max() <= 2


def _covered(bundle: Bundle) -> int:
    """Pixels of all views that show a surface."""
    return sum(int((view.depth > 0).sum()) for view in bundle.views())


def _skin(names: str, binds: str) -> str:
    weights = _source("w", "1 0.5", "W").replace('name="W"', 'name="WEIGHT"')
    return (
        '<library_controllers><controller id="skin"><skin source="#quad"><bind_shape_matrix>'
        f"1 0 0 0 0 1 0 0 0 0 1 5 0 0 0 1</bind_shape_matrix>"
        f'<source id="j"><Name_array id="ja" count="2">{names}</Name_array><technique_common><accessor '
        'source="#ja" count="2" stride="1"><param name="JOINT" type="name"/></accessor></technique_common>'
        f'</source><source id="b"><float_array id="ba" count="32">{binds}</float_array><technique_common>'
        '<accessor source="#ba" count="2" stride="16"><param name="TRANSFORM" type="float4x4"/></accessor>'
        f"</technique_common></source>{weights}"
        '<joints><input semantic="JOINT" source="#j"/><input semantic="INV_BIND_MATRIX" source="#b"/>'
        '</joints><vertex_weights count="4"><input semantic="JOINT" source="#j" offset="0"/>'
        '<input semantic="WEIGHT" source="#w" offset="1"/><vcount>1 1 2 1</vcount>'
        "<v>0 0 1 0 0 1 1 1 0 0</v></vertex_weights></skin></controller></library_controllers>"
    )


def test_a_skin_stands_as_its_joints_do(tmp_path: Path) -> None:
    """Joint `a` stands where it was bound, `b` 4 further along x; the third corner follows each by half."""
    joint = '<node id="{0}-n" sid="{0}" type="JOINT"><translate>{1} 0 0</translate>{2}</node>'
    root = joint.format("a", 2, joint.format("b", 5, ""))
    scene = (
        f'<node>{root}</node><node><translate>99 0 0</translate><instance_controller url="#skin">'
        "<skeleton>#a-n</skeleton></instance_controller></node>"
    )
    binds = "1 0 0 -2 0 1 0 0 0 0 1 0 0 0 0 1 1 0 0 -3 0 1 0 0 0 0 1 0 0 0 0 1"
    found = bring_in(_write(tmp_path / "a.dae", scene, _skin("a b", binds)), tmp_path / "s")
    assert np.allclose(np.array(found["corners"])[:, :3], [[0, 0, 5], [6, 0, 5], [4, 1, 5], [0, 1, 5]])


def test_a_skin_without_its_joints_stays_in_its_bind_shape(tmp_path: Path) -> None:
    scene = '<node><translate>9 0 0</translate><instance_controller url="#skin"/></node>'
    found = bring_in(_write(tmp_path / "a.dae", scene, _skin("a b", f"{EYE} {EYE}")), tmp_path / "s")
    assert np.allclose(found["low"], [9, 0, 5]) and np.allclose(found["high"], [11, 1, 5])
    assert any("joints missing" in note for note in found["notes"])


@pytest.mark.parametrize("where", ["vertices", "node"])
def test_far_coordinates_keep_their_shape(where: str, tmp_path: Path) -> None:
    far = np.array([500000.0, 4649776.0, 0])
    points = POINTS * 0.01 + (far if where == "vertices" else 0)
    quad = _quad(" ".join(f"{x:.4f}" for x in points.ravel()))
    shift = "0 0 0" if where == "vertices" else "500000 4649776 0"
    scene = f'<node><translate>{shift}</translate><instance_geometry url="#quad"/></node>'
    found = bring_in(_write(tmp_path / "a.dae", scene, quad=quad), tmp_path / "s")
    assert np.abs(size(found) - [0.02, 0.01, 0]).max() < 1e-7


def _doubling(levels: int) -> str:
    rows = "".join(
        f'<node id="n{i}"><instance_node url="#n{i + 1}"/><instance_node url="#n{i + 1}"/></node>'
        for i in range(levels)
    )
    return (
        f'<library_nodes>{rows}<node id="n{levels}"><instance_geometry url="#quad"/></node></library_nodes>'
    )


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ('<library_nodes><node id="n0"><instance_node url="#n0"/></node></library_nodes>', "without end"),
        (_doubling(40), "without end"),
    ],
)
def test_nodes_without_end_are_refused(nodes: str, why: str, tmp_path: Path) -> None:
    model = _write(tmp_path / "a.dae", '<node><instance_node url="#n0"/></node>', nodes)
    outcome = attempt(model, tmp_path / "s")
    assert outcome.status == "failed" and outcome.kind == "import_error" and why in str(outcome.message)


def test_declared_entities_are_refused(tmp_path: Path) -> None:
    model = _write(tmp_path / "a.dae")
    text = model.read_text()
    model.write_text(text.replace("?><", '?><!DOCTYPE COLLADA [<!ENTITY a "1">]><', 1))
    outcome = attempt(model, tmp_path / "s")
    assert outcome.status == "failed" and outcome.kind == "import_error"
