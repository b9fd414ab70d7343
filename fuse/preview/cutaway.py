"""Pictures of the inside: a cloud cut open with its hidden points in color; a view's layers side by side."""

from __future__ import annotations

import numpy as np
from PIL import Image

from fuse.preview.picture import BACKGROUND, draw_cloud
from render.bundle import Camera, View
from render.cameras import look_at_origin

_TOWARD = (0.6, -1.0, 0.6)  # the eye
_FOV = np.radians(30)
_GHOST = 0.22  # opacity of the outside
_GROUND = np.array(BACKGROUND, np.float32)


def draw_inside(
    outside_xyz: np.ndarray,
    outside_rgb: np.ndarray,
    hidden_xyz: np.ndarray,
    hidden_rgb: np.ndarray,
    size: int = 384,
) -> Image.Image:
    """Three pictures in a row: the outside as it is; hidden points in color within the faint outside; and
    both cut open. Clouds are (N, 3) float32 points and (N, 3) uint8 colors."""
    eye = np.array(_TOWARD) / np.linalg.norm(_TOWARD)
    reach = float(np.linalg.norm(outside_xyz, axis=1).max())
    camera = Camera(look_at_origin(eye, reach / np.sin(_FOV / 2)), float(_FOV))
    cut = _cut_normal(outside_xyz, eye)

    def draw(xyz: np.ndarray, rgb: np.ndarray) -> np.ndarray:
        return np.asarray(draw_cloud(xyz, rgb, size, camera), np.float32)

    def within_ghost(nearest: float) -> np.ndarray:
        shell, core = (xyz @ cut < nearest for xyz in (outside_xyz, hidden_xyz))
        ghost = _GROUND + _GHOST * (draw(outside_xyz[shell], outside_rgb[shell]) - _GROUND)
        inner = draw(hidden_xyz[core], hidden_rgb[core])
        empty = draw(hidden_xyz[core], np.zeros_like(hidden_rgb[core])) / _GROUND
        return inner + (ghost - _GROUND) * empty

    panels = [draw(outside_xyz, outside_rgb), within_ghost(np.inf), within_ghost(0.0)]
    return Image.fromarray(np.concatenate(panels, axis=1).clip(0, 255).astype(np.uint8))


def _cut_normal(xyz: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """(3,) normal of an upright cut along the model's longer side; points on its positive side are left
    out."""
    across = int(np.argmin(np.ptp(xyz[:, :2], axis=0)))
    return np.sign(eye[across]) * np.eye(3)[across]


def draw_layers(view: View) -> Image.Image:
    """One view as a row of pictures: lit; the number of surfaces along each ray, the largest white; the
    pixels with an unseen surface behind, red; and the unlit color of each layer, the first one first."""
    count = view.layer_count()
    depth = np.repeat((count / max(count.max(), 1) * 255)[..., None], 3, axis=2)
    nothing = np.zeros(view.depth.shape, bool)
    interior = nothing if view.interior is None else view.interior
    panels = [on_gray(view.rgba), depth, marked(view.rgba, interior)]
    panels += [np.where(layer.depth[..., None] > 0, layer.albedo, _GROUND) for layer in view.layers()]
    return Image.fromarray(np.concatenate(panels, axis=1).astype(np.uint8))


def on_gray(rgba: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8, straight alpha -> (H, W, 3) float32 on the background."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return rgba[..., :3] * alpha + _GROUND * (1 - alpha)


def marked(rgba: np.ndarray, interior: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8, straight alpha -> (H, W, 3) float32: pale, red where an unseen surface lies behind.

    `interior` is (H, W) bool, or float32 in [0, 1] where it is predicted.
    """
    pale = _GROUND + 0.35 * (on_gray(rgba) - _GROUND)
    red = 0.7 * interior[..., None].astype(np.float32)
    return (1 - red) * pale + red * np.array([220, 30, 30], np.float32)
