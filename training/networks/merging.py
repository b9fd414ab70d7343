"""The network that merges several clouds of an object into one: their points are its context.

A set transformer: the clouds have no order, and any number of them, of any size, will do. What tells them
apart is a silent tag of the direction from which each was generated, where that is known.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.networks.transformer import PointTransformer, Shape


class MergeTransformer(PointTransformer):
    """Conditioned on clouds and, if `features` is not 0, on grids of image features.

    A training step sees `cloud_points` points of each cloud; for M of them, attention to them is corrected as
    to the points (`Shape.seen`); 0: no correction.
    """

    def __init__(self, shape: Shape, features: int = 0, cloud_points: int = 0):
        super().__init__(shape)
        self.cloud_points = cloud_points
        if features:
            self.clip_embed = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, shape.width))
        self.cond_point_proj = nn.Linear(shape.channels, shape.width)
        self.cloud_tag = nn.Linear(3, shape.width, bias=False)
        nn.init.zeros_(self.cloud_tag.weight)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        clouds: Tensor | None = None,
        toward: Tensor | None = None,
        embeddings: Tensor | None = None,
        cameras: Tensor | None = None,
        known: Tensor | None = None,
        pixels: Tensor | None = None,
        memory: Tensor | None = None,
    ) -> Tensor:
        """x: (B, channels, N), t: (B,), clouds: (B, K, channels, M) -> (B, outputs * channels, N).

        toward: (B, K, 3), the unit directions of the clouds' cameras, 0 where unknown. The rest is as for
        `transformer.ImageGridTransformer`.
        """
        if clouds is None:
            raise ValueError("a merger needs clouds to merge: give clouds")
        context = [self.time_token(t)]
        if embeddings is not None or memory is not None:
            context, memory = self.shown(context, memory, embeddings, cameras, known)
        tokens = self.cond_point_proj(clouds.transpose(2, 3))
        if toward is not None:
            tokens = tokens + self.cloud_tag(toward)[:, :, None]
        context.append(tokens.flatten(1, 2))
        shift = self._cloud_shift(clouds)
        return self.run(x, context, memory, shift, cameras=cameras, known=known, pixels=pixels)

    def _cloud_shift(self, clouds: Tensor) -> Tensor | None:
        """The shift of the logits of the points of clouds (B, K, C, M), (K * M,); None for none."""
        number = clouds.shape[3]
        if self.cloud_points in (0, number):
            return None
        shift = math.log(self.cloud_points / number)
        return torch.full((clouds.shape[1] * number,), shift, device=clouds.device)
