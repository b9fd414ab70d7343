"""An upsampler whose new points are told what of the coarse cloud lies nearest to each.

A point need not learn by attention which of a thousand coarse points are its neighbors; a few of them as
tokens then suffice for the whole, and a step costs a third.
"""

from __future__ import annotations

from torch import Tensor

from training.networks.merging import Near
from training.networks.transformer import Shape, UpsampleTransformer


class NearUpsampleTransformer(UpsampleTransformer):
    """The first `coarse_tokens` coarse points are tokens (0: all), so these are to be in random or in
    farthest-point order. What is nearest starts silent: published weights begin as they were."""

    def __init__(self, shape: Shape, features: int, coarse_tokens: int = 0):
        super().__init__(shape, features)
        self.coarse_tokens = coarse_tokens
        self.near = Near(shape.width, shape.channels)

    def told(self, low_res: Tensor) -> Tensor:
        """(B, channels, M) -> (B, channels, coarse_tokens)."""
        return low_res[..., : self.coarse_tokens or low_res.shape[2]]

    def beside(self, x: Tensor, low_res: Tensor) -> Tensor:
        """What lies nearest to x, (B, channels, N), of (B, channels, M): (B, N, width)."""
        return self.near(x, low_res[:, None])
