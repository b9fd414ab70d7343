"""Shader graphs in numpy: what a socket gives at places on the surface, for nodes that most materials use.

Constants, image textures by a UV map, color attributes, mixes and arithmetic, each as Cycles evaluates it.
Any other node raises `NotKnown`: then Cycles has to be asked (`render.surfaces.record`).
"""

from __future__ import annotations

from collections.abc import Callable

import bpy
import numpy as np
from mathutils import Euler
from PIL import Image

from render.elements import UNREADABLE, opened
from render.srgb import srgb_to_linear
from render.surfaces.corners import Corners, Places
from render.surfaces.texture import Texture

Socket = bpy.types.NodeSocket
Field = Callable[[Places], np.ndarray]
"""N places -> (N, 3) float32, of colors linear, or (N,) float32 of a value."""
LARGEST = 1 << 26  # texels of an image that is sampled here
_EIGHT_BITS = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}
_BRIGHTNESS = np.array([0.2126729, 0.7151522, 0.0721750], np.float32)


class NotKnown(Exception):
    """A graph that is not evaluated here."""


class Graph:
    """The fields of a scene's sockets."""

    def __init__(self, corners: Corners):
        self._corners = corners
        self._texels: dict[bpy.types.Image, tuple[np.ndarray, tuple[int, int]]] = {}

    def field(self, socket: Socket) -> Field:
        """What an output socket gives. Raises NotKnown."""
        node = socket.node
        rule = _RULES.get((node.type, socket.name))
        if rule is None or node.mute:
            raise NotKnown(f"{node.name}: {socket.name}")
        return rule(self, node)

    def value(self, socket: Socket) -> Field:
        """What an output socket gives where a number is wanted: of a color, its brightness."""
        field = self.field(socket)
        return (lambda places: field(places) @ _BRIGHTNESS) if socket.type == "RGBA" else field

    def encoded(self, socket: Socket) -> Field | None:
        """Gives (N, 3) sRGB as an image has it, if that is what an output socket gives; otherwise None."""
        node = socket.node
        if node.type != "TEX_IMAGE" or socket.name != "Color" or node.mute or not _is_srgb(node.image):
            return None
        texture = self._texture(node)
        return lambda places: texture(places)[:, :3]

    def _input(self, socket: Socket) -> Field:
        """What an input socket receives."""
        if not socket.is_linked:
            constant = np.array(socket.default_value, np.float32)  # of a color, with its alpha
            constant = constant[:3] if constant.ndim else constant
            return lambda _: constant
        source = socket.links[0].from_socket
        field = self.field(source)
        if source.type == socket.type:
            return field
        if (source.type, socket.type) == ("VALUE", "RGBA"):
            return lambda places: field(places)[:, None]
        if (source.type, socket.type) == ("RGBA", "VALUE"):
            return self.value(source)
        raise NotKnown(f"{source.node.name}: a {source.type} as {socket.type}")

    # ---- rules -------------------------------------------------------------------------------------------

    def _image_color(self, node: bpy.types.Node) -> Field:
        texture = self._texture(node)
        if _is_srgb(node.image):
            return lambda places: srgb_to_linear(texture(places)[:, :3]).astype(np.float32)
        return lambda places: texture(places)[:, :3]

    def _image_alpha(self, node: bpy.types.Node) -> Field:
        texture = self._texture(node)
        return lambda places: texture(places)[:, 3]

    def _texture(self, node: bpy.types.Node) -> Field:
        _require_plain(node)
        vector = node.inputs["Vector"]
        place = self._input(vector) if vector.is_linked else self._uv("")
        texture = Texture(*self._texels_of(node.image), node.interpolation, node.extension)
        return lambda places: texture.sample(place(places)[:, :2])

    def _texels_of(self, image: bpy.types.Image) -> tuple[np.ndarray, tuple[int, int]]:
        if image not in self._texels:
            self._texels[image] = _texels(image)
        return self._texels[image]

    def _uv(self, name: str) -> Field:
        """Places on a UV map, (N, 3) with 0 for z; without a name, each mesh's map that renders."""
        values = self._corners.uv(name)
        return lambda places: np.pad(places.between(values), ((0, 0), (0, 1)))

    def _uv_map(self, node: bpy.types.Node) -> Field:
        return self._uv(node.uv_map)

    def _default_uv(self, _: bpy.types.Node) -> Field:
        return self._uv("")

    def _mapping(self, node: bpy.types.Node) -> Field:
        settings = [node.inputs[name] for name in ("Location", "Rotation", "Scale")]
        if node.vector_type != "POINT" or any(one.is_linked for one in settings):
            raise NotKnown(f"{node.name}: computed, or not a point's")
        location, rotation, scale = (np.array(one.default_value, np.float32) for one in settings)
        matrix = np.array(Euler(rotation).to_matrix(), np.float32) * scale
        vector = self._input(node.inputs["Vector"])
        return lambda places: vector(places) @ matrix.T + location

    def _vertex_color(self, node: bpy.types.Node) -> Field:
        return self._color_attribute(node.layer_name)

    def _attribute(self, node: bpy.types.Node) -> Field:
        if node.attribute_type != "GEOMETRY" or not node.attribute_name:
            raise NotKnown(f"{node.name}: an attribute of the {node.attribute_type.lower()}")
        return self._color_attribute(node.attribute_name)

    def _color_attribute(self, name: str) -> Field:
        values = self._corners.color(name)
        return lambda places: places.between(values)

    def _mix(self, node: bpy.types.Node) -> Field:
        blend = _BLENDS.get(node.blend_type)
        if node.data_type != "RGBA" or blend is None:
            raise NotKnown(f"{node.name}: {node.blend_type}")
        share, first, second = (
            self._input(next(one for one in node.inputs if one.identifier == name))
            for name in ("Factor_Float", "A_Color", "B_Color")
        )

        def mixed(places: Places) -> np.ndarray:
            a, b, t = first(places), second(places), share(places)
            t = (t.clip(0, 1) if node.clamp_factor else t).reshape(-1, 1)
            result = a + t * (blend(a, b) - a)
            return result.clip(0, 1) if node.clamp_result else result

        return mixed

    def _math(self, node: bpy.types.Node) -> Field:
        operation = _OPERATIONS.get(node.operation)
        if operation is None:
            raise NotKnown(f"{node.name}: {node.operation}")
        first, second = self._input(node.inputs[0]), self._input(node.inputs[1])

        def computed(places: Places) -> np.ndarray:
            result = operation(first(places), second(places))
            return result.clip(0, 1) if node.use_clamp else result

        return computed


def _texels(image: bpy.types.Image) -> tuple[np.ndarray, tuple[int, int]]:
    """(H * W,) uint32 RGBA, a byte each, and H, W. Raises NotKnown.

    Pillow reads them in a fourth of the time and the memory that Blender takes to hand over its own.
    """
    try:
        with opened(image) as file:
            if not _is_plain(file, image):
                raise NotKnown(f"{image.name}: a {file.mode} image, its alpha {image.alpha_mode.lower()}")
            flat = file.convert("RGB") if image.alpha_mode == "NONE" else file
            return np.frombuffer(flat.convert("RGBA").tobytes(), np.uint32), (file.height, file.width)
    except UNREADABLE as error:
        raise NotKnown(f"{image.name}: {error}") from error


def _is_plain(file: Image.Image, image: bpy.types.Image) -> bool:
    """Whether Cycles keeps an image's bytes as they are: it multiplies colors by a straight alpha."""
    return (
        file.mode in _EIGHT_BITS
        and ";16" not in str(getattr(file, "tile", ""))  # two bytes each, which Blender keeps as floats
        and file.width * file.height <= LARGEST
        and (
            image.alpha_mode in ("CHANNEL_PACKED", "NONE")
            or not _is_srgb(image)
            or not file.has_transparency_data
        )
    )


def _is_srgb(image: bpy.types.Image | None) -> bool:
    return image is not None and image.colorspace_settings.name == "sRGB"


def _require_plain(node: bpy.types.Node) -> None:
    """Raise NotKnown for an image texture that `Texture` does not sample as Cycles does."""
    image, mapping = node.image, node.texture_mapping
    plain = (
        image is not None
        and image.source == "FILE"
        and image.colorspace_settings.name in ("sRGB", "Non-Color")
        and node.projection == "FLAT"
        and node.interpolation in ("Linear", "Closest")
        and node.extension in ("REPEAT", "EXTEND", "MIRROR")
        and (*mapping.translation, *mapping.rotation, *mapping.scale) == (0, 0, 0, 0, 0, 0, 1, 1, 1)
        and (mapping.mapping_x, mapping.mapping_y, mapping.mapping_z) == ("X", "Y", "Z")
    )
    if not plain:
        raise NotKnown(f"{node.name}: an image or a setting that is rare")


_RULES: dict[tuple[str, str], Callable[[Graph, bpy.types.Node], Field]] = {
    ("TEX_IMAGE", "Color"): Graph._image_color,
    ("TEX_IMAGE", "Alpha"): Graph._image_alpha,
    ("UVMAP", "UV"): Graph._uv_map,
    ("TEX_COORD", "UV"): Graph._default_uv,
    ("MAPPING", "Vector"): Graph._mapping,
    ("VERTEX_COLOR", "Color"): Graph._vertex_color,
    ("ATTRIBUTE", "Color"): Graph._attribute,
    ("MIX", "Result"): Graph._mix,
    ("MATH", "Value"): Graph._math,
}
_BLENDS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "MIX": lambda _, b: b,
    "ADD": np.add,
    "MULTIPLY": np.multiply,
    "LIGHTEN": np.maximum,
}
_OPERATIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "ADD": np.add,
    "SUBTRACT": np.subtract,
    "MULTIPLY": np.multiply,
    "DIVIDE": lambda a, b: np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape, np.float32), where=b != 0),
    "MINIMUM": np.minimum,
    "MAXIMUM": np.maximum,
    "LESS_THAN": lambda a, b: np.less(a, b).astype(np.float32),
    "GREATER_THAN": lambda a, b: np.greater(a, b).astype(np.float32),
}
