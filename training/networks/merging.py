"""The network that merges several clouds of an object into one.

A set transformer: the clouds have no order, and any number of them will do. Some points of each are tokens of
its context; and every point that is denoised is told what each cloud has nearest to it, as views tell it what
they show there (`views.Projected`). What tells the clouds' tokens apart is a silent tag of the direction from
which each was generated, where that is known.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks.transformer import PointTransformer, Shape
from training.networks.views import silent
from training.objectives.condition import Inputs

NEIGHBORS = 8
"""Points of a cloud whose mean a point is told, beside the nearest."""


class Near(nn.Module):
    """What the clouds have where a point is: their nearest points, over all clouds in any order and number.

    For each cloud the offset to its nearest point, the distance, that point's color and label, and the offset
    to the mean of the `NEIGHBORS` nearest. A shared MLP, then mean, maximum and minimum over the clouds.
    """

    def __init__(self, width: int, channels: int, hidden: int = 64):
        super().__init__()
        self.each = nn.Sequential(
            nn.Linear(channels + 4, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()
        )
        self.out = silent(nn.Linear(3 * hidden, width))

    def forward(self, x: Tensor, clouds: Tensor) -> Tensor:
        """x: (B, C, N), clouds: (B, K, C, M) -> (B, N, width)."""
        features = self.each(nearest(x, clouds))  # (B, K, N, hidden)
        pooled = torch.cat([features.mean(1), features.amax(1), features.amin(1)], dim=-1)
        return self.out(pooled)


def nearest(x: Tensor, clouds: Tensor) -> Tensor:
    """What each cloud has at the points x (B, C, N), clouds (B, K, C, M): (B, K, N, C + 4), see `Near`."""
    points, given = x.float().transpose(1, 2)[:, None], clouds.float().transpose(2, 3)
    gaps = torch.cdist(points[..., :3].expand(-1, given.shape[1], -1, -1), given[..., :3])
    least, places = gaps.topk(min(NEIGHBORS, given.shape[2]), largest=False)
    near = given[:, :, None].expand(-1, -1, points.shape[2], -1, -1)
    near = near.gather(3, places[..., None].expand(-1, -1, -1, -1, given.shape[3]))  # (B, K, N, n, C)
    offset, mean = near[..., 0, :3] - points[..., :3], near[..., :3].mean(3) - points[..., :3]
    return torch.cat([offset, least[..., :1], near[..., 0, 3:], mean], dim=-1)


class MergeTransformer(PointTransformer):
    """Conditioned on clouds and, if `features` is not 0, on grids of image features.

    The first `cloud_tokens` points of each cloud are tokens (0: all), so clouds are to be in random or in
    farthest-point order.
    """

    def __init__(self, shape: Shape, features: int = 0, cloud_tokens: int = 0):
        super().__init__(shape)
        self.cloud_tokens = cloud_tokens
        if features:
            self.clip_embed = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, shape.width))
        self.cond_point_proj = nn.Linear(shape.channels, shape.width)
        self.cloud_tag = nn.Linear(3, shape.width, bias=False)
        nn.init.zeros_(self.cloud_tag.weight)
        self.near = Near(shape.width, shape.channels)

    def forward(self, x: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        """x: (B, channels, N), t: (B,), clouds: (B, K, channels, M) -> (B, outputs * channels, N).

        toward: (B, K, 3), the unit directions of the clouds' cameras, 0 where unknown. The rest is as for
        `transformer.ImageGridTransformer`.
        """
        given, context, memory = Inputs(**condition), [self.time_token(t)], None
        if given.clouds is None:
            raise ValueError("a merger needs clouds to merge: give clouds")
        if given.embeddings is not None or given.memory is not None:
            context, memory = self.shown(context, given)
        some = given.clouds[..., : self.cloud_tokens or given.clouds.shape[3]]
        tokens = self.cond_point_proj(some.transpose(2, 3))
        if given.toward is not None:
            tokens = tokens + self.cloud_tag(given.toward)[:, :, None]
        context.append(tokens.flatten(1, 2))
        return self.run(x, context, given, memory, self.near(x, given.clouds))
