"""The network: a frozen encoder's grid and the picture's own pixels to a few numbers per cell."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from training.conditioning.shown import SIDE as PIXELS

SIDE = PIXELS // 2
"""Cells across a picture: a quarter of a view of 128 pixels, an eighth of the encoder's input."""
GROUPS = 8
"""Groups of channels that are normalized together."""


class ConvBlock(nn.Module):
    """A pre-norm residual block of two convolutions."""

    def __init__(self, width: int):
        super().__init__()
        self.norm_1, self.norm_2 = nn.GroupNorm(GROUPS, width), nn.GroupNorm(GROUPS, width)
        self.conv_1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv_2.weight)  # the block adds nothing at first

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, S, S) -> the same."""
        return x + self.conv_2(F.gelu(self.norm_2(self.conv_1(F.gelu(self.norm_1(x))))))


class ViewHead(nn.Module):
    """`outputs` numbers for each cell of a view, from it alone.

    The blocks work at half the cells' resolution, near the encoder's.
    """

    outputs: int

    def __init__(self, features: int, width: int, layers: int):
        super().__init__()
        self.tokens = nn.Conv2d(features, width, 1)
        self.fine = nn.Conv2d(4, width // 2, 4, stride=2, padding=1)
        self.coarse = nn.Conv2d(width // 2, width, 2, stride=2)
        self.blocks = nn.ModuleList(ConvBlock(width) for _ in range(layers))
        self.back = nn.Conv2d(width, width // 2, 1)
        self.mix = nn.Conv2d(width // 2, width // 2, 3, padding=1)
        self.norm = nn.GroupNorm(GROUPS, width // 2)
        self.out = nn.Conv2d(width // 2, self.outputs, 1)

    def forward(self, embeddings: Tensor, pixels: Tensor) -> Tensor:
        """embeddings (B, V, features, cells), pixels (B, V, 4, 2 S, 2 S) -> (B, V, outputs, S, S)."""
        views, cells = embeddings.shape[:2], math.isqrt(embeddings.shape[3])
        grid = self.tokens(embeddings.flatten(0, 1).unflatten(2, (cells, cells)))
        fine = self.fine(pixels.flatten(0, 1))
        x = self.coarse(F.gelu(fine))
        x = x + _resized(grid, x)
        for block in self.blocks:
            x = block(x)
        x = self.mix(F.gelu(fine + _resized(self.back(x), fine)))
        return self.out(F.gelu(self.norm(x))).unflatten(0, views)


class InteriorHead(ViewHead):
    """For each cell of a view, the logit of its share of interior and the log of its number of surfaces.

    Both are of the part of the cell that the object covers, which the picture's alpha says already.
    """

    outputs = 2


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


def covered(pixels: Tensor) -> Tensor:
    """The share of each cell that the object covers: (B, V, 4, 2 S, 2 S) premultiplied -> (B, V, S, S)."""
    return F.avg_pool2d(pixels[:, :, 3].float(), 2)
