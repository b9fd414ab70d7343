"""The network that says how far points lie from the surface of an object, by its clouds and its pictures.

Each point by itself, so that it learns from few objects, and costs next to nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.conditioning.cameras import float32, project, shown_at
from training.conditioning.outlines import toward_outlines
from training.networks.merging import nearest
from training.networks.views import over_views
from training.objectives.condition import Condition, Inputs

FINE = 5.0
"""Distances are of that part of the frame's half."""


class PointScorer(nn.Module):
    """An MLP of a point's place and channels; of what each cloud has nearest to it; and, with `views`,
    of what these show there and how deep within their silhouettes it falls.

    Clouds and views are pooled: any number of them, in any order.
    """

    def __init__(self, channels: int, width: int, layers: int, views: bool):
        super().__init__()
        self.channels, self.views = channels, views
        features = channels + 3 + 3 * (channels + 4) + (3 * 5 if views else 0)
        hidden = [layer for _ in range(layers) for layer in (nn.Linear(width, width), nn.GELU())]
        self.net = nn.Sequential(nn.Linear(features, width), nn.GELU(), *hidden, nn.Linear(width, 1))

    def forward(self, x: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        """x: (B, C, N), clouds: (B, K, C, M), whatever the time t -> (B, 1, N)."""
        given = Inputs(**condition)
        if given.clouds is None:
            raise ValueError("a merger needs clouds to merge: give clouds")
        points = x.transpose(1, 2)
        found = [points, points[..., :3].abs(), FINE * pooled(nearest(x, given.clouds))]
        if self.views:
            found.append(pooled(*shown(x, given)))
        with float32(x):  # as in the views' cameras: distances need the bits
            return self.net(torch.cat(found, dim=-1).float()).transpose(1, 2)

    def prepared(self, condition: Condition) -> Condition:
        """The condition as it is: nothing is remembered between steps."""
        return condition


def shown(x: Tensor, given: Inputs) -> tuple[Tensor, Tensor]:
    """At points x (B, C, N) each view's RGBA and the depth in its silhouette, (B, V, N, 5); views, (B, V)."""
    if given.cameras is None or given.known is None or given.pixels is None or given.outlines is None:
        raise ValueError("this network looks views up: give cameras, known, pixels and outlines")
    fall = project(x[:, :3].float(), given.cameras)
    color = shown_at(fall.places, given.pixels)
    depth = FINE * toward_outlines(fall, given.cameras, given.outlines)[..., 3:]
    return torch.cat([color, depth], dim=-1), given.known


def pooled(each: Tensor, used: Tensor | None = None) -> Tensor:
    """The least, the mean and the most over V, of those used, (B, V) bool: (B, V, N, F) -> (B, N, 3 F)."""
    if used is None:
        return torch.cat([each.amin(1), each.mean(1), each.amax(1)], dim=-1)
    some = used[:, :, None, None]
    mean, most, least = over_views(each, some)
    return torch.cat([least, mean, most], dim=-1).masked_fill(~some.any(1), 0)
