"""A material's unlit color and alpha, found by walking its shader tree (the rules: docs/layers.md).

The result is two values, each a constant or an output socket of the tree, so that textures, vertex colors and
mix factors keep their effect. Nodes are added but never changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import bpy

from render.elements import UNREADABLE, opened

Color = tuple[float, float, float]
Socket = bpy.types.NodeSocket
BLACK: Color = (0.0, 0.0, 0.0)
GRAY: Color = (0.8, 0.8, 0.8)
CLEAR = 1 / 64  # a constant alpha up to this hides the surface on purpose
METAL = 0.25  # a specular color brighter than this is a metal's; water's is 0.02, diamond's 0.17
SPECULAR_GLOSSINESS = 100  # such materials have an index of refraction of 1000, or 0 for an infinite one
VARYING = {"ATTRIBUTE", "VERTEX_COLOR", "GROUP", "GROUP_INPUT"}  # alpha may vary over the surface


@dataclass(frozen=True)
class Base:
    """Base color (constant or color socket) and alpha (constant or value socket) of a surface."""

    color: Color | Socket
    alpha: float | Socket

    def feed(self, tree: bpy.types.NodeTree, color: Socket, alpha: Socket) -> None:
        """Link or set two input sockets of `tree`."""
        self.feed_color(tree, color)
        _plug(tree, self.alpha, alpha)

    def feed_color(self, tree: bpy.types.NodeTree, color: Socket) -> None:
        """Link or set an input socket of `tree`."""
        _plug(tree, self.color, color)


def base_colors() -> tuple[dict[bpy.types.Material, Base], list[str]]:
    """Those of all materials in use, and notes of what was guessed."""
    bases, notes = {}, []
    for material in list(bpy.data.materials):
        if material.users and material.node_tree is not None:
            bases[material], guesses = base_of_material(material)
            notes += [f"{material.name}: {note}" for note in guesses]
    return bases, notes


def base_of_material(material: bpy.types.Material) -> tuple[Base, list[str]]:
    """Walk from the active output; the notes report guesses.

    Glass is a surface, however clear: only an alpha that varies over the surface can cut holes.
    """
    walk = _Walk(material.node_tree)
    output = material.node_tree.get_output_node("CYCLES")
    if output is None:
        return Base(BLACK, 1.0), ["no material output; black"]
    if output.inputs["Surface"].is_linked:
        base = walk.shader_input(output.inputs["Surface"])
        return (replace(base, alpha=1.0) if _is_glass(base.alpha) else base), walk.notes
    if output.inputs["Volume"].is_linked:
        return walk.volume(output.inputs["Volume"]), walk.notes
    return Base(BLACK, 1.0), ["nothing linked to the surface; black"]


def _is_glass(alpha: float | Socket) -> bool:
    """Whether an alpha applies to the whole surface without hiding any of it.

    A constant does, a Fresnel mix, and a texture that is clear nowhere; not one that is compared or otherwise
    computed with.
    """
    if isinstance(alpha, int | float):
        return alpha > CLEAR
    seen, todo, operations, textured = set(), [alpha], set(), False
    while todo:
        socket = todo.pop()
        node = socket.node
        if node.type == "TEX_IMAGE" and socket.name == "Alpha" and _clear_nowhere(node.image):
            textured = True
            continue
        if node.type.startswith("TEX_") or node.type in VARYING:
            return False
        operations |= {node.operation} if node.type == "MATH" else set()
        if node not in seen:
            seen.add(node)
            todo += [link.from_socket for entry in node.inputs for link in entry.links]
    return not textured or operations <= {"MULTIPLY"}


def _hides(alpha: int) -> int:
    return 255 if alpha <= CLEAR * 255 else 0


def _clear_nowhere(image: bpy.types.Image | None) -> bool:
    """Whether an image has an alpha channel that hides none of its places."""
    if image is None:
        return False
    try:
        with opened(image) as pixels:
            return "A" in pixels.getbands() and pixels.getchannel("A").point(_hides).getbbox() is None
    except UNREADABLE:
        return False


class _Walk:
    """The walk through one node tree. Each group gets its own copy of its tree, and its own _Walk."""

    def __init__(
        self, tree: bpy.types.NodeTree, parent: _Walk | None = None, node: bpy.types.Node | None = None
    ):
        self.tree = tree
        self.parent = parent
        self.node = node  # the group node in the parent's tree
        self.notes: list[str] = parent.notes if parent else []

    def shader_input(self, socket: Socket) -> Base:
        """The base of the shader linked to `socket`; without a link, black, as Cycles renders it."""
        if not socket.is_linked:
            return Base(BLACK, 1.0)
        link = socket.links[0]
        return self.shader(link.from_node, link.from_socket)

    def shader(self, node: bpy.types.Node, output: Socket) -> Base:
        if node.mute:
            return self._muted(node, output)
        rule = RULES.get(node.type)
        if rule is not None:
            return rule(self, node, output)
        if node.type.startswith("BSDF_") or node.type in {"EMISSION", "SUBSURFACE_SCATTERING"}:
            return Base(self._first(node, "Base Color", "Color"), 1.0)
        self.notes.append(f"shader node {node.bl_idname} is unknown; gray")
        return Base(GRAY, 1.0)

    def volume(self, socket: Socket) -> Base:
        """A surface in the volume's color, for a material with only a volume."""
        self.notes.append("only a volume; rendered as a surface of its color")
        return Base(self._first(socket.links[0].from_node, "Color"), 1.0)

    # ---- rules -------------------------------------------------------------------------------------------

    def _principled(self, node: bpy.types.Node, _: Socket) -> Base:
        color = self._value(node.inputs["Base Color"])
        strength = node.inputs["Emission Strength"]
        if strength.is_linked or strength.default_value > 0:
            color = self._lighten(color, self._glow(node))
        refraction = node.inputs["IOR"]
        if not refraction.is_linked and not 0 < refraction.default_value < SPECULAR_GLOSSINESS:
            color = self._metal(color, self._value(node.inputs["Specular Tint"]))
        return Base(color, self._value(node.inputs["Alpha"]))

    def _transparent(self, *_: object) -> Base:
        return Base(BLACK, 0.0)

    def _reroute(self, node: bpy.types.Node, _: Socket) -> Base:
        return self.shader_input(node.inputs[0])

    def _muted(self, node: bpy.types.Node, output: Socket) -> Base:
        for link in node.internal_links:
            if link.to_socket == output:
                return self.shader_input(link.from_socket)
        return Base(GRAY, 1.0)

    def _mix(self, node: bpy.types.Node, _: Socket) -> Base:
        factor = self._mix_factor(node.inputs[0])
        if factor == 0.0:
            return self.shader_input(node.inputs[1])
        if factor == 1.0:
            return self.shader_input(node.inputs[2])
        first, second = self.shader_input(node.inputs[1]), self.shader_input(node.inputs[2])
        left = self._math("MULTIPLY", self._math("SUBTRACT", 1.0, factor), first.alpha)
        right = self._math("MULTIPLY", factor, second.alpha)
        alpha = self._math("ADD", left, right)
        share = self._math("DIVIDE", right, alpha)
        return Base(self._mix_color("MIX", share, first.color, second.color), alpha)

    def _mix_factor(self, socket: Socket) -> float | Socket:
        """A mix driven directly by Light Path is known: the ray is a camera ray."""
        if socket.is_linked and socket.links[0].from_node.type == "LIGHT_PATH":
            return 1.0 if socket.links[0].from_socket.name == "Is Camera Ray" else 0.0
        return self._value(socket)

    def _add(self, node: bpy.types.Node, _: Socket) -> Base:
        """Colors add; transparencies add too, so an emission added to Transparent stays transparent."""
        first, second = self.shader_input(node.inputs[0]), self.shader_input(node.inputs[1])
        alpha = self._math("SUBTRACT", self._math("ADD", first.alpha, second.alpha), 1.0, clamp=True)
        return Base(self._mix_color("ADD", 1.0, first.color, second.color), alpha)

    def _group(self, node: bpy.types.Node, output: Socket) -> Base:
        """Walk a copy of the group's tree and pass its base out through two new outputs."""
        if node.node_tree is None:
            return Base(GRAY, 1.0)
        node.node_tree = tree = node.node_tree.copy()
        inner = _Walk(tree, self, node)
        exits = [n for n in tree.nodes if n.type == "GROUP_OUTPUT" and n.is_active_output]
        if not exits or output.identifier not in {s.identifier for s in exits[0].inputs}:
            return Base(GRAY, 1.0)
        source = _by_identifier(exits[0].inputs, output.identifier)
        base = inner.shader_input(source)
        color, alpha = _new_sockets(tree, "OUTPUT")
        base.feed(tree, _by_identifier(exits[0].inputs, color), _by_identifier(exits[0].inputs, alpha))
        return Base(_by_identifier(node.outputs, color), _by_identifier(node.outputs, alpha))

    def _group_input(self, _: bpy.types.Node, output: Socket) -> Base:
        """A shader passed into the group: walk it outside and pass its base in through two new inputs."""
        if self.parent is None or self.node is None:
            return Base(GRAY, 1.0)
        base = self.parent.shader_input(_by_identifier(self.node.inputs, output.identifier))
        color, alpha = _new_sockets(self.tree, "INPUT")
        entrance = self.node.inputs
        base.feed(self.parent.tree, _by_identifier(entrance, color), _by_identifier(entrance, alpha))
        entry = self.tree.nodes.new("NodeGroupInput")
        return Base(_by_identifier(entry.outputs, color), _by_identifier(entry.outputs, alpha))

    # ---- values ------------------------------------------------------------------------------------------

    def _first(self, node: bpy.types.Node, *names: str) -> Color | Socket:
        for name in names:
            socket = node.inputs.get(name)
            if socket is not None:
                return self._value(socket)
        self.notes.append(f"{node.bl_idname} has no color; gray")
        return GRAY

    def _value(self, socket: Socket):
        """What feeds an input: the linked output or the input's constant."""
        if socket.is_linked:
            return socket.links[0].from_socket
        value = socket.default_value
        return float(value) if isinstance(value, (int, float)) else tuple(value)[:3]

    def _glow(self, node: bpy.types.Node) -> Color | Socket:
        """A Principled node's emission, which a strength above 1 cannot make brighter than its color."""
        glow, strength = (
            self._value(node.inputs["Emission Color"]),
            self._value(node.inputs["Emission Strength"]),
        )
        if not isinstance(strength, float) or strength >= 1:
            return glow
        if isinstance(glow, tuple):
            red, green, blue = glow
            return red * strength, green * strength, blue * strength
        return self._mix_color("MULTIPLY", 1.0, glow, (strength,) * 3)

    def _lighten(self, color: Color | Socket, glow: Color | Socket) -> Color | Socket:
        if glow == BLACK:
            return color
        return glow if color == BLACK else self._mix_color("LIGHTEN", 1.0, color, glow)

    def _metal(self, diffuse: Color | Socket, specular: Color | Socket) -> Color | Socket:
        """The color of a specular-glossiness surface: for metals the specular color, as diffuse is black."""
        if isinstance(specular, tuple):
            if max(specular) <= METAL:
                return diffuse
            return self._lighten(diffuse, specular)
        parts = self.tree.nodes.new("ShaderNodeSeparateColor")
        self.tree.links.new(specular, parts.inputs[0])
        red, green, blue = parts.outputs
        brightest = self._math("MAXIMUM", self._math("MAXIMUM", red, green), blue)
        is_metal = self._math("GREATER_THAN", brightest, METAL)
        return self._mix_color("LIGHTEN", is_metal, diffuse, specular)

    def _mix_color(self, mode: str, factor: float | Socket, first: Color | Socket, second: Color | Socket):
        if mode == "MIX" and isinstance(factor, float) and factor in (0.0, 1.0):
            return second if factor else first
        node = self.tree.nodes.new("ShaderNodeMix")
        node.data_type, node.blend_type = "RGBA", mode
        node.clamp_result = mode == "ADD"
        _plug(self.tree, factor, node.inputs["Factor"])
        color_inputs = [s for s in node.inputs if s.type == "RGBA"]
        _plug(self.tree, first, color_inputs[0])
        _plug(self.tree, second, color_inputs[1])
        return next(s for s in node.outputs if s.type == "RGBA")

    def _math(
        self, operation: str, a: float | Socket, b: float | Socket, clamp: bool = False
    ) -> float | Socket:
        if isinstance(a, float) and isinstance(b, float):
            result = FOLDED[operation](a, b)
            return min(max(result, 0.0), 1.0) if clamp else result
        if operation == "MULTIPLY" and 0.0 in (a, b):
            return 0.0
        if operation == "MULTIPLY" and 1.0 in (a, b):
            return b if a == 1.0 else a
        if operation == "ADD" and 0.0 in (a, b):
            return b if a == 0.0 else a
        if operation == "DIVIDE" and (a == 0.0 or a == b):
            return float(a == b)
        node = self.tree.nodes.new("ShaderNodeMath")
        node.operation, node.use_clamp = operation, clamp
        _plug(self.tree, a, node.inputs[0])
        _plug(self.tree, b, node.inputs[1])
        return node.outputs[0]


RULES = {
    "BSDF_PRINCIPLED": _Walk._principled,
    "BSDF_TRANSPARENT": _Walk._transparent,
    "HOLDOUT": _Walk._transparent,
    "MIX_SHADER": _Walk._mix,
    "ADD_SHADER": _Walk._add,
    "REROUTE": _Walk._reroute,
    "GROUP": _Walk._group,
    "GROUP_INPUT": _Walk._group_input,
}
FOLDED = {
    "ADD": lambda a, b: a + b,
    "SUBTRACT": lambda a, b: a - b,
    "MULTIPLY": lambda a, b: a * b,
    "DIVIDE": lambda a, b: a / b if b else 0.0,
}


def _new_sockets(tree: bpy.types.NodeTree, side: str) -> list[str]:
    """Add a color and a value socket to a group's interface. Returns their identifiers."""
    kinds = ("NodeSocketColor", "NodeSocketFloat")
    return [
        tree.interface.new_socket("InsideOut base", in_out=side, socket_type=kind).identifier
        for kind in kinds
    ]


def _by_identifier(sockets: Iterable[Socket], identifier: str) -> Socket:
    return next(socket for socket in sockets if socket.identifier == identifier)


def _plug(tree: bpy.types.NodeTree, value, socket: Socket) -> None:
    """Link an output to an input, or set the input's constant."""
    if isinstance(value, float):
        socket.default_value = value
    elif isinstance(value, tuple):
        socket.default_value = (*value, 1.0)
    else:
        tree.links.new(value, socket)
