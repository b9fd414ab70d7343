"""The surfaces along each ray, predicted from one view: depth, unlit color and label of up to four.

LaRI's form (layered ray intersections), with color and label. The truth is the cloud of the row itself,
outside and hidden points with their labels, seen by the view's camera: no other column is read. Its grain is
therefore a cell, and surfaces nearer to each other than one are one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.conditioning.cameras import position, project, rotation
from training.objectives.objective import Model, Noiseless
from training.segmentation.head import SIDE, ViewHead, covered

MOST = 4
"""Surfaces per cell."""
NUMBERS = 6
"""Of a surface: logit of its being there, depth, three of color, logit of its being hidden."""
DISTANCE = 1.0
"""Cells between two points of a ray, in depth, from which they lie on two surfaces."""


class LayerHead(ViewHead):
    """For each cell of a view the surfaces along its ray, nearest first."""

    outputs = MOST * NUMBERS


@dataclass(frozen=True)
class Surfaces:
    """The surfaces along the rays of B objects' V views, S x S cells each, nearest first."""

    there: Tensor  # (B, V, K, S, S): 0 or 1, or a probability
    depth: Tensor  # (B, V, K, S, S), planar, less the camera's distance from the origin
    color: Tensor  # (B, V, K, 3, S, S), in [-1, 1]
    hidden: Tensor  # (B, V, K, S, S): 0 to 1


def surfaces_of(points: Tensor, cameras: Tensor, side: int = SIDE, most: int = MOST) -> Surfaces:
    """The surfaces that labeled clouds (B, 7, N) show cameras (B, V, 19), the first `most` of each cell.

    A surface has the means of its points: those of the cell that follow each other in depth by less than the
    cell is wide.
    """
    places, depth = project(points[:, :3].float(), cameras)
    count, views, _ = depth.shape
    cell = ((places + 1) / 2 * side).floor().long()
    outside = ((cell < 0) | (cell >= side)).any(-1)
    index = torch.where(
        outside, side * side, cell[..., 1].clamp(0, side - 1) * side + cell[..., 0].clamp(0, side - 1)
    )
    order = torch.argsort(depth, dim=-1, stable=True)
    order = order.gather(-1, torch.argsort(index.gather(-1, order), dim=-1, stable=True))
    index, depth = index.gather(-1, order), depth.gather(-1, order)
    place = _places(index, depth, 2 * cameras[..., 16:17] / side * DISTANCE)
    slot = torch.where(
        (place < most) & (index < side * side), place * side * side + index, most * side * side
    )

    values = points[:, None, 3:].expand(-1, views, -1, -1).gather(-1, order[:, :, None].expand(-1, -1, 4, -1))
    relative = depth - position(cameras).norm(dim=-1, keepdim=True)
    stack = torch.cat([torch.ones_like(depth)[:, :, None], relative[:, :, None], values], 2).float()
    sums = stack.new_zeros(count, views, 6, most * side * side + 1)
    sums.scatter_add_(-1, slot[:, :, None].expand(-1, -1, 6, -1), stack)
    sums = sums[..., :-1].unflatten(-1, (most, side, side)).transpose(2, 3)  # (B, V, K, 6, S, S)
    means = sums[:, :, :, 1:] / sums[:, :, :, :1].clamp(min=1)
    return Surfaces(
        (sums[:, :, :, 0] > 0).float(), means[:, :, :, 0], means[:, :, :, 1:4], (means[:, :, :, 4] + 1) / 2
    )


def _places(index: Tensor, depth: Tensor, width: Tensor) -> Tensor:
    """The surface of each point of a view, counted from 0 within its cell: (B, V, N) int64.

    Points are in the order of their cell, index (B, V, N), then of depth; `width` (B, V, 1): a cell's at
    depth 1.
    """
    new_cell = F.pad(index[..., 1:] != index[..., :-1], (1, 0), value=True)
    apart = F.pad(depth[..., 1:] - depth[..., :-1] > width * depth[..., 1:], (1, 0), value=True)
    surface = (new_cell | apart).long().cumsum(-1)
    first = torch.where(new_cell, surface, 0).cummax(-1).values
    return surface - first


def as_surfaces(found: Tensor) -> Surfaces:
    """A head's outputs (B, V, K * 6, S, S) as surfaces."""
    numbers = found.float().unflatten(2, (MOST, NUMBERS))
    return Surfaces(
        torch.sigmoid(numbers[:, :, :, 0]),
        numbers[:, :, :, 1],
        numbers[:, :, :, 2:5].clamp(-1, 1),
        torch.sigmoid(numbers[:, :, :, 5]),
    )


@dataclass(frozen=True)
class Layered(Noiseless):
    """Whether each surface is there, where, of which color and label. An objective without noise or time."""

    def losses(
        self, model: Model, start: Tensor, t: Tensor, noise: Tensor, **condition: Tensor
    ) -> dict[str, Tensor]:
        """`loss` and `mse`, the squared error of depth, (B,) each; start (B, 7, N) is the cloud seen."""
        pixels = condition["pixels"]
        found = model(condition["embeddings"], pixels)
        return layer_losses(found, surfaces_of(start, condition["cameras"]), covered(pixels))


def layer_losses(found: Tensor, true: Surfaces, cover: Tensor) -> dict[str, Tensor]:
    """`loss` and `mse` of a head's outputs (B, V, K * 6, S, S), (B,) each, per covered cell, (B, V, S, S)."""
    numbers = found.float().unflatten(2, (MOST, NUMBERS))
    there = true.there * cover[:, :, None]
    exists = F.binary_cross_entropy_with_logits(numbers[:, :, :, 0], true.there, reduction="none")
    depth = numbers[:, :, :, 1] - true.depth
    color = (numbers[:, :, :, 2:5] - true.color).abs().mean(3)
    hidden = F.binary_cross_entropy_with_logits(numbers[:, :, :, 5], true.hidden, reduction="none")
    each = cover[:, :, None] * exists + there * (2 * depth.abs() + color / 2 + hidden / 2)
    return {
        "loss": each.sum((1, 2, 3, 4)) / cover.sum((1, 2, 3)).clamp(min=1),
        "mse": (there * depth.square()).sum((1, 2, 3, 4)).detach() / there.sum((1, 2, 3, 4)).clamp(min=1),
    }


def back_projected(found: Surfaces, cover: Tensor, cameras: Tensor) -> list[Tensor]:
    """The surfaces that are there, of all V views, as a cloud per object: B times (7, N) float32.

    cover: (B, V, S, S), cameras: (B, V, 19). A point lies on the ray through its cell's center. The nearest
    surface is there wherever the object covers a cell. Of the further ones, as of those that are hidden, an
    object has as many as their probabilities add up to, the likeliest: few hidden ones are likelier than not.
    """
    side = cover.shape[-1]
    across = (torch.arange(side, device=cover.device) + 0.5) / side * 2 - 1
    flat = torch.stack([across.expand(side, side), -across[:, None].expand(side, side)])  # (2, S, S), y up
    flat = flat * cameras[..., 16, None, None, None] + cameras[..., 17:, None, None]
    depth = found.depth + position(cameras).norm(dim=-1)[..., None, None, None]
    ray = torch.cat([flat, -torch.ones_like(flat[:, :, :1])], 2)  # (B, V, 3, S, S), in camera axes
    local = ray[:, :, None] * depth[:, :, :, None]  # (B, V, K, 3, S, S)
    xyz = (
        torch.einsum("bvij,bvkjyx->bvkiyx", rotation(cameras), local)
        + position(cameras)[:, :, None, :, None, None]
    )
    there = found.there * _covered_enough(cover)[:, :, None]
    there[:, :, 0] = (there[:, :, 0] > 0).float()
    kept = [_likeliest(one) for one in there]
    hidden = torch.stack([_likeliest(one * some) for one, some in zip(found.hidden, kept, strict=True)])
    label = torch.where(hidden, 1.0, -1.0)[:, :, :, None]
    values = torch.cat([xyz, found.color, label], 3).transpose(2, 3)  # (B, V, 7, K, S, S)
    return [one.transpose(0, 1)[:, some] for one, some in zip(values, kept, strict=True)]


def _covered_enough(cover: Tensor) -> Tensor:
    """Cells (B, V, S, S) that the object covers by half, or half as much as any, if it is thin."""
    return (cover > 0) & (cover >= cover.amax((-2, -1), keepdim=True) / 2)


def _likeliest(probabilities: Tensor) -> Tensor:
    """As many of (V, K, S, S) as they add up to, the likeliest: (V, K, S, S) bool."""
    chosen = torch.zeros_like(probabilities, dtype=torch.bool)
    count = int(probabilities.sum().round())
    chosen.view(-1)[probabilities.flatten().topk(count).indices] = True
    return chosen
