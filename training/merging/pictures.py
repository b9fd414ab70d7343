"""What pictures of an object, whose cameras are known, say of the points of its clouds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from render.failures import UserError
from training.conditioning.cameras import look_up
from training.conditioning.image_files import read_views
from training.conditioning.shown import View, small_pixels
from training.merging.settings import MergeSettings

SIDE = 256
"""Side of the pictures in which points are looked up."""


def silhouettes_of(clouds: Sequence[np.ndarray], settings: MergeSettings) -> np.ndarray:
    """`least_alpha` of the settings' pictures, (sum of N,) for K clouds (C, N).

    UserError where they cannot say anything.
    """
    given = read_views(settings.image, settings.cameras)
    for path, view in given:
        if small_pixels(view.image)[..., 3].min() == 255:
            raise UserError(f"{path}: an opaque picture has no silhouette. Cut the object out.")
    shown = least_alpha(clouds, [view for _, view in given])
    if shown.max() < 0.5:
        raise UserError("no point is on the object in all pictures: give the cameras in the clouds' frame.")
    return shown


def least_alpha(clouds: Sequence[np.ndarray], views: Sequence[View]) -> np.ndarray:
    """For each point of K clouds (C, N), in order, the least alpha of the views where it falls.

    (sum of N,) float32 in 0..1, 0 beyond the edge of a picture. All views have cameras.
    """
    points = torch.from_numpy(np.concatenate([cloud[:3] for cloud in clouds], axis=1))[None]
    cameras = np.stack([view.camera for view in views if view.camera is not None])
    alpha = np.stack([small_pixels(view.image, SIDE)[..., 3] for view in views]) / np.float32(255)
    pixels = torch.from_numpy(alpha)[None, :, None]
    found, _, _ = look_up(points, torch.from_numpy(cameras)[None], pixels)
    return found[0, :, :, 0].amin(0).numpy()
