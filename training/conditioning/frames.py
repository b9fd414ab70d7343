"""The frame of the first view: how a cloud stands in a picture whose camera nobody knows.

Its axes are the picture's: x to the right, y away from the viewer, z up. Its origin lies on the ray through
the picture's center, as deep as the object's center, and its unit is half of the picture's width there. So
the first camera is known from the picture alone, given a field of view, and other cameras follow from their
poses relative to it. For data with cameras, the turn from the object's frame and back is known too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.conditioning.cameras import float32, position, rotation
from training.objectives.condition import Condition

_AXES = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # columns: x, y and z in camera axes


@dataclass(frozen=True)
class Frame:
    """A frame of each of B objects: x there is scale * rotation^T (x - origin)."""

    rotation: Tensor  # (B, 3, 3), its columns the frame's axes
    origin: Tensor  # (B, 3)
    scale: Tensor  # (B,)

    def enter(self, points: Tensor) -> Tensor:
        """(B, C, N) in the object's frame, xyz first -> the same in this frame."""
        with float32(points):
            local = self.rotation.transpose(1, 2) @ (points[:, :3] - self.origin[..., None])
        return torch.cat([self.scale[:, None, None] * local, points[:, 3:]], dim=1)

    def leave(self, points: Tensor) -> Tensor:
        """(B, C, N) in this frame -> the object's: the inverse of `enter`."""
        with float32(points):
            turned = self.rotation @ (points[:, :3] / self.scale[:, None, None])
        return torch.cat([turned + self.origin[..., None], points[:, 3:]], dim=1)

    def only(self, where: Tensor) -> Frame:
        """This frame for the objects `where`, (B,) bool, is true, and the object's own for the others."""
        same = torch.eye(3, device=where.device)
        return Frame(
            torch.where(where[:, None, None], self.rotation, same),
            torch.where(where[:, None], self.origin, 0.0),
            torch.where(where, self.scale, 1.0),
        )

    def cameras(self, cameras: Tensor) -> Tensor:
        """(B, V, 19) of the object's frame -> of this one."""
        poses = torch.eye(4, device=cameras.device).repeat(*cameras.shape[:2], 1, 1)
        with float32(cameras):
            poses[..., :3, :3] = self.rotation.transpose(1, 2)[:, None] @ rotation(cameras)
        poses[..., :3, 3] = self.enter(position(cameras).transpose(1, 2)).transpose(1, 2)
        return torch.cat([poses.flatten(2), cameras[..., 16:]], dim=-1)


def frame_of(camera: Tensor) -> Frame:
    """The frame of a view, camera (B, 19), of an object whose center is the origin."""
    half, center = camera[:, 16:17], camera[:, 17:]
    with float32(camera):
        axes = rotation(camera) @ _AXES.to(camera.device)
        depth = (position(camera) * rotation(camera)[..., 2]).sum(-1, keepdim=True)
        ray = torch.cat([center, -torch.ones_like(half)], dim=1)  # in camera axes, at depth 1
        origin = position(camera) + (rotation(camera) @ (depth * ray)[..., None])[..., 0]
    return Frame(axes, origin, 1 / (depth * half)[:, 0])


def enter_first(condition: Condition, frame: Frame | None = None) -> tuple[Condition, Frame]:
    """The condition, (B, ...) tensors, with its cameras in the frame of the first view, which is then known.

    `frame` is that frame if the first view is not among those of the condition. Where the first view has no
    camera, those of others say nothing: no other one is known.
    """
    first = frame is None
    frame = frame or frame_of(condition["cameras"][:, 0])
    entered = condition | {"cameras": frame.cameras(condition["cameras"])}
    if first:
        entered["known"] = condition["known"] & condition["known"][:, :1]
        entered["known"][:, 0] = True
    return entered, frame
