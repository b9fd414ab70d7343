"""What pictures of an object, whose cameras are known, say of the points of its clouds, and of space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from render.failures import UserError
from training.conditioning.cameras import look_up
from training.conditioning.image_files import read_views
from training.conditioning.shown import View, small_pixels
from training.merging.rules import ON_OBJECT, Shown
from training.merging.settings import MergeSettings

SIDE = 256
"""Side of the pictures in which points are looked up."""
ROUGH = 2**12
"""Points of the cube that are looked up to find where the object is."""
TRIED = 16
"""Points of that box that are looked up for each point of the hull."""


def shown_in(clouds: Sequence[np.ndarray], settings: MergeSettings) -> Shown:
    """`shown_by` of K clouds (C, N), with the settings' pictures and points.

    UserError where pictures cannot say anything.
    """
    given = read_views(settings.image, settings.cameras)
    for path, view in given:
        if small_pixels(view.image)[..., 3].min() == 255:
            raise UserError(f"{path}: an opaque picture has no silhouette. Cut the object out.")
    shown = shown_by(clouds, [view for _, view in given], settings.points)
    if shown.alpha.max() < ON_OBJECT:
        raise UserError("no point is on the object in all pictures: give the cameras in the clouds' frame.")
    return shown


def shown_by(clouds: Sequence[np.ndarray], views: Sequence[View], points: int) -> Shown:
    """What views, all with cameras, say of K clouds (C, N), and up to `points` points of their hull."""
    cameras = torch.from_numpy(np.stack([view.camera for view in views if view.camera is not None]))
    pixels = np.stack([small_pixels(view.image, SIDE) for view in views]).transpose(0, 3, 1, 2)
    pixels = torch.from_numpy(pixels / np.float32(255))
    every = np.concatenate(clouds, axis=1)
    alpha = least_alpha(torch.from_numpy(every[:3]), cameras, pixels).numpy()
    return Shown(alpha, visual_hull(cameras, pixels, points, len(every)))


def least_alpha(points: Tensor, cameras: Tensor, pixels: Tensor) -> Tensor:
    """For each of the points (3, N) the least alpha of the views where it falls, (N,), 0 beyond their edges.

    cameras: (V, 19), pixels: (V, 4, S, S), RGBA in 0..1.
    """
    return look_up(points[None], cameras[None], pixels[None, :, 3:])[0][0, :, :, 0].amin(0)


def visual_hull(
    cameras: Tensor, pixels: Tensor, points: int, channels: int, seed: int = 0, least: float = ON_OBJECT
) -> np.ndarray:
    """Random points of the normalized cube that fall on the object in all views: (channels, M), M <= points.

    Each has the mean color of what the views show there, and the label of outside. cameras: (V, 19), pixels:
    (V, 4, S, S), premultiplied RGBA in 0..1. There alpha is `least` or more.
    The same views and seed give the same points.
    """
    generator = torch.Generator().manual_seed(seed)
    rough, fine = (2 * torch.rand(3, n, generator=generator) - 1 for n in (ROUGH, TRIED * points))
    found = rough[:, least_alpha(rough.to(cameras), cameras, pixels).cpu() >= least]
    if found.shape[1]:
        gap = 2 / ROUGH ** (1 / 3)
        low, high = found.amin(1, keepdim=True) - gap, found.amax(1, keepdim=True) + gap
        fine = ((low + high + fine * (high - low)) / 2).clamp(-1, 1)
    fine = fine.to(cameras)
    hull = fine[:, least_alpha(fine, cameras, pixels) >= least][:, :points]
    seen = look_up(hull[None], cameras[None], pixels[None])[0][0].sum(0)  # (M, 4)
    rgb = 2 * seen[:, :3] / seen[:, 3:] - 1
    rest = hull.new_full((max(0, channels - 6), hull.shape[1]), -1)
    return torch.cat([hull, rgb.T, rest])[:channels].cpu().numpy()
