"""Color: known patches and vertex colors come back as albedo, in every format that supports them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from render.bundle import Bundle
from tests.helpers.rays import points_of

Render = Callable[..., Bundle]
Blender = Callable[[str], None]

PATCHES = np.array([(200, 100, 50), (20, 200, 40), (40, 60, 220), (128, 128, 128), (255, 255, 0), (5, 5, 5)])
LEVELS = 3

# Six quads side by side in a plane, quad k of patch k. `paint` gives the quads their color.
PLATES = """
    import numpy as np
    patches = {patches}
    def linear(c):
        c = c / 255
        return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
    corners = [(x, y, 0) for k in range(6) for x, y in ((k, 0), (k + 1, 0), (k + 1, 6), (k, 6))]
    mesh = bpy.data.meshes.new("plates")
    mesh.from_pydata(corners, [], [tuple(range(4 * k, 4 * k + 4)) for k in range(6)])
    thing = bpy.data.objects.new("plates", mesh)
    bpy.context.scene.collection.objects.link(thing)
    bpy.context.view_layer.objects.active = thing
    thing.select_set(True)
"""
VERTEX_COLORS = """
    colors = mesh.color_attributes.new("Color", "BYTE_COLOR", "CORNER")
    for loop, datum in enumerate(colors.data):
        datum.color_srgb = (*(c / 255 for c in patches[loop // 4]), 1)
"""
TEXTURE = """
    image = bpy.data.images.new("patches", 6, 1)
    image.pixels = [v for patch in patches for v in (*(c / 255 for c in patch), 1)]
    image.filepath_raw, image.file_format = "{folder}/patches.png", "PNG"
    image.save()
    layer = mesh.uv_layers.new(name="UVMap")
    for loop, datum in enumerate(layer.data):
        datum.uv = ((loop // 4 + 0.5) / 6, 0.5)
    material = bpy.data.materials.new("textured")
    material.use_nodes = True
    node = material.node_tree.nodes.new("ShaderNodeTexImage")
    node.image, node.interpolation = image, "Closest"
    shader = material.node_tree.nodes["Principled BSDF"]
    material.node_tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
    mesh.materials.append(material)
"""
FACTORS = """
    for k, patch in enumerate(patches):
        material = bpy.data.materials.new(f"m{k}")
        material.use_nodes = True
        shader = material.node_tree.nodes["Principled BSDF"]
        shader.inputs["Base Color"].default_value = (*(linear(c) for c in patch), 1)
        mesh.materials.append(material)
        mesh.polygons[k].material_index = k
"""
EXPORT = {
    "glb": "bpy.ops.export_scene.gltf(filepath='{p}', export_format='GLB', export_vertex_color='ACTIVE')",
    "gltf": "bpy.ops.export_scene.gltf(filepath='{p}', export_format='GLTF_SEPARATE', "
    "export_vertex_color='ACTIVE')",
    "obj": "bpy.ops.wm.obj_export(filepath='{p}', export_colors={colors}, path_mode='COPY')",
    "ply": "bpy.ops.wm.ply_export(filepath='{p}', export_colors='SRGB')",
    "fbx": "bpy.ops.export_scene.fbx(filepath='{p}', colors_type='SRGB', path_mode='COPY', "
    "embed_textures=True)",
    "usdc": "bpy.ops.wm.usd_export(filepath='{p}')",
    "abc": "bpy.ops.wm.alembic_export(filepath='{p}', vcolors=True)",
    "dae": "bpy.ops.wm.collada_export(filepath='{p}')",
    "blend": "bpy.ops.wm.save_as_mainfile(filepath='{p}')",
}


def write_plates(blender: Blender, path: Path, paint: str) -> None:
    script = PLATES.format(patches=PATCHES.tolist()) + paint.replace("{folder}", str(path.parent))
    export = EXPORT[path.suffix[1:]].replace("{p}", str(path))
    blender(script + "\n    " + export.replace("{colors}", str(paint == VERTEX_COLORS)))


def worst_patch(bundle: Bundle) -> int:
    """The largest difference, in sRGB levels, between a patch and the median albedo at its place."""
    seen: dict[int, list[np.ndarray]] = {k: [] for k in range(len(PATCHES))}
    for view in bundle.views():
        hit = view.depth > 0
        points, albedo = points_of(view), view.albedo[hit]
        across = points[:, 0] / bundle.meta["scale"] + 3  # back to the file's units, 0..6
        for k in seen:
            seen[k].append(albedo[np.abs(across - (k + 0.5)) < 0.4])
    medians = np.array([np.median(np.concatenate(seen[k]), axis=0) for k in seen])
    return int(np.abs(medians - PATCHES).max())


@pytest.mark.parametrize("kind", ["glb", "gltf", "obj", "ply", "fbx", "usdc", "abc", "blend"])
def test_vertex_colors(render: Render, blender: Blender, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"plates.{kind}"
    write_plates(blender, path, VERTEX_COLORS)
    assert worst_patch(render(path)) <= LEVELS


@pytest.mark.parametrize("kind", ["glb", "gltf", "obj", "fbx", "usdc", "dae", "blend"])
@pytest.mark.parametrize("paint", [TEXTURE, FACTORS], ids=["texture", "factor"])
def test_textures_and_factors(
    render: Render, blender: Blender, tmp_path: Path, kind: str, paint: str
) -> None:
    path = tmp_path / f"plates.{kind}"
    write_plates(blender, path, paint)
    assert worst_patch(render(path)) <= LEVELS


def test_missing_texture_is_reported_and_is_not_magenta(
    render: Render, blender: Blender, tmp_path: Path
) -> None:
    path = tmp_path / "plates.gltf"
    write_plates(blender, path, TEXTURE)
    for image in tmp_path.glob("*.png"):
        image.unlink()
    bundle = render(path)
    assert bundle.meta["missing_textures"] == ["patches.png"]
    colors = np.concatenate([view.albedo[view.depth > 0] for view in bundle.views()])
    assert np.ptp(colors, axis=1).max() == 0  # gray, not Blender's magenta


# ---- every kind of shader: target sRGB 200, 100, 50 --------------------------------------------------------

SHADER = """
    import bpy
    TARGET = tuple(((c / 255 + 0.055) / 1.055) ** 2.4 for c in (200, 100, 50)) + (1,)
    bpy.ops.mesh.primitive_cube_add()
    material = bpy.data.materials.new("m")
    bpy.context.object.data.materials.append(material)
    material.use_nodes = True
    tree = material.node_tree
    principled, output = tree.nodes["Principled BSDF"], tree.nodes["Material Output"]
    new, link = tree.nodes.new, tree.links.new
    def bsdf(kind):
        node = new(kind)
        node.inputs[0].default_value = TARGET
        return node
    principled.inputs["Base Color"].default_value = TARGET
"""
SHADERS = {
    "principled": "",
    "metallic": "principled.inputs['Metallic'].default_value = 1",
    "transmission": "principled.inputs['Transmission Weight'].default_value = 1",
    "coat and sheen": "principled.inputs['Coat Weight'].default_value = 1; "
    "principled.inputs['Sheen Weight'].default_value = 1",
    "alpha 0.7": "principled.inputs['Alpha'].default_value = 0.7",
    "glass": "link(bsdf('ShaderNodeBsdfGlass').outputs[0], output.inputs[0])",
    "emission": "e = bsdf('ShaderNodeEmission'); e.inputs[1].default_value = 5; "
    "link(e.outputs[0], output.inputs[0])",
    "emissive on black": "principled.inputs['Base Color'].default_value = (0, 0, 0, 1); "
    "principled.inputs['Emission Color'].default_value = TARGET; "
    "principled.inputs['Emission Strength'].default_value = 1",
    "diffuse and glossy": "m = new('ShaderNodeMixShader'); "
    "link(bsdf('ShaderNodeBsdfDiffuse').outputs[0], m.inputs[1]); "
    "link(bsdf('ShaderNodeBsdfGlossy').outputs[0], m.inputs[2]); link(m.outputs[0], output.inputs[0])",
    "mix with transparent": "m = new('ShaderNodeMixShader'); m.inputs[0].default_value = 0.8; "
    "link(new('ShaderNodeBsdfTransparent').outputs[0], m.inputs[1]); "
    "link(bsdf('ShaderNodeBsdfDiffuse').outputs[0], m.inputs[2]); link(m.outputs[0], output.inputs[0])",
    "camera ray mix": "m = new('ShaderNodeMixShader'); "
    "link(new('ShaderNodeLightPath').outputs['Is Camera Ray'], m.inputs[0]); "
    "link(new('ShaderNodeBsdfTransparent').outputs[0], m.inputs[1]); "
    "link(bsdf('ShaderNodeEmission').outputs[0], m.inputs[2]); link(m.outputs[0], output.inputs[0])",
    "reroute": "r = new('NodeReroute'); link(principled.outputs[0], r.inputs[0]); "
    "link(r.outputs[0], output.inputs[0])",
    "volume only": "v = new('ShaderNodeVolumeAbsorption'); v.inputs[0].default_value = TARGET; "
    "tree.links.remove(output.inputs[0].links[0]); link(v.outputs[0], output.inputs['Volume'])",
    "group": """
    inner = bpy.data.node_groups.new("g", "ShaderNodeTree")
    inner.interface.new_socket("Shader", in_out="OUTPUT", socket_type="NodeSocketShader")
    inner.interface.new_socket("Color", in_out="INPUT", socket_type="NodeSocketColor")
    entry, end = inner.nodes.new("NodeGroupInput"), inner.nodes.new("NodeGroupOutput")
    d = inner.nodes.new("ShaderNodeBsdfDiffuse")
    inner.links.new(entry.outputs[0], d.inputs[0]); inner.links.new(d.outputs[0], end.inputs[0])
    g = new("ShaderNodeGroup"); g.node_tree = inner; g.inputs[0].default_value = TARGET
    link(g.outputs[0], output.inputs[0])""",
    "shader through a group": """
    inner = bpy.data.node_groups.new("g", "ShaderNodeTree")
    inner.interface.new_socket("Shader", in_out="OUTPUT", socket_type="NodeSocketShader")
    inner.interface.new_socket("Shader", in_out="INPUT", socket_type="NodeSocketShader")
    entry, end = inner.nodes.new("NodeGroupInput"), inner.nodes.new("NodeGroupOutput")
    inner.links.new(entry.outputs[0], end.inputs[0])
    g = new("ShaderNodeGroup"); g.node_tree = inner
    link(principled.outputs[0], g.inputs[0]); link(g.outputs[0], output.inputs[0])""",
    "without nodes": "material.use_nodes = False; material.diffuse_color = TARGET",
}


@pytest.mark.parametrize("shader", SHADERS)
def test_albedo_of_every_kind_of_shader(
    render: Render, blender: Blender, tmp_path: Path, shader: str
) -> None:
    path = tmp_path / "cube.blend"
    blender(SHADER + "\n    " + SHADERS[shader] + f"\n    bpy.ops.wm.save_as_mainfile(filepath='{path}')")
    bundle = render(path, views=2, resolution=32)
    for rank in (0, 1):  # in front, and seen through itself
        layers = [[*view.layers()][rank] for view in bundle.views()]
        colors = np.concatenate([layer.albedo[layer.depth > 0] for layer in layers])
        assert len(colors) > 100
        assert np.abs(colors.astype(int) - (200, 100, 50)).max() <= 1


SHELL = """
    bpy.context.object.scale = (2, 2, 2)
    bpy.ops.mesh.primitive_cube_add()
    solid = bpy.data.materials.new("solid")
    solid.use_nodes = True
    solid.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (0, 1, 0, 1)
    bpy.context.object.data.materials.append(solid)
    bpy.ops.wm.save_as_mainfile(filepath="{path}")
"""
CLEAR = 'principled.inputs["Alpha"].default_value = 0.2'
PAINTED_CLEAR = """image = bpy.data.images.new("i", 4, 4, alpha=True)
    image.pixels = [1, 1, 1, 0] + [1, 1, 1, 0.3] * 15  # a texel is cut out
    image.pack()
    node = new("ShaderNodeTexImage"); node.image = image
    link(node.outputs["Alpha"], principled.inputs["Alpha"])"""
FRESNEL = """m = new("ShaderNodeMixShader")
    link(new("ShaderNodeFresnel").outputs[0], m.inputs[0])
    link(new("ShaderNodeBsdfTransparent").outputs[0], m.inputs[1])
    link(bsdf("ShaderNodeBsdfGlossy").outputs[0], m.inputs[2]); link(m.outputs[0], output.inputs[0])"""


@pytest.mark.parametrize(
    ("alpha", "seen"),
    [(PAINTED_CLEAR, (0, 255, 0)), (CLEAR, (200, 100, 50)), (FRESNEL, (200, 100, 50))],
    ids=["a painted hole shows what is behind", "clear glass is a surface", "a fresnel mix is glass"],
)
def test_holes_and_glass(
    render: Render, blender: Blender, tmp_path: Path, alpha: str, seen: tuple[int, int, int]
) -> None:
    path = tmp_path / "cube.blend"
    blender(SHADER + "\n    " + alpha + SHELL.replace("{path}", str(path)))
    for view in render(path, views=3, resolution=48).views():
        assert np.abs(view.albedo[view.depth > 0].astype(int) - seen).max() <= 1


@pytest.mark.parametrize("surfaces", ["auto", "cycles"])
def test_a_surface_behind_more_holes_than_a_render_has_slots(
    render: Render, blender: Blender, tmp_path: Path, surfaces: str
) -> None:
    path = tmp_path / "cube.blend"
    shells = """
    for k in range(12):
        bpy.ops.mesh.primitive_cube_add(size=3 + 0.1 * k)
        bpy.context.object.data.materials.append(material)
    """
    blender(SHADER + "\n    " + PAINTED_CLEAR + shells + SHELL.replace("{path}", str(path)))
    bundle = render(path, views=2, resolution=48, slots=4, surfaces=surfaces)
    for view in bundle.views():
        assert (view.depth > 0).sum() > 40
        assert (view.albedo[view.depth > 0] == (0, 255, 0)).all()
