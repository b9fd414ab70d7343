"""Hidden layers: every surface along each ray, in order and in color, compared with a ray caster."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from render.bundle import Bundle, Mesh
from tests.helpers.rays import RayCaster, model, pixel_rays

Render = Callable[..., Bundle]
Blender = Callable[[str], None]

PAINT = """
    def paint(color):
        material = bpy.data.materials.new("m")
        material.use_nodes = True
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
        material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (*linear, 1)
        bpy.context.object.data.materials.append(material)
        return material
"""
SAVE = "\n    bpy.ops.wm.save_as_mainfile(filepath='{path}')"


def scene(blender: Blender, tmp_path: Path, script: str) -> Path:
    path = tmp_path / "scene.blend"
    blender(PAINT + script + SAVE.replace("{path}", str(path)))
    return path


@pytest.mark.parametrize("surfaces", ["auto", "cycles"])
@pytest.mark.parametrize(
    "name", ["draco/CesiumMilkTruck/glTF/CesiumMilkTruck.gltf", "kenney/City-Builder/building-small-a.glb"]
)
def test_the_surfaces_along_each_ray_match_an_independent_ray_caster(
    render: Render, name: str, surfaces: str
) -> None:
    bundle = render(model(name), views=3, resolution=96, surfaces=surfaces)
    truth, some = RayCaster(bundle.mesh()), np.arange(0, 96 * 96, 2)
    agree, rays = 0, 0
    for view in bundle.views():
        depths = truth.crossings(view, some)
        count = (~np.isnan(depths)).sum(1)
        same = view.layer_count().ravel()[some] == count
        agree += (same & (count > 0)).sum()
        rays += (count > 0).sum()
        for rank, layer in enumerate(view.layers()):
            depth = layer.depth.ravel()[some]
            there = same & (depth > 0)
            if not there.any():
                continue
            assert np.quantile(np.abs(depth[there] - depths[there, rank]), 0.99) < 6e-5
            normal = layer.normal.reshape(-1, 3)[some][there]
            toward = -pixel_rays(view)[1].reshape(-1, 3)[some][there]
            assert ((normal * toward).sum(1) > -0.02).all(), "normals face the ray"
    assert rays > 1500
    assert agree / rays > (0.98 if surfaces == "cycles" else 0.998)


@pytest.mark.parametrize("surfaces", ["auto", "cycles"])
def test_more_surfaces_than_slots_keep_their_order_and_color(
    render: Render, blender: Blender, tmp_path: Path, surfaces: str
) -> None:
    path = scene(
        blender,
        tmp_path,
        """
    for k in range(20):
        bpy.ops.mesh.primitive_uv_sphere_add(segments=48, ring_count=24, radius=1 + 0.1 * k)
        paint((k * 12 / 255, 1 - k * 12 / 255, 0.5))
    """,
    )
    bundle = render(path, views=2, resolution=64, slots=6, surfaces=surfaces)
    for view in bundle.views():
        assert len(view.behind) == 39
        middle = slice(28, 36)  # rays there cross every shell twice
        for rank, layer in enumerate(view.layers()):
            shell = 19 - rank if rank < 20 else rank - 20
            wanted = np.rint([shell * 12, 255 - shell * 12, 127.5])
            assert np.abs(layer.albedo[middle, middle] - wanted).max() <= 1
        depths = np.stack([layer.depth[middle, middle] for layer in view.layers()])
        assert (np.diff(depths, axis=0) > 0).all()
    few = render(path, "few", views=2, resolution=64, slots=6, layers=10, surfaces=surfaces)
    assert [len(view.behind) for view in few.views()] == [9, 9]
    deep = next(bundle.views())
    for ours, same in zip(next(few.views()).behind, deep.behind, strict=False):
        assert (ours.albedo == same.albedo).all()


def test_the_number_of_slots_changes_nothing(render: Render, blender: Blender, tmp_path: Path) -> None:
    path = tmp_path / "balls.blend"
    blender(f"""
        for radius in (0.2, 0.4, 0.6, 0.8, 1):
            bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=3, radius=radius, location=(radius, 0, 0))
        bpy.ops.wm.save_as_mainfile(filepath="{path}")
    """)
    few, many = (render(path, f"{slots}", resolution=48, slots=slots, surfaces="cycles") for slots in (3, 12))
    names = [name for frame in many.frames for name in frame.members()]
    assert max(len(view.behind) for view in many.views()) == 9
    assert [name for frame in few.frames for name in frame.members()] == names
    assert all(few.read(name) == many.read(name) for name in names)


LEAF = """
    import numpy as np
    bpy.ops.mesh.primitive_cube_add(size=1)
    paint((0, 1, 0))
    bpy.ops.mesh.primitive_cube_add(size=2)
    leaf = paint((1, 0, 0))
    tree = leaf.node_tree
    image = bpy.data.images.new("i", 4, 4, alpha=True)
    image.pixels = [1, 0, 0, 0] + [1, 0, 0, {alpha}] * 15  # a texel is cut out
    image.pack()
    node = tree.nodes.new("ShaderNodeTexImage")
    node.image = image
    tree.links.new(node.outputs["Alpha"], tree.nodes["Principled BSDF"].inputs["Alpha"])
"""


@pytest.mark.parametrize(("alpha", "layers"), [(0.3, 2), (0.7, 4)])
def test_holes_are_not_layers(
    render: Render, blender: Blender, tmp_path: Path, alpha: float, layers: int
) -> None:
    path = scene(blender, tmp_path, LEAF.replace("{alpha}", str(alpha)))
    for view in render(path, views=2, resolution=48).views():
        count = view.layer_count()
        assert count.max() == layers
        assert set(np.unique(count[22:26, 22:26])) == {layers}


def test_coinciding_surfaces_are_one(render: Render, blender: Blender, tmp_path: Path) -> None:
    """The same box twice, through different transforms."""
    path = scene(
        blender,
        tmp_path,
        """
    bpy.ops.mesh.primitive_cube_add(size=2)
    paint((1, 0, 0))
    bpy.ops.mesh.primitive_cube_add(size=2 / 3, location=(0, 0, 0))
    bpy.context.object.scale = (3.0000001, 3, 3)
    """,
    )
    for view in render(path, views=3, resolution=48).views():
        assert view.layer_count().max() == 2


def test_the_interior_mask_is_where_the_inner_object_is(
    render: Render, blender: Blender, tmp_path: Path
) -> None:
    path = scene(
        blender,
        tmp_path,
        """
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=5, radius=1)
    bpy.ops.mesh.primitive_cube_add(size=0.7)
    """,
    )
    bundle = render(path, views=6, resolution=96)
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32) * 0.35
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))])
    cube = RayCaster(Mesh(corners * np.float32(bundle.meta["scale"]), faces))
    for view in bundle.views():
        inside = cube.depth(view, np.arange(view.depth.size)).reshape(view.depth.shape) > 0
        assert inside.sum() > 300
        assert view.interior is not None
        assert (view.interior != inside).sum() <= 4


def test_a_single_solid_has_no_interior(render: Render, blender: Blender, tmp_path: Path) -> None:
    path = scene(blender, tmp_path, "\n    bpy.ops.mesh.primitive_cube_add(size=2)")
    for view in render(path, views=12, resolution=64).views():
        assert view.interior is not None and not view.interior.any()
        assert view.layer_count().max() == 2


def test_without_hidden_layers_there_are_none(render: Render, blender: Blender, tmp_path: Path) -> None:
    path = scene(blender, tmp_path, "\n    bpy.ops.mesh.primitive_cube_add(size=2)")
    with_layers = render(path, "with", resolution=48)
    without = render(path, "without", resolution=48, hidden=False)
    for view, full in zip(without.views(), with_layers.views(), strict=True):
        assert view.behind == () and view.interior is None and view.layer_count().max() == 1
        assert (view.depth == full.depth).all() and (view.albedo == full.albedo).all()
    names = zipfile.ZipFile(without.path).namelist()
    assert not any(name.startswith(("hidden/", "interior/")) for name in names)


def test_empty_layers_and_pixels_cost_little(render: Render, blender: Blender, tmp_path: Path) -> None:
    path = scene(blender, tmp_path, "\n    bpy.ops.mesh.primitive_cube_add(size=2)")
    bundle = render(path, resolution=256)
    with zipfile.ZipFile(bundle.path) as archive:
        hidden = sum(i.file_size for i in archive.infolist() if i.filename.startswith("hidden/"))
    assert hidden < 4 * 60_000


OVERFLOW = """
    import sys
    sys.path.insert(0, ".")
    from pathlib import Path
    import numpy as np
    from render.bundle import Camera
    from render.cameras import look_at_origin
    from render.failures import ModelFailure
    from render.shading.basecolor import base_of_material
    from render.surfaces.record import GeometryRenderer, switch_to_records
    bpy.ops.mesh.primitive_cube_add(size=1)
    bpy.context.object.data.materials.append(bpy.data.materials.new("m"))
    bpy.data.materials["m"].use_nodes = True
    renderer = GeometryRenderer({slots}, 32, 1, Path("{folder}"))
    material = bpy.data.materials["m"]
    switch_to_records(renderer.group, {{material: base_of_material(material)[0]}})
    camera = Camera(look_at_origin(np.array([1.0, 2.0, 3.0]), 4.0), 0.7)
    try:
        (found,) = renderer.surfaces([camera], np.array([(-1.0, -1, -1), (1, 1, 1)]), 64)
        print("found", len(found.pixel))
        said = ""
    except ModelFailure as failure:
        said = failure.message
    assert ("too large" in said) == {fails}, said
"""


@pytest.mark.parametrize(("slots", "fails"), [(16, False), (252, True)])
@pytest.mark.soak
def test_a_shader_that_cycles_cannot_hold_is_an_error_not_an_empty_image(
    blender: Blender, tmp_path: Path, slots: int, fails: bool
) -> None:
    blender(OVERFLOW.format(slots=slots, folder=tmp_path, fails=fails))
