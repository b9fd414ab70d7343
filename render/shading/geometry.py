"""The geometry render: every surface that a pixel's ray crosses, from one 1-sample Cycles render a view.

Every surface is a pure Transparent BSDF, so the camera ray walks through the whole object. One node group,
shared by all materials, writes packed value AOVs gated by the ray's transparent depth: slot j holds the j-th
surface's base color, normal and signed depth (negative where alpha is below 0.5: a hole). Cycles adds AOVs
along the path, and sample 0 goes through the pixel center, so every slot is exact. docs/layers.md tells how.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
import OpenEXR

from render.bundle import Camera, Layer
from render.failures import FailureClass, ModelFailure
from render.shading.color import move_camera, new_camera

MOST_SLOTS = 256  # give up on a ray that crosses as many holes before its first surface
KINDS = ("color", "normal", "depth")
COINCIDE = 3e-6  # of the distance: surfaces nearer together are one, told apart by rounding only
DEEPEST_WALK = 1024  # Cycles' own limit on transparent surfaces


@dataclass(frozen=True)
class Surfaces:
    """The N solid surfaces that one view's rays cross, ray by ray, nearest first."""

    pixel: np.ndarray  # (N,) int64, row-major
    rank: np.ndarray  # (N,) int64: the how manieth of its ray, from 0
    depth: np.ndarray  # (N,) float32, planar z, normalized units
    albedo: np.ndarray  # (N, 3) uint8 sRGB
    normal: np.ndarray  # (N, 3) float32, world, facing the camera
    shape: tuple[int, int]  # height and width of the view

    @property
    def deepest(self) -> int:
        """The largest number of surfaces along a ray."""
        return int(self.rank.max(initial=-1)) + 1

    def layer(self, rank: int) -> Layer:
        """The images of every ray's surface number `rank`."""
        there = self.rank == rank
        place = self.pixel[there]
        images = []
        for values in (self.depth, self.albedo, self.normal):
            image = np.zeros((self.shape[0] * self.shape[1], *values.shape[1:]), values.dtype)
            image[place] = values[there]
            images.append(image.reshape(*self.shape, *values.shape[1:]))
        return Layer(*images)


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

    def surfaces(self, camera: Camera, outline: np.ndarray, deepest: int) -> Surfaces:
        """The first `deepest` surfaces of every ray; renders again with the base raised while a ray has more.

        Holes count on the way down, but every ray's first solid surface is looked for behind any of them.
        """
        found = []
        for start, slots in self._chunks(camera, outline):
            found.append(_solid(slots))
            reached = start + self.slots
            more = slots.crossed > reached
            if reached >= deepest:  # only holes so far: look on
                more.ravel()[np.concatenate([hits.pixel for hits in found])] = False
            if not more.any():
                break
        return _in_order(found, deepest)

    def _chunks(self, camera: Camera, outline: np.ndarray) -> Iterator[tuple[int, Slots]]:
        """The first `slots` surfaces of each ray, the next, and so on; each chunk with its start."""
        move_camera(self._camera, camera, outline)
        for start in range(0, MOST_SLOTS, self.slots):
            if self._base.default_value != start:  # even an equal value would send the geometry anew
                self._base.default_value = start
            bpy.context.scene.render.filepath = str(self._path)
            bpy.ops.render.render(write_still=True)
            slots = _read_exr(self._path, start)
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
    cycles.pixel_filter_type, cycles.filter_width = "GAUSSIAN", 0.01  # a wide one misses the center by 5e-4
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


def _read_exr(path: Path, start: int) -> Slots:
    """The slots that any ray has filled. Raises ModelFailure where a surface stopped the rays."""
    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = {name.split(".", 1)[1]: c.pixels for name, c in file.parts[0].channels.items()}
        if channels["Combined.A"].any():  # every surface is transparent, unless its shader was not compiled
            raise ModelFailure(
                FailureClass.RENDER_ERROR,
                "A material's shader is too large for Cycles once the surface record is added to it, so that "
                "rays end there. Fewer --slots need less.",
            )
        crossed = np.rint(channels["count.X"]).astype(np.int32)
        used = [j for j in range(crossed.max() - start) if f"depth{j}.X" in channels]
        if not used:
            nothing = np.zeros((1, *crossed.shape), np.float32)
            return Slots(nothing, nothing, nothing, crossed)
        color, normal, depth = (np.stack([channels[f"{kind}{j}.X"] for j in used]) for kind in KINDS)
    return Slots(color, normal, depth, crossed)


def _solid(slots: Slots) -> Surfaces:
    """Leave out holes and unpack; ranks are given later."""
    slot, row, column = np.nonzero(slots.depth > 0)
    pixel = row * slots.depth.shape[2] + column
    unit = (_bytes(slots.normal[slot, row, column]) - 128) / np.float32(127)
    unit /= np.sqrt(np.einsum("ij,ij->i", unit, unit))[:, None]
    albedo = _bytes(slots.color[slot, row, column] - 1).astype(np.uint8)
    depth = slots.depth[slot, row, column]
    height, width = slots.depth.shape[1:]
    return Surfaces(pixel, slot, depth, albedo, unit.astype(np.float32), (height, width))


def _in_order(chunks: list[Surfaces], deepest: int) -> Surfaces:
    """Join the chunks of one view, sort each ray by depth, merge coinciding surfaces and number the rest."""
    names = ("pixel", "depth", "albedo", "normal")
    pixel, depth, albedo, normal = (np.concatenate([getattr(c, name) for c in chunks]) for name in names)
    order = np.lexsort((depth, pixel))
    apart = np.ones(len(order), bool)
    same_ray = np.diff(pixel[order]) == 0
    apart[1:] = ~same_ray | (np.diff(depth[order]) > COINCIDE * depth[order][1:])
    order = order[apart]
    pixel = pixel[order]
    rank = np.arange(len(pixel)) - np.searchsorted(pixel, pixel)
    kept, order = rank < deepest, order[rank < deepest]
    return Surfaces(pixel[kept], rank[kept], depth[order], albedo[order], normal[order], chunks[0].shape)


def _bytes(packed: np.ndarray) -> np.ndarray:
    """(N,) whole numbers -> (N, 3) int32, their three lowest bytes."""
    packed = packed.astype(np.int32)
    return np.stack([packed & 255, packed >> 8 & 255, packed >> 16 & 255], -1)
