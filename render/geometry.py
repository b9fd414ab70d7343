"""The geometry render: every surface that a pixel's ray crosses, from one 1-sample Cycles render a view.

Every surface is a pure Transparent BSDF, so the camera ray walks through the whole object. One node group,
shared by all materials, writes packed value AOVs gated by the ray's transparent depth: slot j holds the j-th
surface's base colour, normal and signed depth (negative where alpha is below 0.5: a hole). Cycles adds AOVs
along the path, and sample 0 goes through the pixel centre, so every slot is exact. docs/layers.md tells how.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
import OpenEXR

from render.bundle import Camera
from render.colour import move_camera, new_camera
from render.failures import ModelFailure

MOST_SLOTS = 256  # give up on a ray that crosses more surfaces
KINDS = ("color", "normal", "depth")
DEEPEST_WALK = 1024  # Cycles' own limit on transparent surfaces


@dataclass(frozen=True)
class Surfaces:
    """The solid surfaces along each pixel's ray, nearest first; slots past the last one are 0."""

    depth: np.ndarray  # (S, H, W) float32, planar z, normalised units
    albedo: np.ndarray  # (S, H, W, 3) uint8 sRGB
    normal: np.ndarray  # (S, H, W, 3) float32, world, facing the camera


@dataclass(frozen=True)
class Slots:
    """One render's AOVs, as packed: all surfaces along each ray, holes too."""

    color: np.ndarray  # (S, H, W) float32
    normal: np.ndarray  # (S, H, W) float32
    depth: np.ndarray  # (S, H, W) float32, negative for a hole, 0 for nothing
    crossed: np.ndarray  # (H, W) int32, of the whole ray


class GeometryRenderer:
    """Renders surfaces view by view, once `materials.switch_to_surface_records(renderer.group)` is done."""

    def __init__(self, slots: int, resolution: int, threads: int, scratch: Path):
        self.slots = slots
        self.group, self._base = _record_group(slots)
        self._path = scratch / "geometry.exr"
        self._camera = new_camera(resolution)
        _use_geometry_engine(slots, threads)

    def first_surface(self, camera: Camera, outline: np.ndarray) -> Surfaces:
        """Render until every ray has its first solid surface or has left the model. One slot."""
        found: Surfaces | None = None
        for start, slots in self._chunks(camera, outline):
            nearest = _solid(slots, keep=1)
            found = nearest if found is None else _where_empty(found, nearest)
            if not ((slots.crossed > start + self.slots) & (found.depth[0] == 0)).any():
                break
        assert found is not None
        return found

    def _chunks(self, camera: Camera, outline: np.ndarray) -> Iterator[tuple[int, Slots]]:
        """The first `slots` surfaces of each ray, the next, and so on; each chunk with its start."""
        move_camera(self._camera, camera, outline)
        for start in range(0, MOST_SLOTS, self.slots):
            if self._base.default_value != start:  # even an equal value would send the geometry anew
                self._base.default_value = start
            bpy.context.scene.render.filepath = str(self._path)
            bpy.ops.render.render(write_still=True)
            slots = _read_exr(self._path)
            self._path.unlink()  # before the yield: the last chunk asked for is not come back to
            yield start, slots


def _use_geometry_engine(slots: int, threads: int) -> None:
    """Cycles on the CPU, exactly one sample, float EXR with the AOVs."""
    scene = bpy.context.scene
    render, cycles = scene.render, scene.cycles
    render.engine, cycles.device = "CYCLES", "CPU"
    render.use_persistent_data = False  # a change of samples is ignored while a session persists
    render.use_persistent_data = True
    render.threads_mode, render.threads = "FIXED", threads
    render.film_transparent = True
    render.use_motion_blur = render.use_simplify = False
    cycles.samples, cycles.seed = 1, 0
    cycles.use_adaptive_sampling = cycles.use_denoising = False
    cycles.pixel_filter_type, cycles.filter_width = "GAUSSIAN", 0.01  # a wide one misses the centre by 5e-4
    cycles.transparent_max_bounces = DEEPEST_WALK
    layer = bpy.context.view_layer
    layer.pass_alpha_threshold = 0.5  # must be above 0, else the walk ends at the first surface
    layer.use_pass_z = False
    for name in _aov_names(slots):
        aov = layer.aovs.add()
        aov.name, aov.type = name, "VALUE"
    settings = render.image_settings
    settings.file_format, settings.color_depth, settings.exr_codec = "OPEN_EXR_MULTILAYER", "32", "NONE"


def _aov_names(slots: int) -> list[str]:
    return [f"{kind}{j}" for j in range(slots) for kind in KINDS] + ["count"]


# ---- the node group --------------------------------------------------------------------------------------


def _record_group(slots: int) -> tuple[bpy.types.NodeTree, bpy.types.NodeSocket]:
    """The shared group (Color, Alpha in; Surface out) and the socket that holds its first slot's number."""
    tree = bpy.data.node_groups.new("InsideOut surface record", "ShaderNodeTree")
    tree.interface.new_socket("Color", in_out="INPUT", socket_type="NodeSocketColor")
    tree.interface.new_socket("Alpha", in_out="INPUT", socket_type="NodeSocketFloat")
    tree.interface.new_socket("Surface", in_out="OUTPUT", socket_type="NodeSocketShader")
    entry, end = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    through = tree.nodes.new("ShaderNodeBsdfTransparent")
    tree.links.new(through.outputs[0], end.inputs[0])

    math = _Math(tree)
    base = tree.nodes.new("ShaderNodeValue").outputs[0]
    walked = tree.nodes.new("ShaderNodeLightPath").outputs["Transparent Depth"]
    slot = math("SUBTRACT", walked, base)
    packed = {
        "color": _packed_color(tree, math, entry.outputs["Color"]),
        "normal": _packed_normal(tree, math),
        "depth": _signed_depth(tree, math, entry.outputs["Alpha"]),
    }
    for j in range(slots):
        gate = math("COMPARE", slot, float(j), 0.5)
        for kind, value in packed.items():
            _write_aov(tree, f"{kind}{j}", math("MULTIPLY", value, gate))
    _write_aov(tree, "count", 1.0)
    return tree, base


class _Math:
    """Shorthand for Math nodes of one tree: operands are sockets or constants."""

    def __init__(self, tree: bpy.types.NodeTree):
        self.tree = tree

    def __call__(self, operation: str, *operands: bpy.types.NodeSocket | float, clamp: bool = False):
        node = self.tree.nodes.new("ShaderNodeMath")
        node.operation, node.use_clamp = operation, clamp
        for operand, socket in zip(operands, node.inputs, strict=False):
            if isinstance(operand, float):
                socket.default_value = operand
            else:
                self.tree.links.new(operand, socket)
        return node.outputs[0]


def _write_aov(tree: bpy.types.NodeTree, name: str, value: bpy.types.NodeSocket | float) -> None:
    node = tree.nodes.new("ShaderNodeOutputAOV")
    node.aov_name = name
    if isinstance(value, float):
        node.inputs["Value"].default_value = value
    else:
        tree.links.new(value, node.inputs["Value"])


def _packed_color(tree: bpy.types.NodeTree, math: _Math, color: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """1 + R + 256 G + 65536 B of the sRGB bytes: whole numbers up to 2^24 are exact in float32."""
    split = tree.nodes.new("ShaderNodeSeparateColor")
    tree.links.new(color, split.inputs[0])
    total = 1.0
    for channel, weight in zip(split.outputs, (1.0, 256.0, 65536.0), strict=True):
        total = math("MULTIPLY_ADD", _srgb_byte(math, channel), weight, total)
    return total  # type: ignore[return-value]


def _srgb_byte(math: _Math, linear: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """Linear Rec.709 -> 0..255 rounded (IEC 61966-2-1)."""
    linear = math("MULTIPLY", linear, 1.0, clamp=True)
    curve = math("MULTIPLY_ADD", math("POWER", linear, 1 / 2.4), 1.055, -0.055)
    toe = math("MULTIPLY", linear, 12.92)
    low = math("LESS_THAN", linear, 0.0031308)
    encoded = math("MULTIPLY_ADD", math("SUBTRACT", toe, curve), low, curve)
    return math("ROUND", math("MULTIPLY", encoded, 255.0))


def _packed_normal(tree: bpy.types.NodeTree, math: _Math) -> bpy.types.NodeSocket:
    """The true (flat) normal, which Cycles turns to face the ray: three whole numbers -127..127, plus 128."""
    geometry = tree.nodes.new("ShaderNodeNewGeometry")
    split = tree.nodes.new("ShaderNodeSeparateXYZ")
    tree.links.new(geometry.outputs["True Normal"], split.inputs[0])
    total = 0.0
    for axis, weight in zip(split.outputs, (1.0, 256.0, 65536.0), strict=True):
        byte = math("ROUND", math("MULTIPLY_ADD", axis, 127.0, 128.0))
        total = math("MULTIPLY_ADD", byte, weight, total)
    return total  # type: ignore[return-value]


def _signed_depth(tree: bpy.types.NodeTree, math: _Math, alpha: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """Planar z, negative where alpha is below 0.5."""
    depth = tree.nodes.new("ShaderNodeCameraData").outputs["View Z Depth"]
    hole = math("LESS_THAN", alpha, 0.5)
    return math("MULTIPLY", depth, math("MULTIPLY_ADD", hole, -2.0, 1.0))


# ---- reading it back -------------------------------------------------------------------------------------


def _read_exr(path: Path) -> Slots:
    """The slots that any ray has filled. Raises ModelFailure where the shader ran out of stack: all are 0."""
    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = {name.split(".")[1]: c.pixels for name, c in file.parts[0].channels.items()}
        crossed = np.rint(channels["count"]).astype(np.int32)
        used = [j for j in range(crossed.max()) if f"depth{j}" in channels]
        if not used:
            nothing = np.zeros((1, *crossed.shape), np.float32)
            return Slots(nothing, nothing, nothing, crossed)
        color, normal, depth = (np.stack([channels[f"{kind}{j}"] for j in used]) for kind in KINDS)
    if not depth.any():
        raise ModelFailure(
            "render_error", "The geometry render recorded nothing: a shader is too large for Cycles' stack."
        )
    return Slots(color, normal, depth, crossed)


def _solid(slots: Slots, keep: int) -> Surfaces:
    """Drop holes, close ranks, keep and unpack the first `keep` slots."""
    order = np.argsort(slots.depth <= 0, axis=0, kind="stable")[:keep]
    color, normal, depth = (np.take_along_axis(a, order, 0) for a in (slots.color, slots.normal, slots.depth))
    there = depth > 0
    unit = (_bytes(np.where(there, normal, 0)) - 128) / np.float32(127)
    unit /= np.sqrt(np.einsum("...i,...i", unit, unit))[..., None]
    return Surfaces(
        np.where(there, depth, 0),
        _bytes(np.where(there, color - 1, 0)).astype(np.uint8),
        np.where(there[..., None], unit, 0).astype(np.float32),
    )


def _bytes(packed: np.ndarray) -> np.ndarray:
    """(...) whole numbers -> (..., 3) int32, their three lowest bytes."""
    packed = packed.astype(np.int32)
    return np.stack([packed & 255, packed >> 8 & 255, packed >> 16 & 255], -1)


def _where_empty(first: Surfaces, second: Surfaces) -> Surfaces:
    """`first`, and `second` where it has nothing."""
    there = first.depth > 0
    return Surfaces(
        np.where(there, first.depth, second.depth),
        np.where(there[..., None], first.albedo, second.albedo),
        np.where(there[..., None], first.normal, second.normal),
    )
