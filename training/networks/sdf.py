"""Point-E's SDF model: the signed distance of a query from the surface that a cloud samples.

The published `sdf` (section 2.4 of the paper, arXiv:2212.08751): self-attention encodes the cloud, and each
query attends to it on its own, so queries come in batches of any size. Names in the state dict are the
published ones.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.transformer import MLP, Backbone, HeadNorm, Shape, initialize_linears


class CrossAttention(nn.Module):
    """Multi-head attention from queries to the cloud; `c_kv` is laid out head by head, [k|v] within each."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False):
        super().__init__()
        self.heads = heads
        self.q_norm = HeadNorm(width // heads) if qk_norm else nn.Identity()
        self.k_norm = HeadNorm(width // heads) if qk_norm else nn.Identity()
        self.c_q = nn.Linear(width, width)
        self.c_kv = nn.Linear(width, 2 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, data: Tensor) -> Tensor:
        """x: (B, Q, width) queries, data: (B, N, width) -> (B, Q, width)."""
        q = self.c_q(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.c_kv(data).unflatten(2, (self.heads, -1)).transpose(1, 2).chunk(2, dim=-1)
        mixed = F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v)
        return self.c_proj(mixed.transpose(1, 2).flatten(2))


class CrossBlock(nn.Module):
    """A pre-norm residual block whose tokens attend to the cloud and not to each other."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False):
        super().__init__()
        self.attn = CrossAttention(width, heads, qk_norm)
        self.ln_1 = nn.LayerNorm(width)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = MLP(width)
        self.ln_3 = nn.LayerNorm(width)

    def forward(self, x: Tensor, data: Tensor) -> Tensor:
        """x: (B, Q, width) queries, data: (B, N, width) -> (B, Q, width)."""
        x = x + self.attn(self.ln_1(x), self.ln_2(data))
        return x + self.mlp(self.ln_3(x))


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
