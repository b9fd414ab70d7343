"""Embree with colors in numpy against Cycles: the same surfaces, and Cycles where a material needs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from render.bundle import Bundle
from tests.helpers.rays import model

Render = Callable[..., Bundle]
Blender = Callable[[str], None]

# One plate per graph, in a row; images are smooth, so that a thousandth of a pixel changes little.
GRAPHS = """
    import numpy as np
    def picture(alpha, space="sRGB"):
        image = bpy.data.images.new("i", 16, 8, alpha=True)
        x, y = np.meshgrid(np.arange(16) / 15, np.arange(8) / 7)
        image.pixels = np.stack([x, y, 0.5 + 0 * x, alpha * x + (1 - alpha)], -1).ravel().tolist()
        image.alpha_mode = "CHANNEL_PACKED"
        image.pack()
        image.colorspace_settings.name = space
        return image
    def plate(k):
        bpy.ops.mesh.primitive_grid_add(x_subdivisions=3, y_subdivisions=3, size=0.9)
        bpy.context.object.location = (k % 4, k // 4, 0.1 * k)
        mesh = bpy.context.object.data
        kind, domain = (("FLOAT_COLOR", "POINT"), ("BYTE_COLOR", "CORNER"))[k % 2]
        colors = mesh.color_attributes.new("tint", kind, domain)
        for index, one in enumerate(colors.data):
            one.color = (0.2 + 0.04 * (index % 16), 0.9 - 0.03 * (index % 16), 0.5, 1)
        other = mesh.uv_layers.new(name="other")
        for one, place in zip(other.data, mesh.uv_layers[0].data):
            one.uv = (2.5 * place.uv[0] - 0.7, 1.3 - place.uv[1])
        material = bpy.data.materials.new("m")
        material.use_nodes = True
        mesh.materials.append(material)
        tree = material.node_tree
        return tree, tree.nodes["Principled BSDF"]
    def image_node(tree, image, **settings):
        node = tree.nodes.new("ShaderNodeTexImage")
        node.image = image
        for name, value in settings.items():
            setattr(node, name, value)
        return node
    def mixed(tree, shader, mode, first, second, factor):
        node = tree.nodes.new("ShaderNodeMix")
        node.data_type, node.blend_type = "RGBA", mode
        node.inputs["Factor"].default_value = factor
        colors = [one for one in node.inputs if one.type == "RGBA"]
        for source, target in zip((first, second), colors):
            if isinstance(source, tuple):
                target.default_value = source
            else:
                tree.links.new(source, target)
        tree.links.new(next(o for o in node.outputs if o.type == "RGBA"), shader.inputs["Base Color"])
    plain, data, clear = picture(0), picture(0, "Non-Color"), picture(1)
    k = 0
    for extension in ("REPEAT", "EXTEND", "MIRROR"):
        tree, shader = plate(k)
        uv = tree.nodes.new("ShaderNodeUVMap")
        uv.uv_map = "other"
        node = image_node(tree, plain, extension=extension)
        tree.links.new(uv.outputs[0], node.inputs[0])
        tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
        k += 1
    tree, shader = plate(k)
    mapping = tree.nodes.new("ShaderNodeMapping")
    mapping.inputs["Location"].default_value = (0.1, 0.2, 0)
    mapping.inputs["Rotation"].default_value = (0, 0, 0.7)
    mapping.inputs["Scale"].default_value = (0.5, 0.8, 1)
    place = tree.nodes.new("ShaderNodeTexCoord")
    node = image_node(tree, data)
    tree.links.new(place.outputs["UV"], mapping.inputs["Vector"])
    tree.links.new(mapping.outputs[0], node.inputs[0])
    tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
    for mode in ("MIX", "ADD", "MULTIPLY", "LIGHTEN"):
        k += 1
        tree, shader = plate(k)
        tint = tree.nodes.new("ShaderNodeVertexColor" if k % 2 else "ShaderNodeAttribute")
        if k % 2:
            tint.layer_name = "tint"
        else:
            tint.attribute_name = "tint"
        mixed(tree, shader, mode, image_node(tree, plain).outputs["Color"], tint.outputs["Color"], 0.8)
    k += 1
    tree, shader = plate(k)
    node = image_node(tree, clear)
    half = tree.nodes.new("ShaderNodeMath")
    half.operation = "LESS_THAN"
    half.inputs[1].default_value = 0.4
    tree.links.new(node.outputs["Alpha"], half.inputs[0])
    tree.links.new(half.outputs[0], shader.inputs["Alpha"])
    mixed(tree, shader, "MIX", (1, 0, 0, 1), node.outputs["Color"], 0.5)
    k += 1
    tree, shader = plate(k)
    tree.links.new(image_node(tree, data).outputs["Color"], shader.inputs["Alpha"])
    bpy.ops.wm.save_as_mainfile(filepath="{path}")
"""


def differences(one: Bundle, other: Bundle) -> tuple[float, ...]:
    """Shares of rays with other counts of surfaces, and of their surfaces with other depths, and colors."""
    counts, depths, colors = [], [], []
    for ours, theirs in zip(one.views(), other.views(), strict=True):
        same = ours.layer_count() == theirs.layer_count()
        counts.append(~same[(ours.depth > 0) | (theirs.depth > 0)])
        for near, far in zip(ours.layers(), theirs.layers(), strict=False):
            both = same & (near.depth > 0) & (far.depth > 0)
            depths.append(np.abs(near.depth - far.depth)[both] > 1e-4)
            colors.append(np.abs(near.albedo.astype(int) - far.albedo)[both].max(1) > 1)
    return tuple(float(np.concatenate(parts).mean()) for parts in (counts, depths, colors))


def test_every_graph_that_is_known_gives_what_cycles_gives(
    render: Render, blender: Blender, tmp_path: Path
) -> None:
    path = tmp_path / "graphs.blend"
    blender(GRAPHS.replace("{path}", str(path)))
    ours, theirs = (render(path, way, views=3, resolution=128, surfaces=way) for way in ("auto", "cycles"))
    assert ours.meta["surfaces"] == "embree" and theirs.meta["surfaces"] == "cycles: asked for"
    assert max(differences(ours, theirs)) < 2e-3
    view = next(ours.views())
    assert len(np.unique(view.albedo.reshape(-1, 3), axis=0)) > 1000


@pytest.mark.parametrize(
    "name",
    [
        "sweethome3d/katorlegaz/concept-sedan-01v1/concept-sedan-01v1.obj",
        "playcanvas/chess-board.glb",
        "sweethome3d/blendswap-cc0/teddyBear/teddyBear.obj",
    ],
)
def test_real_models_give_what_cycles_gives(render: Render, name: str) -> None:
    ours, theirs = (
        render(model(name), way, views=2, resolution=96, surfaces=way) for way in ("auto", "cycles")
    )
    assert ours.meta["surfaces"] == "embree"
    assert max(differences(ours, theirs)) < 2e-3


def test_cycles_finds_the_color_of_other_graphs(render: Render, blender: Blender, tmp_path: Path) -> None:
    path = tmp_path / "checker.blend"
    blender(f"""
        bpy.ops.mesh.primitive_cube_add(size=2)
        material = bpy.data.materials.new("m")
        material.use_nodes = True
        node = material.node_tree.nodes.new("ShaderNodeTexChecker")
        node.inputs["Scale"].default_value = 2
        node.inputs["Color1"].default_value = (1, 0, 0, 1)
        node.inputs["Color2"].default_value = (0, 0, 1, 1)
        shader = material.node_tree.nodes["Principled BSDF"]
        material.node_tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
        bpy.context.object.data.materials.append(material)
        bpy.ops.wm.save_as_mainfile(filepath="{path}")
    """)
    bundle = render(path, views=2, resolution=64)
    assert bundle.meta["surfaces"].startswith("cycles: ") and "Checker" in bundle.meta["surfaces"]
    colors = np.concatenate([view.albedo[view.depth > 0] for view in bundle.views()])
    assert {tuple(color) for color in np.unique(colors, axis=0).tolist()} == {(255, 0, 0), (0, 0, 255)}
