"""Pictures of the inside: a cloud cut open, its hidden points in colour; a view's layers side by side."""

from __future__ import annotations

import numpy as np
from PIL import Image

from fuse.picture import draw_cloud
from render.bundle import Camera, View
from render.cameras import look_at_origin

_TOWARDS = (0.75, -1.0, 0.55)  # the eye
_CUT = 0.0  # what lies nearer to the eye than this plane through the centre is taken away
_GHOST = 0.22  # what is left of the outside's colour


def draw_inside(
    outside_xyz: np.ndarray,
    outside_rgb: np.ndarray,
    hidden_xyz: np.ndarray,
    hidden_rgb: np.ndarray,
    size: int = 384,
    towards: tuple[float, float, float] = _TOWARDS,
) -> Image.Image:
    """Three pictures in a row: the outside as it is; hidden points in colour within the outside as a ghost;
    and both with the near half taken away. Clouds are (N, 3) points and (N, 3) uint8 colours."""
    camera = Camera(look_at_origin(np.array(towards), 5.2), float(np.radians(40)))
    near = np.array(towards) / np.linalg.norm(towards)

    def draw(xyz: np.ndarray, rgb: np.ndarray) -> np.ndarray:
        return np.asarray(draw_cloud(xyz, rgb, size, camera), np.float32)

    def within_ghost(cut: float) -> np.ndarray:
        shell, core = (xyz @ near < cut for xyz in (outside_xyz, hidden_xyz))
        ghost = 255 - _GHOST * (255 - draw(outside_xyz[shell], outside_rgb[shell]))
        inner = draw(hidden_xyz[core], hidden_rgb[core])
        empty = draw(hidden_xyz[core], np.zeros_like(hidden_rgb[core])).min(-1, keepdims=True) / 255
        return inner - 255 * empty + ghost * empty

    panels = [draw(outside_xyz, outside_rgb), within_ghost(np.inf), within_ghost(_CUT)]
    return Image.fromarray(np.concatenate(panels, axis=1).clip(0, 255).astype(np.uint8))


def draw_layers(view: View) -> Image.Image:
    """One view in a row of pictures: lit; the number of surfaces along each ray, the most of them white; the
    pixels with an unseen surface behind, red; and the unlit colour of each layer, the first one first."""
    count = view.layer_count()
    depth = np.repeat((count / max(count.max(), 1) * 255)[..., None], 3, axis=2)
    panels = [_on_white(view.rgba), depth, _marked(view)]
    panels += [np.where(layer.depth[..., None] > 0, layer.albedo, 255) for layer in (view, *view.hidden)]
    return Image.fromarray(np.concatenate(panels, axis=1).astype(np.uint8))


def _on_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


def _marked(view: View) -> np.ndarray:
    """The lit view, pale, and red where something unseen lies behind."""
    pale = 255 - 0.35 * (255 - _on_white(view.rgba))
    if view.interior is None:
        return pale
    return np.where(view.interior[..., None], 0.3 * pale + 0.7 * np.array([220, 30, 30]), pale)
