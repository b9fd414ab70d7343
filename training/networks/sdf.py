"""Point-E's SDF model: the signed distance of a query from the surface that a cloud samples.

The published `sdf` (section 2.4 of the paper, arXiv:2212.08751): self-attention encodes the cloud, and each
query attends to it on its own, so queries come in batches of any size. Names in the state dict are the
published ones.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from training.networks.blocks import CrossBlock, initialize_linears
from training.networks.transformer import Backbone, Shape


class Decoder(nn.Module):
    """A stack of cross-attention blocks."""

    def __init__(self, width: int, layers: int, heads: int):
        super().__init__()
        self.resblocks = nn.ModuleList(CrossBlock(width, heads) for _ in range(layers))

    def forward(self, x: Tensor, data: Tensor) -> Tensor:
        """x: (B, Q, width) queries, data: (B, N, width) -> (B, Q, width)."""
        for block in self.resblocks:
            x = block(x, data)
        return x


class PointCloudSDF(nn.Module):
    """Signed distances from the surface of a cloud.

    The cloud is in Point-E's frame, longest side 1: half of the shards' coordinates.
    """

    def __init__(self, width: int, encoder_layers: int, decoder_layers: int, heads: int):
        super().__init__()
        self.encoder_input_proj = nn.Linear(3, width)
        self.encoder = Backbone(Shape(width, encoder_layers, heads))
        self.decoder_input_proj = nn.Linear(3, width)
        self.decoder = Decoder(width, decoder_layers, heads)
        self.ln_post = nn.LayerNorm(width)
        self.output_proj = nn.Linear(width, 1)
        std = 0.25 / math.sqrt(width)
        self.encoder.initialize(std)
        initialize_linears(self.decoder, std)

    def forward(self, points: Tensor, queries: Tensor) -> Tensor:
        """points: (B, 3, N), queries: (B, 3, Q) -> (B, Q)."""
        return self.distances(queries, self.encode(points))

    def encode(self, points: Tensor) -> Tensor:
        """(B, 3, N) -> (B, N, width), computed once for all queries."""
        return self.encoder(self.encoder_input_proj(points.transpose(1, 2)))

    def distances(self, queries: Tensor, encoded: Tensor) -> Tensor:
        """queries: (B, 3, Q), encoded: (B, N, width) from `encode` -> (B, Q)."""
        tokens = self.decoder(self.decoder_input_proj(queries.transpose(1, 2)), encoded)
        return self.output_proj(self.ln_post(tokens)).squeeze(2)
