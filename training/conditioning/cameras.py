"""Cameras of views as tensors: the rays of a view's cells, and where points fall in a view.

A camera is 19 numbers: its camera-to-world matrix, row by row, in the frame of the cloud; and at depth 1 half
the width of its picture and the picture's center (x, y), which is not 0 for a picture cut from a larger one.
Cameras look along their own -z with +y up, as in the shards; depth is planar z.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

NUMBERS = 19
USUAL_FOV = 0.6911
"""Radians: the field of view of rendered views, and of a picture that nobody knows it of."""
NEAREST = 0.05
"""Depths below that count as that: noisy points may lie behind a camera."""


class Fall(NamedTuple):
    """Where N points fall in V views."""

    places: Tensor  # (B, V, N, 2), see `project`
    depth: Tensor  # (B, V, N)


def camera_numbers(camera_to_world: np.ndarray, fov: float) -> np.ndarray:
    """A camera in the middle of its square picture: (4, 4) and radians -> (19,) float32."""
    return np.array([*np.ravel(camera_to_world), np.tan(fov / 2), 0, 0], np.float32)


def nowhere(fov: float = USUAL_FOV) -> np.ndarray:
    """The camera of a picture that nobody posed, (19,) float32: in front of the object, which fills it."""
    pose = np.eye(4)
    pose[2, 3] = 1 / np.tan(fov / 2)
    return camera_numbers(pose, fov)


def photographed(cameras: Tensor) -> Tensor:
    """Cameras (..., 19) in the middle of their pictures, as if nobody knew their field of view.

    A dolly zoom to the usual one: the place of the object's center, the origin, and its size there stay.
    """
    pose, half = cameras[..., :16].unflatten(-1, (4, 4)).clone(), cameras[..., 16]
    depth = (position(cameras) * rotation(cameras)[..., 2]).sum(-1)
    usual = float(np.tan(USUAL_FOV / 2))
    pose[..., :3, 3] += (depth * (half / usual - 1))[..., None] * rotation(cameras)[..., 2]
    return torch.cat([pose.flatten(-2), torch.full_like(half, usual)[..., None], cameras[..., 17:]], -1)


def float32(where: Tensor) -> torch.autocast:
    """Within, products on the device of `where`, (B, ...), are not in bfloat16: places need more bits."""
    return torch.autocast(where.device.type, enabled=False)


def rotation(cameras: Tensor) -> Tensor:
    """(B, V, 19) -> (B, V, 3, 3), whatever the leading axes: its columns are the camera's axes."""
    return cameras[..., :16].unflatten(-1, (4, 4))[..., :3, :3]


def position(cameras: Tensor) -> Tensor:
    """(B, V, 19) -> (B, V, 3), whatever the leading axes."""
    return cameras[..., [3, 7, 11]]


def rays(cameras: Tensor, side: int) -> Tensor:
    """Plücker coordinates of the rays through the centers of side x side cells, row by row.

    (B, V, 19) -> (B, V, side * side, 6), whatever the leading axes: unit direction, and position x direction,
    which is the same for every point of the ray.
    """
    across = (torch.arange(side, device=cameras.device) + 0.5) / side * 2 - 1
    grid = torch.stack([across.repeat(side), -across.repeat_interleave(side)], dim=-1)  # (cells, 2), y up
    flat = grid * cameras[..., None, 16:17] + cameras[..., None, 17:]
    local = torch.cat([flat, -torch.ones_like(flat[..., :1])], dim=-1)
    with float32(cameras):
        direction = F.normalize(local @ rotation(cameras).transpose(-1, -2), dim=-1)
    origin = position(cameras)[..., None, :].expand_as(direction)
    return torch.cat([direction, torch.linalg.cross(origin, direction)], dim=-1)


def project(points: Tensor, cameras: Tensor) -> Fall:
    """Where points (B, 3, N) fall in views (B, V, 19).

    Places span [-1, 1] from the left to the right and from the top to the bottom edge of a picture, as
    `torch.nn.functional.grid_sample` takes them (without `align_corners`).
    """
    offset = points[:, None].transpose(2, 3) - position(cameras)[:, :, None]
    with float32(cameras):
        local = offset @ rotation(cameras)
    depth = (-local[..., 2]).clamp(min=NEAREST)
    flat = (local[..., :2] / depth[..., None] - cameras[:, :, None, 17:]) / cameras[:, :, None, 16:17]
    return Fall(flat * flat.new_tensor([1, -1]), depth)


def look_up(points: Tensor, cameras: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What views show where points (B, 3, N) fall, (B, V, N, P), their places (B, V, N, 2), depths (B, V, N).

    cameras: (B, V, 19), pixels: (B, V, P, S, S). Beyond the edge of a picture all is 0.
    """
    fall = project(points.float(), cameras)
    return shown_at(fall.places, pixels), fall.places, fall.depth


def shown_at(places: Tensor, pixels: Tensor) -> Tensor:
    """What views show at places (B, V, N, 2), pixels (B, V, P, S, S) -> (B, V, N, P) float32."""
    with float32(places):
        found = F.grid_sample(
            pixels.float().flatten(0, 1), places.flatten(0, 1)[:, :, None], align_corners=False
        )
    return found.squeeze(3).unflatten(0, pixels.shape[:2]).transpose(2, 3)
