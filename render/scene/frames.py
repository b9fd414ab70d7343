"""Which frame of an animated model is rendered: frame 1, unless a part has not grown to its size by then."""

from __future__ import annotations

import math
from collections.abc import Iterator

import bpy

COLLAPSED = 0.5
"""Below this share of the largest scale that its animation reaches, a part has not appeared yet."""
GROWN = 0.999
MOST_KEYS = 500  # candidate frames


def settled_frame(frame: int) -> int:
    """`frame`, or if a part has not appeared by then, the first keyed frame where all have their size.

    Parts that appear by growing from a scale of zero would be missing, or a speck. Where parts take turns,
    so that there is no such frame, `frame` stays.
    """
    curves = list(_scale_curves())
    keys = sorted({math.ceil(point.co.x) for curve in curves for point in curve.keyframe_points})
    keys = [key for key in keys if key > frame][:MOST_KEYS]
    largest = [max(abs(curve.evaluate(key)) for key in (frame, *keys)) for curve in curves]

    def all_reach(share: float, at: int) -> bool:
        return all(abs(c.evaluate(at)) >= share * most for c, most in zip(curves, largest, strict=True))

    if all_reach(COLLAPSED, frame):
        return frame
    return next((key for key in keys if all_reach(GROWN, key)), frame)


def _scale_curves() -> Iterator[bpy.types.FCurve]:
    """Every curve that animates one axis of an object's or a bone's scale."""
    for thing in bpy.context.scene.objects:
        animation = thing.animation_data
        if animation is None or animation.action is None or animation.action_slot is None:
            continue
        for layer in animation.action.layers:
            for strip in layer.strips:
                bag = strip.channelbag(animation.action_slot)
                yield from (c for c in (bag.fcurves if bag else ()) if c.data_path.split(".")[-1] == "scale")
