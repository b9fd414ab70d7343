"""Point-E's transformer: a noisy cloud, its time and an image grid in; noise and variance out.

Points are tokens without positions, so the network is equivariant to their order and takes any number of
them. The architecture, its initialisation and every name in the state dict are those of the published
checkpoints (Nichol et al. 2022, arXiv:2212.08751), which therefore load by name. Attention goes through
`scaled_dot_product_attention` instead of the published einsum: the same numbers, less memory.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def timestep_embedding(t: Tensor, width: int) -> Tensor:
    """(B,) times in 0..1023, whole or not -> (B, width): cosines, then sines, of periods up to 10,000."""
    half = width // 2
    frequencies = torch.exp(
        -math.log(10_000) * torch.arange(half, device=t.device, dtype=torch.float32) / half
    )
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class Attention(nn.Module):
    """Multi-head self-attention. `c_qkv` is laid out head by head, [q|k|v] within each, as published."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.c_qkv = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.c_qkv(x).view(batch, tokens, self.heads, 3 * width // self.heads).transpose(1, 2)
        q, k, v = qkv.chunk(3, dim=-1)  # each (B, heads, tokens, head width)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.c_proj(mixed.transpose(1, 2).reshape(batch, tokens, width))


class MLP(nn.Module):
    """Two layers, four times the width between them."""

    def __init__(self, width: int):
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x)))


class Block(nn.Module):
    """A pre-norm residual block."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attn = Attention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = MLP(width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Backbone(nn.Module):
    """A stack of blocks; a module of its own only because the published names say so."""

    def __init__(self, width: int, layers: int, heads: int):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.resblocks:
            x = block(x)
        return x


class PointDiffusionTransformer(nn.Module):
    """The unconditional model, and the trunk of the conditional ones.

    `channels` in (xyz and colour, each in [-1, 1]), twice as many out: predicted noise, then the variance's
    place between its bounds (`diffusion.Diffusion.log_variance`).
    """

    def __init__(self, width: int, layers: int, heads: int, channels: int = 6, init_scale: float = 0.25):
        super().__init__()
        self.width = width
        self.channels = channels
        self.time_embed = MLP(width)
        self.ln_pre = nn.LayerNorm(width)
        self.backbone = Backbone(width, layers, heads)
        self.ln_post = nn.LayerNorm(width)
        self.input_proj = nn.Linear(channels, width)
        self.output_proj = nn.Linear(width, 2 * channels)
        self._initialise(init_scale / math.sqrt(width))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x: (B, channels, N) noisy points, t: (B,) -> (B, 2 * channels, N)."""
        return self.run(x, [self.time_token(t)])

    def time_token(self, t: Tensor) -> Tensor:
        """(B,) -> (B, 1, width)."""
        return self.time_embed(timestep_embedding(t, self.width))[:, None]

    def run(self, x: Tensor, context: list[Tensor]) -> Tensor:
        """Attend among the context tokens, each (B, K, width), and the points; give the points' outputs."""
        tokens = torch.cat([*context, self.input_proj(x.transpose(1, 2))], dim=1)
        tokens = self.ln_post(self.backbone(self.ln_pre(tokens)))
        return self.output_proj(tokens[:, -x.shape[2] :]).transpose(1, 2)

    def _initialise(self, std: float) -> None:
        """Small normal weights in the blocks, zero output: the first prediction is no noise at all."""
        for part in (self.time_embed, self.backbone):
            for layer in part.modules():
                if isinstance(layer, nn.Linear):
                    nn.init.normal_(layer.weight, std=std)
                    nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.output_proj.weight)
        nn.init.zeros_(self.output_proj.bias)


class ImageGridTransformer(PointDiffusionTransformer):
    """Conditioned on a grid of image features: each cell becomes a token by a norm and a linear layer."""

    def __init__(self, width: int, layers: int, heads: int, features: int, channels: int = 6):
        super().__init__(width, layers, heads, channels)
        self.clip_embed = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, width))

    def forward(self, x: Tensor, t: Tensor, grid: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """x: (B, channels, N), t: (B,), grid: (B, features, cells) -> (B, 2 * channels, N).

        A grid of zeros stands for "no image": the normalisation turns it into a learned constant.
        """
        return self.run(x, [self.time_token(t), self.clip_embed(grid.transpose(1, 2))])
