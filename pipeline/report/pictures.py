"""The report's pictures: small WebP with alpha, so that they stand on whatever color the page has."""

from __future__ import annotations

import numpy as np

from render.bundle import Layer, View

MIME = "image/webp"
THUMB = 160
"""Pixels across a gallery's picture."""
LARGEST = 256
"""Pixels across a picture on a model's page."""
# viridis by ten of its colors, far to near: even steps to the eye, and readable without color vision
_VIRIDIS = [
    [68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142],
    [31, 158, 137], [53, 183, 121], [110, 206, 88], [181, 222, 43], [253, 231, 37],
]  # fmt: skip
_INTERIOR = (224, 49, 49)
_MOST_LAYERS = 12  # surfaces along a ray that the colors tell apart


def albedo(layer: View | Layer) -> np.ndarray:
    """(H, W, 4) uint8: unlit color, transparent where there is no surface."""
    return np.dstack([layer.albedo, _alpha(layer.depth)])


def normal(layer: View | Layer) -> np.ndarray:
    """(H, W, 4) uint8: world normals as colors."""
    return np.dstack([((layer.normal + 1) * 127.5).astype(np.uint8), _alpha(layer.depth)])


def depth(layer: View | Layer, near: float, far: float) -> np.ndarray:
    """(H, W, 4) uint8: planar z between `near`, bright, and `far`, dark."""
    share = (far - layer.depth) / max(far - near, 1e-6)
    return np.dstack([_colored(share), _alpha(layer.depth)])


def layer_count(view: View) -> np.ndarray:
    """(H, W, 4) uint8: the number of surfaces along each ray, 12 or more bright."""
    return np.dstack([_colored((view.layer_count() - 1) / (_MOST_LAYERS - 1)), _alpha(view.depth)])


def interior(view: View) -> np.ndarray | None:
    """(H, W, 4) uint8: the faint view, red where a surface that no view sees lies behind; None where the
    bundle does not say."""
    if view.interior is None:
        return None
    gray = (255 - 0.5 * (255 - view.rgba[..., :3].mean(-1, keepdims=True))).repeat(3, 2)
    red = 0.25 * gray + 0.75 * np.array(_INTERIOR)
    color = np.where(view.interior[..., None], red, gray).astype(np.uint8)
    return np.dstack([color, np.maximum(view.rgba[..., 3], view.interior * np.uint8(255))])


def depth_range(view: View, layers: int) -> tuple[float, float]:
    """The nearest and the farthest depth of a view and of the first `layers` behind its surfaces."""
    hits = np.concatenate([view.depth[view.depth > 0], *(surface.depth for surface in view.behind[:layers])])
    return (float(hits.min()), float(hits.max())) if len(hits) else (0.0, 1.0)


def _alpha(depth: np.ndarray) -> np.ndarray:
    return np.where(depth > 0, 255, 0).astype(np.uint8)


def _colored(share: np.ndarray) -> np.ndarray:
    """(H, W) in 0..1 -> (H, W, 3) uint8."""
    table = np.array(_VIRIDIS, np.float32)
    steps = np.linspace(0, 1, len(table))
    channels = [np.interp(share.clip(0, 1), steps, table[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).astype(np.uint8)
