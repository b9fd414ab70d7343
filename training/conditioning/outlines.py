"""Where the silhouette of a picture is, seen from each of its pixels, and the same for points in space.

The same for the inside that lies behind a picture, of which a mask is the silhouette.

outline = outline_map(small_pixels(image))  # (3, 64, 64) float16, once per picture
ways = toward_outlines(project(points, cameras), cameras, outlines)  # what moves points onto silhouettes
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from training.conditioning.cameras import Fall, float32, rotation, shown_at

OPAQUE = 128
"""Alpha from here on is the silhouette."""
INSIDE = 0.25
"""Share of interior from here on is the silhouette of the inside: hidden surfaces are often thin."""


def outline_map(rgba: np.ndarray) -> np.ndarray:
    """From each pixel the way to the silhouette's nearest one, and how deep within it is: (3, S, S) float16.

    rgba: (S, S, 4) uint8. x to the right, y down and depth are in units of half the picture's side. All is 0
    for a picture without silhouette, or without anything outside it: such a picture has no outline.
    """
    return _ways_onto(rgba[..., 3] >= OPAQUE)


def interior_outline(share: np.ndarray) -> np.ndarray:
    """The same for the inside behind a picture: (3, S, S) float16; all is 0 where nothing is inside.

    share: (S, S), of interior at each pixel.
    """
    return _ways_onto(share >= INSIDE)


def _ways_onto(solid: np.ndarray) -> np.ndarray:
    """solid: (S, S) bool -> (3, S, S) float16."""
    side = len(solid)
    if not solid.any() or solid.all():
        return np.zeros((3, side, side), np.float16)
    nearest, depth = np.zeros((2, side, side), np.int32), np.zeros((side, side))
    distance_transform_edt(~solid, return_distances=False, return_indices=True, indices=nearest)
    distance_transform_edt(solid, distances=depth)
    across, down = nearest[1] - np.arange(side), nearest[0] - np.arange(side)[:, None]
    return (np.stack([across, down, depth]) * (2 / side)).astype(np.float16)


def toward_outlines(fall: Fall, cameras: Tensor, outlines: Tensor) -> Tensor:
    """The way of N points to each view's silhouette, and how deep within it they fall: (B, V, N, 4).

    cameras: (B, V, 19), outlines: (B, V, 3, S, S) -> xyz parallel to the picture, then the depth within, in
    the points' unit; 0 for points that fall on the silhouette, and outside it. A point beyond the edge of the
    picture goes to the edge first.
    """
    places, depth = fall
    edge = 1 - 1 / outlines.shape[-1]
    held = places.clamp(-edge, edge)
    found = shown_at(held, outlines)  # (B, V, N, 3)
    with float32(cameras):
        unit = (cameras[:, :, None, 16] * depth)[..., None]  # of the picture, where the point is
        way = unit * (found[..., :2] + held - places) * places.new_tensor([1, -1])
        turned = way @ rotation(cameras)[..., :2].transpose(-1, -2)
        return torch.cat([turned, unit * found[..., 2:]], dim=-1)
