"""Which frame of an animated model is rendered: frame 1, unless a part has not grown to its size by then."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import bpy
import numpy as np

COLLAPSED = 0.5
"""Below this share of the largest scale that its animation reaches, a part has not appeared yet."""
GROWN = 0.999
MOST_KEYS = 500  # candidate frames
_MOST_NUMBERS = 20_000_000  # that are computed for one part's blend shapes


class Part(NamedTuple):
    """Something whose size is animated."""

    frames: list[int]
    """Where a key stands."""
    size: Callable[[float], float]
    """At a frame, in any unit."""


def settled_frame(frame: int) -> int:
    """`frame`, or if a part has not appeared by then, the first keyed frame where all have their size.

    Parts that appear by growing from a scale of zero, or from a point by a blend shape, would be missing, or
    a speck. Where parts take turns, so that there is no such frame, `frame` stays.
    """
    parts = [*_scaled(), *_shaped()]
    keys = sorted({key for part in parts for key in part.frames if key > frame})[:MOST_KEYS]
    largest = [max(part.size(key) for key in (frame, *keys)) for part in parts]

    def all_reach(share: float, at: int) -> bool:
        return all(part.size(at) >= share * most for part, most in zip(parts, largest, strict=True))

    if all_reach(COLLAPSED, frame):
        return frame
    return next((key for key in keys if all_reach(GROWN, key)), frame)


def _scaled() -> Iterator[Part]:
    """Each axis of an object's or a bone's scale that is animated."""
    for thing in bpy.context.scene.objects:
        for curve in _curves(thing):
            if curve.data_path.split(".")[-1] == "scale":
                yield Part(_frames(curve), lambda at, curve=curve: abs(curve.evaluate(at)))


def _shaped() -> Iterator[Part]:
    """Each mesh whose blend shapes are animated, unless that is much to compute."""
    for thing in bpy.context.scene.objects:
        shapes = thing.data.shape_keys if isinstance(thing.data, bpy.types.Mesh) else None
        curves = {curve.data_path: curve for curve in _curves(shapes) if curve.data_path.endswith(".value")}
        if shapes is None or not curves:
            continue
        frames = sorted({frame for curve in curves.values() for frame in _frames(curve)})
        if len(shapes.key_blocks) * len(shapes.reference_key.data) * (len(frames) + 1) <= _MOST_NUMBERS:
            yield Part(frames, _size_of_shapes(shapes, curves))


def _size_of_shapes(shapes: bpy.types.Key, curves: dict[str, bpy.types.FCurve]) -> Callable[[float], float]:
    """The longest side of a mesh at a frame."""
    rest = _positions(shapes.reference_key)
    moves = []
    for block in shapes.key_blocks:
        curve = curves.get(f'key_blocks["{bpy.utils.escape_identifier(block.name)}"].value')
        move = _positions(block) - _positions(block.relative_key)
        moves.append((curve.evaluate if curve else lambda _, value=block.value: value, move))

    def size(at: float) -> float:
        points = rest + sum(weight(at) * move for weight, move in moves)
        return float(np.ptp(points, axis=0).max()) if len(points) else 0.0

    return size


def _positions(block: bpy.types.ShapeKey) -> np.ndarray:
    """(V, 3) float32"""
    points = np.empty(len(block.data) * 3, np.float32)
    block.data.foreach_get("co", points)
    return points.reshape(-1, 3)


def _frames(curve: bpy.types.FCurve) -> list[int]:
    return [math.ceil(point.co.x) for point in curve.keyframe_points]


def _curves(thing: Any) -> Iterator[bpy.types.FCurve]:
    """The curves of an object or of a mesh's shapes."""
    animation = thing.animation_data if thing is not None else None
    if animation is None or animation.action is None or animation.action_slot is None:
        return
    for layer in animation.action.layers:
        for strip in layer.strips:
            bag = strip.channelbag(animation.action_slot)
            yield from bag.fcurves if bag else ()
