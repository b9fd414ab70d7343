"""Every surface that a pixel's ray crosses, by Cycles: from one 1-sample render per view, of any material.

Every surface is a pure Transparent BSDF, so the camera ray continues through the whole object. One node
group, shared by all materials, writes one AOV per slot, gated by the ray's transparent depth: slot j holds
the packed base color, packed normal and signed depth of surface j (negative where alpha is below 0.5: a
hole). Cycles sums AOVs along the path, and sample 0 goes through the pixel center, so every slot is exact.
docs/layers.md explains it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
import OpenEXR

from render.bundle import Camera
from render.failures import FailureClass, ModelFailure
from render.shading.basecolor import Base
from render.shading.camera import ViewCamera, Window
from render.shading.shots import keep_floats
from render.surfaces.rays import HOLE, Surfaces, along_rays

MAX_SURFACES = 256  # per ray, holes included; surfaces behind these are ignored
KNEE = 0.0031308  # linear light up to which sRGB is a straight line
Operand = bpy.types.NodeSocket | float | tuple[float, ...]
MAX_TRANSPARENT = 1024  # Cycles' own limit on transparent surfaces


@dataclass(frozen=True)
class Slots:
    """One render's AOVs, still packed: `S` surfaces along each ray of the window, holes included."""

    color: np.ndarray  # (S, H, W) float32
    normal: np.ndarray  # (S, H, W) float32
    depth: np.ndarray  # (S, H, W) float32 planar z, negative for a hole, 0 for no surface
    crossed: np.ndarray  # (H, W) int32: surfaces that the whole ray crosses


class GeometryRenderer:
    """Renders all surfaces of a view. Call `switch_to_records(renderer.group, ...)` first."""

    def __init__(self, slots: int, resolution: int, threads: int, scratch: Path):
        self.slots = slots
        self.group, self._base = _record_group(slots)
        self._path = scratch / "geometry.exr"
        self._camera = ViewCamera(resolution)
        _use_geometry_engine(slots, threads)

    def surfaces(self, cameras: list[Camera], outline: np.ndarray, deepest: int) -> list[Surfaces]:
        """The first `deepest` surfaces of every ray of each view.

        Views with deeper rays are rendered again with a higher base, all after the others: a change of base
        sends Cycles the geometry again. Holes use up slots, but each ray is followed behind them until its
        first solid surface is found. `outline` (N, 3) encloses the model, as in `ViewCamera.move`.
        """
        found: list[list[Surfaces]] = [[] for _ in cameras]
        left: dict[int, np.ndarray | None] = dict.fromkeys(range(len(cameras)))  # view -> its deeper pixels
        for start in range(0, MAX_SURFACES, self.slots):
            if left and start:
                self._base.default_value = start
            for view, pixels in list(left.items()):
                slots = self._render(cameras[view], outline, start, pixels)
                window = self._camera.window
                found[view].append(_solid(slots, window))
                left[view] = deeper = window.paste(slots.crossed > start + self.slots)
                if start + self.slots >= deepest:  # go on only for rays that crossed nothing but holes
                    deeper.ravel()[np.concatenate([hits.pixel for hits in found[view]])] = False
                if not deeper.any():
                    del left[view]
        return [_in_order(chunks, deepest) for chunks in found]

    def _render(self, camera: Camera, outline: np.ndarray, start: int, pixels: np.ndarray | None) -> Slots:
        """The surfaces from index `start` on; `pixels`, (H, W) bool, are the only ones that have any."""
        self._camera.move(camera, outline)
        if pixels is not None:
            self._camera.crop(pixels)
        bpy.context.scene.render.filepath = str(self._path)
        bpy.ops.render.render(write_still=True)
        slots = _read_exr(self._path, start)
        self._path.unlink()
        return slots


def switch_to_records(group: bpy.types.NodeTree, bases: dict[bpy.types.Material, Base]) -> None:
    """Replace every material's lit shader with `group`, fed by its base color and alpha."""
    for material, base in bases.items():
        tree = material.node_tree
        node = tree.nodes.new("ShaderNodeGroup")
        node.node_tree = group
        base.feed(tree, node.inputs["Color"], node.inputs["Alpha"])
        for output in [n for n in tree.nodes if n.type == "OUTPUT_MATERIAL"]:
            tree.nodes.remove(output)
        output = tree.nodes.new("ShaderNodeOutputMaterial")
        tree.links.new(node.outputs["Surface"], output.inputs["Surface"])


def _use_geometry_engine(slots: int, threads: int) -> None:
    """Cycles on the CPU, exactly one sample, float EXR with the AOVs."""
    scene = bpy.context.scene
    render, cycles = scene.render, scene.cycles
    render.engine, cycles.device = "CYCLES", "CPU"
    render.use_persistent_data = False  # a persistent session ignores a change of samples
    render.use_persistent_data = True
    render.threads_mode, render.threads = "FIXED", threads
    render.film_transparent = True
    render.use_motion_blur = render.use_simplify = False
    cycles.samples, cycles.seed, cycles.use_sample_subset = 1, 0, False
    cycles.use_adaptive_sampling = cycles.use_denoising = False
    cycles.pixel_filter_type, cycles.filter_width = "GAUSSIAN", 0.01  # a wider one misses the center by 5e-4
    cycles.transparent_max_bounces = MAX_TRANSPARENT
    layer = bpy.context.view_layer
    layer.pass_alpha_threshold = 0.5  # at 0, the ray would end at the first surface
    for name in [*(f"slot{j}" for j in range(slots)), "count"]:
        aov = layer.aovs.add()
        aov.name, aov.type = name, "VALUE" if name == "count" else "COLOR"
    keep_floats()


# ---- the node group --------------------------------------------------------------------------------------


def _record_group(slots: int) -> tuple[bpy.types.NodeTree, bpy.types.NodeSocket]:
    """The shared group (inputs Color, Alpha; output Surface) and the socket with its first slot's index."""
    tree = bpy.data.node_groups.new("InsideOut surface record", "ShaderNodeTree")
    tree.interface.new_socket("Color", in_out="INPUT", socket_type="NodeSocketColor")
    tree.interface.new_socket("Alpha", in_out="INPUT", socket_type="NodeSocketFloat")
    tree.interface.new_socket("Surface", in_out="OUTPUT", socket_type="NodeSocketShader")
    entry, end = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    through = tree.nodes.new("ShaderNodeBsdfTransparent")
    tree.links.new(through.outputs[0], end.inputs[0])

    math, vector = _Math(tree, "ShaderNodeMath"), _Math(tree, "ShaderNodeVectorMath")
    base = tree.nodes.new("ShaderNodeValue").outputs[0]
    walked = tree.nodes.new("ShaderNodeLightPath").outputs["Transparent Depth"]
    slot = math("SUBTRACT", walked, base)
    record = tree.nodes.new("ShaderNodeCombineXYZ")
    values = (
        _packed_color(tree, math, vector, entry.outputs["Color"]),
        _packed_normal(tree, vector),
        _signed_depth(tree, math, entry.outputs["Alpha"]),
    )
    for value, axis in zip(values, record.inputs, strict=True):
        tree.links.new(value, axis)
    for j in range(slots):
        gated = vector("SCALE", record.outputs[0], scale=math("COMPARE", slot, float(j), 0.5))
        _aov(tree, f"slot{j}", gated, "Color")
    one = tree.nodes.new("ShaderNodeValue").outputs[0]
    one.default_value = 1.0
    _aov(tree, "count", one, "Value")
    return tree, base


class _Math:
    """Shorthand for one tree's Math or Vector Math nodes; operands are sockets or constants."""

    def __init__(self, tree: bpy.types.NodeTree, kind: str):
        self.tree, self.kind = tree, kind

    def __call__(
        self, operation: str, *operands: Operand, scale: Operand | None = None
    ) -> bpy.types.NodeSocket:
        node = self.tree.nodes.new(self.kind)
        node.operation = operation
        for operand, socket in zip(operands, node.inputs, strict=False):
            self._plug(operand, socket)
        if scale is not None:
            self._plug(scale, node.inputs["Scale"])
        return next(output for output in node.outputs if output.enabled)

    def _plug(self, operand: Operand, socket: bpy.types.NodeSocket) -> None:
        if isinstance(operand, bpy.types.NodeSocket):
            self.tree.links.new(operand, socket)
        else:
            socket.default_value = operand


def _aov(tree: bpy.types.NodeTree, name: str, value: bpy.types.NodeSocket, kind: str) -> None:
    node = tree.nodes.new("ShaderNodeOutputAOV")
    node.aov_name = name
    tree.links.new(value, node.inputs[kind])


def _packed_color(
    tree: bpy.types.NodeTree, math: _Math, vector: _Math, linear: bpy.types.NodeSocket
) -> bpy.types.NodeSocket:
    """1 + R + 256 G + 65536 B of the sRGB bytes: integers up to 2^24 are exact in float32.

    `render.srgb.linear_to_srgb` as shader nodes, of three channels at once: below KNEE the curve lies under
    the straight part, above it over the part's end.
    """
    linear = vector("MINIMUM", vector("MAXIMUM", linear, (0.0,) * 3), (1.0,) * 3)
    power = tree.nodes.new("ShaderNodeGamma")
    power.inputs["Gamma"].default_value = 1 / 2.4
    tree.links.new(linear, power.inputs["Color"])
    curve = vector("MULTIPLY_ADD", power.outputs[0], (1.055,) * 3, (-0.055,) * 3)
    straight = vector("MINIMUM", vector("SCALE", linear, scale=12.92), (12.92 * KNEE,) * 3)
    byte = _rounded(vector, vector("MAXIMUM", curve, straight), 255.0, 0.0)
    return math("ADD", _packed(vector, byte), 1.0)


def _packed_normal(tree: bpy.types.NodeTree, vector: _Math) -> bpy.types.NodeSocket:
    """The true (flat) normal, which Cycles turns toward the ray: three integers -127..127, plus 128."""
    normal = tree.nodes.new("ShaderNodeNewGeometry").outputs["True Normal"]
    return _packed(vector, _rounded(vector, normal, 127.0, 128.0))


def _rounded(vector: _Math, value: bpy.types.NodeSocket, scale: float, shift: float) -> bpy.types.NodeSocket:
    scaled = vector("MULTIPLY_ADD", value, (scale,) * 3, (shift,) * 3)
    return vector("FLOOR", vector("ADD", scaled, (0.5,) * 3))


def _packed(vector: _Math, byte: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    return vector("DOT_PRODUCT", byte, (1.0, 256.0, 65536.0))


def _signed_depth(tree: bpy.types.NodeTree, math: _Math, alpha: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """Planar z, negative where alpha is below 0.5."""
    depth = tree.nodes.new("ShaderNodeCameraData").outputs["View Z Depth"]
    hole = math("LESS_THAN", alpha, HOLE)
    return math("MULTIPLY", depth, math("MULTIPLY_ADD", hole, -2.0, 1.0))


# ---- reading it back -------------------------------------------------------------------------------------


def _read_exr(path: Path, start: int) -> Slots:
    """The slots that any ray filled. Raises ModelFailure if a surface stopped rays."""
    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = {name.split(".", 1)[1]: c.pixels for name, c in file.parts[0].channels.items()}
        if channels["Combined.A"].any():  # every surface is transparent unless its shader failed to compile
            raise ModelFailure(
                FailureClass.RENDER_ERROR,
                "A material's shader is too large for Cycles with the surface record added, so rays end "
                "there. Use fewer --slots.",
            )
        crossed = np.rint(channels["count.X"]).astype(np.int32)
        used = [j for j in range(crossed.max() - start) if f"slot{j}.R" in channels]
        if not used:
            nothing = np.zeros((1, *crossed.shape), np.float32)
            return Slots(nothing, nothing, nothing, crossed)
        color, normal, depth = (np.stack([channels[f"slot{j}.{axis}"] for j in used]) for axis in "RGB")
    return Slots(color, normal, depth, crossed)


def _solid(slots: Slots, window: Window) -> Surfaces:
    """Drop holes and unpack the rest; `rank` holds the slot until `_in_order`."""
    slot, row, column = np.nonzero(slots.depth > 0)
    pixel = window.pixel(row, column)
    unit = (_bytes(slots.normal[slot, row, column]) - 128) / np.float32(127)
    unit /= np.sqrt(np.einsum("ij,ij->i", unit, unit))[:, None]
    albedo = _bytes(slots.color[slot, row, column] - 1).astype(np.uint8)
    depth = slots.depth[slot, row, column]
    return Surfaces(pixel, slot, depth, albedo, unit.astype(np.float32), (window.size, window.size))


def _in_order(chunks: list[Surfaces], deepest: int) -> Surfaces:
    """Join one view's chunks and put them in order."""
    names = ("pixel", "depth", "albedo", "normal")
    pixel, depth, albedo, normal = (np.concatenate([getattr(c, name) for c in chunks]) for name in names)
    order, rank = along_rays(pixel, depth, deepest)
    return Surfaces(pixel[order], rank, depth[order], albedo[order], normal[order], chunks[0].shape)


def _bytes(packed: np.ndarray) -> np.ndarray:
    """(N,) integers in float32 -> (N, 3) int32, their three lowest bytes."""
    packed = packed.astype(np.int32)
    return np.stack([packed & 255, packed >> 8 & 255, packed >> 16 & 255], -1)
