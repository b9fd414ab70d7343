"""Materials: what a surface's unlit color is, and the switch from lit shading to the geometry render.

`prepare` makes every face have a material; lit renders follow.
`switch_to_surface_records` then finds each material's base color and alpha (`render.shading.basecolor`) and links
them into the shared node group of `render.shading.geometry` instead of the lit shader.
"""

from __future__ import annotations

import bpy
import numpy as np

from render.shading.basecolor import base_of_material

GRAY = (0.8, 0.8, 0.8, 1.0)  # what Blender shows where there is no material


def prepare(objects: list[bpy.types.Object]) -> None:
    """Give every face a lit node material."""
    for material in list(bpy.data.materials):
        if not material.use_nodes or material.node_tree is None:
            _make_nodes(material)
        _keep_surface_in_place(material)
    painted_copies: dict[str, bpy.types.Material] = {}
    for mesh in dict.fromkeys(thing.data for thing in objects):
        _fill_slots(mesh, painted_copies)


def switch_to_surface_records(group: bpy.types.NodeTree) -> list[str]:
    """Replace every material's lit shader by `group`, fed with its base color and alpha. Returns notes."""
    notes = []
    for material in list(bpy.data.materials):
        if material.users == 0 or material.node_tree is None:
            continue
        base, said = base_of_material(material)
        notes += [f"{material.name}: {note}" for note in said]
        tree = material.node_tree
        node = tree.nodes.new("ShaderNodeGroup")
        node.node_tree = group
        base.feed(tree, node.inputs["Color"], node.inputs["Alpha"])
        for output in [n for n in tree.nodes if n.type == "OUTPUT_MATERIAL"]:
            tree.nodes.remove(output)
        output = tree.nodes.new("ShaderNodeOutputMaterial")
        tree.links.new(node.outputs["Surface"], output.inputs["Surface"])
    return notes


def _make_nodes(material: bpy.types.Material) -> None:
    """A material without nodes becomes a Principled one of its viewport color."""
    color = tuple(material.diffuse_color)
    material.use_nodes = True
    material.node_tree.nodes.clear()
    shader = material.node_tree.nodes.new("ShaderNodeBsdfPrincipled")
    shader.inputs["Base Color"].default_value = (*color[:3], 1.0)
    output = material.node_tree.nodes.new("ShaderNodeOutputMaterial")
    material.node_tree.links.new(shader.outputs[0], output.inputs["Surface"])


def _keep_surface_in_place(material: bpy.types.Material) -> None:
    """True displacement would move the surface away from `mesh.npz`; bump mapping stays."""
    if material.displacement_method != "BUMP":
        material.displacement_method = "BUMP"


def _fill_slots(mesh: bpy.types.Mesh, painted_copies: dict[str, bpy.types.Material]) -> None:
    """Every slot gets a material; vertex colors show where there is no texture."""
    if not mesh.materials:
        mesh.materials.append(None)
    colors = _vertex_colors(mesh)
    painted = colors is not None and not np.allclose(colors, 1, atol=1e-3)
    varied = painted and colors is not None and bool(np.ptp(colors, axis=0).max() > 1e-3)
    for index, material in enumerate(mesh.materials):
        if material is None:
            mesh.materials[index] = _plain(painted)
        elif varied and not _has_color_source(material):
            mesh.materials[index] = _painted_copy(material, painted_copies)
    indices = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("material_index", indices)
    mesh.polygons.foreach_set("material_index", indices.clip(0, len(mesh.materials) - 1))


def _vertex_colors(mesh: bpy.types.Mesh) -> np.ndarray | None:
    """(N, 3) float32 linear, of the color attribute that renders; None where there is no good one."""
    attributes = mesh.color_attributes
    if not len(attributes):
        return None
    index = attributes.render_color_index
    attribute = attributes[index if 0 <= index < len(attributes) else 0]
    attributes.render_color_index = attributes.find(attribute.name)
    values = np.empty(len(attribute.data) * 4, np.float32)
    attribute.data.foreach_get("color", values)
    rgb = values.reshape(-1, 4)[:, :3]
    return rgb if len(rgb) and np.isfinite(rgb).all() else None


def _plain(painted: bool) -> bpy.types.Material:
    """The material of faces that have none: their vertex colors, or gray."""
    name = "InsideOut painted" if painted else "InsideOut gray"
    known = bpy.data.materials.get(name)
    if known:
        return known
    material = bpy.data.materials.new(name)
    material.diffuse_color = GRAY
    _make_nodes(material)
    if painted:
        _link_vertex_colors(material)
    return material


def _painted_copy(material: bpy.types.Material, copies: dict[str, bpy.types.Material]) -> bpy.types.Material:
    """`material` with its base color taken from the vertex colors; other users keep the original."""
    if material.name not in copies:
        copies[material.name] = material.copy()
        _link_vertex_colors(copies[material.name])
    return copies[material.name]


def _link_vertex_colors(material: bpy.types.Material) -> None:
    """The Color Attribute node without a name reads the attribute that each mesh marks for rendering."""
    tree = material.node_tree
    node = tree.nodes.new("ShaderNodeVertexColor")
    for shader in [n for n in tree.nodes if n.type.startswith("BSDF_")]:
        socket = shader.inputs.get("Base Color") or shader.inputs.get("Color")
        if socket is not None:
            tree.links.new(node.outputs["Color"], socket)


def _has_color_source(material: bpy.types.Material) -> bool:
    """Whether a texture or an attribute already drives the material's color."""
    sources = {"TEX_IMAGE", "VERTEX_COLOR", "ATTRIBUTE", "GROUP"}
    return any(
        node.type in sources and any(o.is_linked for o in node.outputs) for node in material.node_tree.nodes
    )
