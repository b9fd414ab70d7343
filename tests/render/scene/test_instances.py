"""Geometry nodes, curves and texts come out as Blender renders them: each instance once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from render.bundle import Bundle

Render = Callable[..., Bundle]
Blender = Callable[[str], None]

HEAD = """
    tree = bpy.data.node_groups.new("tree", "GeometryNodeTree")
    tree.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    entry, exit_ = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")

    def node(kind, geometry=None, socket=0, **values):
        made = tree.nodes.new("GeometryNode" + kind)
        for name, value in values.items():
            made.inputs[name.replace("_", " ")].default_value = value
        if geometry is not None:
            tree.links.new(geometry, made.inputs[socket])
        return made.outputs["Geometry"] if "Geometry" in made.outputs else made.outputs[0]

    def on_line(geometry, count, offset):
        line = node("MeshLine", Count=count, Offset=offset)
        instances = node("InstanceOnPoints", geometry, "Instance")
        tree.links.new(line, instances.node.inputs["Points"])
        return instances

    def add(name, data):
        thing = bpy.data.objects.new(name, data)
        bpy.context.scene.collection.objects.link(thing)
        return thing

    def material(name, color):
        made = bpy.data.materials.new(name)
        made.use_nodes = True
        made.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (*color, 1)
        return made

    red, blue = material("red", (0.5, 0, 0)), material("blue", (0, 0, 0.5))
    cube = bpy.data.meshes.new("cube")
    shape = bmesh.new()
    bmesh.ops.create_cube(shape, size=1)
    shape.to_mesh(cube)
    cube.materials.append(blue)
    host = add("host", bpy.data.meshes.new("host"))
"""
TAIL = """
    host.modifiers.new("nodes", "NODES").node_group = tree
    tree.links.new(made, exit_.inputs[0])
    bpy.ops.wm.save_as_mainfile(filepath="{path}")
"""
OBJECT = """
    source = add("source", cube)
    source.hide_render = {hidden}
    source.location = (0, 9, 0)
    geometry = node("ObjectInfo", Object=source, As_Instance={instance})
    made = on_line(geometry, 3, (0, 0, 2))
"""
CURVE = """
    curve = bpy.data.curves.new("curve", "CURVE")
    curve.dimensions, curve.bevel_depth = "3D", 0.5
    curve.splines.new("POLY").points.add(1)
    curve.splines[0].points[1].co = (1, 0, 0, 1)
    curve.materials.append(red)
    source = add("source", curve)
    source.location = (0, 9, 0)
    made = on_line(node("ObjectInfo", Object=source, As_Instance=True), 2, (0, 0, 4))
"""
COLLECTION = """
    parts = bpy.data.collections.new("parts")
    for place in (0, 2):
        part = bpy.data.objects.new("part", cube)
        part.location = (place, 0, 0)
        parts.objects.link(part)
    hidden = bpy.data.objects.new("hidden", cube)
    hidden.location, hidden.hide_render = (50, 0, 0), True
    parts.objects.link(hidden)
    made = on_line(node("CollectionInfo", Collection=parts), 2, (0, 0, 3))
"""
CASES = {
    "meshes": ("made = on_line(node('MeshCube'), 243, (0, 0, 1.5))", 243, (1, 1, 364)),
    "realized": ("made = node('RealizeInstances', on_line(node('MeshCube'), 3, (0, 0, 2)))", 1, (1, 1, 5)),
    "nested": ("made = on_line(on_line(node('MeshCube'), 2, (0, 3, 0)), 2, (0, 0, 2))", 4, (1, 4, 3)),
    "beside its own faces": (
        "made = node('JoinGeometry', on_line(node('MeshCube'), 2, (0, 0, 3)))\n"
        "    tree.links.new(node('MeshCube', Size=(4, 4, 4)), made.node.inputs[0])",
        3,
        (4, 4, 5.5),
    ),
    "objects": (OBJECT.format(hidden=False, instance=True), 4, (1, 10, 5)),
    "hidden objects": (OBJECT.format(hidden=True, instance=True), 3, (1, 1, 5)),
    "geometry of a hidden object": (OBJECT.format(hidden=True, instance=False), 3, (1, 1, 5)),
    "curves": (CURVE, 3, (1, 10, 5)),
    "collections": (COLLECTION, 4, (3, 1, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_instances_of_geometry_nodes(name: str, render: Render, blender: Blender, tmp_path: Path) -> None:
    script, placed, size = CASES[name]
    path = tmp_path / "nodes.blend"
    blender(HEAD + "    " + script + TAIL.format(path=path))
    bundle = render(path, resolution=512 if placed > 100 else 32)  # a long row is thin
    vertices = bundle.mesh().vertices.astype(float) / bundle.meta["scale"]
    assert bundle.meta["counts"]["placed"] == placed
    assert np.ptp(vertices, axis=0) == pytest.approx(size, rel=1e-3)


def _albedos(bundle: Bundle) -> np.ndarray:
    """(N, 3) uint8, of every pixel that shows a surface."""
    return np.concatenate([view.albedo[view.depth > 0] for view in bundle.views()])


def test_instances_keep_the_materials_that_nodes_set(
    render: Render, blender: Blender, tmp_path: Path
) -> None:
    path = tmp_path / "nodes.blend"
    painted = "made = on_line(node('SetMaterial', node('MeshCube'), Material=red), 3, (0, 0, 2))"
    blender(HEAD + "    " + painted + TAIL.format(path=path))
    albedo = _albedos(render(path, resolution=32))
    assert (np.abs(albedo.astype(int) - (188, 0, 0)).max(1) <= 3).mean() > 0.95


def test_a_curve_is_there_once(render: Render, blender: Blender, tmp_path: Path) -> None:
    """Blender lists a curve with a bevel and a text twice: as itself and as its mesh."""
    path = tmp_path / "curve.blend"
    blender(
        HEAD
        + """
    curve = bpy.data.curves.new("curve", "CURVE")
    curve.dimensions, curve.bevel_depth = "3D", 0.5
    curve.splines.new("POLY").points.add(1)
    curve.splines[0].points[1].co = (4, 0, 0, 1)
    add("curve", curve).location = (0, 0, 3)
    text = bpy.data.curves.new("text", "FONT")
    text.body = "Hi"
    add("text", text)
    ball = bpy.data.metaballs.new("ball")
    ball.elements.new()
    add("ball", ball).location = (0, 9, 0)
    made = entry.outputs[0]
    """
        + TAIL.format(path=path)
    )
    bundle = render(path, resolution=32)
    assert bundle.meta["counts"]["placed"] == 3
    middles = bundle.mesh().vertices[bundle.mesh().faces].mean(1)
    assert len(np.unique(middles.round(6), axis=0)) == len(middles)
