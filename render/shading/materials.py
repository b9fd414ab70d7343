"""Materials: one for every face, and how much of the light each keeps back."""

from __future__ import annotations

from typing import Literal

import bpy
import numpy as np

from render.shading.basecolor import CLEAR
from render.shading.coverage import OPAQUE

WHITE = (1.0, 1.0, 1.0, 1.0)
GRAY = (0.8, 0.8, 0.8, 1.0)  # Blender's color for faces without a material
EXACT = frozenset({"blend", "usd", "usda", "usdc", "usdz"})
"""Formats in which a material that shows vertex colors says so."""
_OPAQUE_SHADERS = {"BSDF_DIFFUSE", "BSDF_GLOSSY", "BSDF_GLASS", "BSDF_REFRACTION", "EMISSION"}


def prepare(objects: list[bpy.types.Object], kind: str) -> list[str]:
    """Give every face of a model of format `kind` a lit node material. Returns notes."""
    for material in list(bpy.data.materials):
        if not material.use_nodes or material.node_tree is None:
            _make_nodes(material)
        _disable_displacement(material)
    painted_copies: dict[str, bpy.types.Material] = {}
    for mesh in dict.fromkeys(obj.data for obj in objects):
        _fill_slots(mesh, kind, painted_copies)
    return _show_invisible(objects)


def _show_invisible(objects: list[bpy.types.Object]) -> list[str]:
    """Make all materials opaque if each hides all of its surface: an exporter's mistake. Returns notes."""
    used = [m for mesh in dict.fromkeys(obj.data for obj in objects) for m in _of_faces(mesh)]
    alphas = [_constant_alpha(material.node_tree) for material in dict.fromkeys(used)]
    if any(alpha is None or alpha > CLEAR for alpha in alphas):
        return []
    for node in (node for material in used for node in material.node_tree.nodes):
        if node.type == "BSDF_PRINCIPLED":
            node.inputs["Alpha"].default_value = 1.0
    return ["opacity 0 of every material; taken as opaque"]


def _of_faces(mesh: bpy.types.Mesh) -> list[bpy.types.Material]:
    """The materials that faces have."""
    indices = np.zeros(1, np.int32)
    if "material_index" in mesh.attributes:
        indices = np.empty(len(mesh.polygons), np.int32)
        mesh.attributes["material_index"].data.foreach_get("value", indices)
    return [mesh.materials[i] for i in np.unique(indices)]


def triangle_alphas(objects: list[bpy.types.Object]) -> np.ndarray | None:
    """(F,) float32 alpha of every triangle of the objects, in order; None where any is not constant."""
    known = {m: _constant_alpha(m.node_tree) for m in bpy.data.materials if m.users and m.node_tree}
    if None in known.values():
        return None
    own: dict[bpy.types.Mesh, np.ndarray] = {}
    for mesh in dict.fromkeys(obj.data for obj in objects):
        mesh.calc_loop_triangles()
        alphas = np.array([known.get(m, 1.0) for m in mesh.materials], np.float32)
        index = np.zeros(len(mesh.loop_triangles), np.int32)
        if np.ptp(alphas) > 0:
            mesh.loop_triangles.foreach_get("material_index", index)
        own[mesh] = alphas[index]
    return np.concatenate([own[obj.data] for obj in objects])


def _make_nodes(material: bpy.types.Material) -> None:
    """Turn a material without nodes into a Principled one of its viewport color."""
    color = tuple(material.diffuse_color)
    material.use_nodes = True
    material.node_tree.nodes.clear()
    shader = material.node_tree.nodes.new("ShaderNodeBsdfPrincipled")
    shader.inputs["Base Color"].default_value = (*color[:3], 1.0)
    output = material.node_tree.nodes.new("ShaderNodeOutputMaterial")
    material.node_tree.links.new(shader.outputs[0], output.inputs["Surface"])


def _disable_displacement(material: bpy.types.Material) -> None:
    """Turn true displacement, which would move the surface away from `mesh.npz`, into bump mapping."""
    if material.displacement_method != "BUMP":
        material.displacement_method = "BUMP"


def _fill_slots(mesh: bpy.types.Mesh, kind: str, painted_copies: dict[str, bpy.types.Material]) -> None:
    """Give every slot a material; vertex colors show where no texture does."""
    if not mesh.materials:
        mesh.materials.append(None)
    colors = _vertex_colors(mesh)
    for index, material in enumerate(mesh.materials):
        if material is None:
            mesh.materials[index] = _plain(colors is not None)
        elif colors is not None and _is_painted(material, colors, kind):
            mesh.materials[index] = _painted_copy(material, painted_copies)
    if "material_index" in mesh.attributes:  # else all are 0
        indices = np.empty(len(mesh.polygons), np.int32)
        mesh.attributes["material_index"].data.foreach_get("value", indices)
        mesh.polygons.foreach_set("material_index", indices.clip(0, len(mesh.materials) - 1))


def _vertex_colors(mesh: bpy.types.Mesh) -> Literal["white", "even", "varied"] | None:
    """What the color attribute that renders shows; None without a usable one."""
    attributes = mesh.color_attributes
    if not len(attributes):
        return None
    index = attributes.render_color_index
    attribute = attributes[index if 0 <= index < len(attributes) else 0]
    attributes.render_color_index = attributes.find(attribute.name)
    values = np.empty(len(attribute.data) * 4, np.float32)
    attribute.data.foreach_get("color", values)
    channels = values.reshape(-1, 4)[:, :3].T
    ends = np.array([[one.min(), one.max()] for one in channels]) if len(values) else np.array(np.nan)
    if not np.isfinite(ends).all():
        return None
    if np.ptp(ends, axis=1).max() > 1e-3:
        return "varied"
    return "white" if np.allclose(ends, 1, atol=1e-3) else "even"


def _plain(painted: bool) -> bpy.types.Material:
    """The material for faces without one: their vertex colors, or gray."""
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
    """A copy of `material` with vertex colors as its base color; other users keep the original."""
    if material.name not in copies:
        copies[material.name] = material.copy()
        _link_vertex_colors(copies[material.name])
    return copies[material.name]


def _link_vertex_colors(material: bpy.types.Material) -> None:
    """A Color Attribute node without a name reads the attribute that each mesh marks for rendering."""
    tree = material.node_tree
    node = tree.nodes.new("ShaderNodeVertexColor")
    for shader in [n for n in tree.nodes if n.type.startswith("BSDF_")]:
        socket = shader.inputs.get("Base Color") or shader.inputs.get("Color")
        if socket is not None:
            tree.links.new(node.outputs["Color"], socket)


def _is_painted(material: bpy.types.Material, colors: str, kind: str) -> bool:
    """Whether a mesh's colors count rather than its material: they vary, or the material says nothing.

    White says nothing either, nor does a white material in OBJ and FBX. In `EXACT` formats what a material
    says counts, and glTF's importer paints itself.
    """
    plain = (GRAY, WHITE) if kind in ("obj", "fbx") else (GRAY,)
    varied = colors == "varied" and kind not in EXACT
    counts = colors != "white" and (varied or _has_color(material, plain))
    return counts and kind not in ("glb", "gltf") and not _has_color_source(material)


def _has_color(material: bpy.types.Material, some: tuple[tuple[float, ...], ...]) -> bool:
    """Whether a material has one of some colors; Blender's own gray where an OBJ names it and no MTL does."""
    shaders = [node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED"]
    bases = [node.inputs["Base Color"].default_value for node in shaders]
    return any(np.allclose(base, color, atol=1e-6) for base in bases for color in some)


def _has_color_source(material: bpy.types.Material) -> bool:
    """Whether a texture or an attribute already drives the material."""
    sources = {"TEX_IMAGE", "VERTEX_COLOR", "ATTRIBUTE", "GROUP"}
    return any(
        node.type in sources and any(o.is_linked for o in node.outputs) for node in material.node_tree.nodes
    )


def _nodes(tree: bpy.types.NodeTree) -> list[bpy.types.Node]:
    """The nodes of a tree and of the groups in it."""
    inner = [node.node_tree for node in tree.nodes if node.type == "GROUP" and node.node_tree]
    return [*tree.nodes, *(node for group in inner for node in _nodes(group))]


def _constant_alpha(tree: bpy.types.NodeTree) -> float | None:
    """The share of the light from behind that a material keeps back; None where it varies, or may."""
    if all(_is_opaque(node) for node in _nodes(tree)):
        return 1.0
    output = tree.get_output_node("CYCLES")
    if output is None or output.inputs["Volume"].is_linked:
        return None
    return _shader_alpha(output.inputs["Surface"])


def _shader_alpha(socket: bpy.types.NodeSocket) -> float | None:
    """`_constant_alpha` of the shader that is linked to a socket."""
    if not socket.is_linked:
        return None
    node = socket.links[0].from_node
    if node.mute or node.type not in {"BSDF_PRINCIPLED", "BSDF_TRANSPARENT", "MIX_SHADER"}:
        return 1.0 if not node.mute and node.type in _OPAQUE_SHADERS else None
    if node.type == "BSDF_TRANSPARENT":
        color = node.inputs["Color"]
        return 0.0 if not color.is_linked and min(color.default_value[:3]) >= 1 else None
    share = node.inputs["Alpha" if node.type == "BSDF_PRINCIPLED" else 0]
    if share.is_linked:
        return None
    value = min(max(share.default_value, 0.0), 1.0)
    if node.type == "BSDF_PRINCIPLED":
        return value
    first, second = _shader_alpha(node.inputs[1]), _shader_alpha(node.inputs[2])
    return None if first is None or second is None else (1 - value) * first + value * second


def _is_opaque(node: bpy.types.Node) -> bool:
    if node.type in {"BSDF_TRANSPARENT", "HOLDOUT", "SCRIPT"}:
        return False
    if node.type == "OUTPUT_MATERIAL":
        return node.inputs["Surface"].is_linked and not node.inputs["Volume"].is_linked
    if node.type.startswith("BSDF_"):
        alpha = node.inputs.get("Alpha")
        return alpha is None or (not alpha.is_linked and alpha.default_value >= OPAQUE)
    return True
