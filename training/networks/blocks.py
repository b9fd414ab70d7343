"""What the transformers are built of: attention, pre-norm blocks, the embedding of times.

Names and layouts are those of the published checkpoints. Attention goes through
`scaled_dot_product_attention` instead of the published einsum under recomputation: the same numbers, less
memory and time.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def timestep_embedding(t: Tensor, width: int) -> Tensor:
    """(B,) times in 0..1023, fractional too -> (B, width): cosines, then sines, of periods up to 10,000."""
    half = width // 2
    frequencies = torch.exp(
        -math.log(10_000) * torch.arange(half, device=t.device, dtype=torch.float32) / half
    )
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class HeadNorm(nn.RMSNorm):
    """RMS norm of a head's queries or keys, in their own precision."""

    def __init__(self, width: int):
        super().__init__(width, eps=1e-6)  # PyTorch's default for bfloat16 would be 0.008

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> the same shape and dtype."""
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    """Multi-head self-attention. `c_qkv` is laid out head by head, [q|k|v] within each, as published.

    Keys and values are one tensor, (B, 2, heads, T, head width), where they are kept: see `Backbone.extend`.
    """

    def __init__(self, width: int, heads: int, qk_norm: bool = False):
        super().__init__()
        self.heads = heads
        self.c_qkv = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)
        self.q_norm = HeadNorm(width // heads) if qk_norm else nn.Identity()
        self.k_norm = HeadNorm(width // heads) if qk_norm else nn.Identity()

    def forward(self, x: Tensor, shift: Tensor | None = None, past: Tensor | None = None) -> Tensor:
        """x: (B, T, width), shift: (P + T,), added to the logits of each key -> (B, T, width).

        past: (B, 2, heads, P, head width), keys and values of earlier tokens.
        """
        q, k, v = self.split(x)
        if past is not None:
            k, v = torch.cat([past[:, 0], k], dim=2), torch.cat([past[:, 1], v], dim=2)
        return self.mix(q, k, v, shift)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, width) -> queries, keys and values, each (B, heads, T, head width)."""
        qkv = self.c_qkv(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        q, k, v = qkv.chunk(3, dim=-1)
        return self.q_norm(q), self.k_norm(k), v

    def mix(self, q: Tensor, k: Tensor, v: Tensor, shift: Tensor | None = None) -> Tensor:
        """q (B, heads, T, head width), k and v of K tokens, shift (K,) -> (B, T, width)."""
        mask = None if shift is None else shift.to(q.dtype).expand(1, 1, q.shape[2], len(shift))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.c_proj(mixed.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two layers with a hidden width of four times the width."""

    def __init__(self, width: int):
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        return self.c_proj(F.gelu(self.c_fc(x)))


class Block(nn.Module):
    """A pre-norm residual block."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False):
        super().__init__()
        self.attn = Attention(width, heads, qk_norm)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = MLP(width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, shift: Tensor | None = None, past: Tensor | None = None) -> Tensor:
        """x: (B, T, width), shift and past: see `Attention` -> (B, T, width)."""
        x = x + self.attn(self.ln_1(x), shift, past)
        return x + self.mlp(self.ln_2(x))

    def extend(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """As `forward`, (B, T, width), and the keys and values of earlier tokens and these."""
        q, *own = self.attn.split(self.ln_1(x))
        keys = torch.stack(own, dim=1)
        keys = keys if past is None else torch.cat([past, keys], dim=3)
        x = x + self.attn.mix(q, keys[:, 0], keys[:, 1])
        return x + self.mlp(self.ln_2(x)), keys


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


def initialize_linears(part: nn.Module, std: float) -> None:
    """Normal weights of standard deviation `std` and zero biases in every linear layer."""
    for layer in part.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)
