"""Point-E's transformers: a noisy cloud, its time and a condition in; noise and variance out.

Points are tokens without positional embeddings, so the networks are equivariant to their order and take any
number of them. Attention weighs tokens by their number, though: with more points than in training, the
context (time, image, coarse cloud) would fade. `Shape.seen` corrects that. The architecture, its
initialization and every name in the state dict are those of the published checkpoints (Nichol et al. 2022,
arXiv:2212.08751), which therefore load by name. Attention goes through `scaled_dot_product_attention` instead
of the published einsum under recomputation: the same numbers, less memory and time.
`training.networks.point_e` has the published sizes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from training.networks.views import Views, ViewShape


@dataclass(frozen=True)
class Shape:
    """The size of a network, and its options beyond the published ones."""

    width: int
    layers: int
    heads: int
    channels: int = 6
    """Numbers per point: xyz and color in [-1, 1]; 7 with the label."""
    outputs: int = 2
    """Outputs per channel: 2 for the prediction and the variance; flow and EDM need 1."""
    qk_norm: bool = False
    """RMS-normalize queries and keys: stable in bfloat16 (arXiv:2302.05442)."""
    skips: bool = False
    """Long skip connections from the first half of the blocks to the second (U-ViT, arXiv:2209.12152)."""
    seen: int = 0
    """Points per training step. For another number N, their attention logits are shifted by log(seen / N),
    so that together they weigh as much against the context as in training; 0: no shift."""
    recompute: bool = False
    """Recompute a block's activations in the backward pass: a third more work, far less memory."""
    views: ViewShape = ViewShape()  # noqa: RUF009, frozen
    """What is added for views with cameras."""


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
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    """Multi-head self-attention. `c_qkv` is laid out head by head, [q|k|v] within each, as published."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False):
        super().__init__()
        self.heads = heads
        self.c_qkv = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)
        self.q_norm = HeadNorm(width // heads) if qk_norm else nn.Identity()
        self.k_norm = HeadNorm(width // heads) if qk_norm else nn.Identity()

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        """x: (B, T, width), shift: (T,), added to the logits of each key -> (B, T, width)."""
        batch, tokens, width = x.shape
        qkv = self.c_qkv(x).view(batch, tokens, self.heads, 3 * width // self.heads).transpose(1, 2)
        q, k, v = qkv.chunk(3, dim=-1)  # each (B, heads, tokens, head width)
        mask = None if shift is None else shift.to(q.dtype).expand(1, 1, tokens, tokens)
        mixed = F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v, attn_mask=mask)
        return self.c_proj(mixed.transpose(1, 2).reshape(batch, tokens, width))


class MLP(nn.Module):
    """Two layers with a hidden width of four times the width."""

    def __init__(self, width: int):
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x)))


class Block(nn.Module):
    """A pre-norm residual block."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False):
        super().__init__()
        self.attn = Attention(width, heads, qk_norm)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = MLP(width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        """x: (B, T, width), shift: (T,), see `Attention` -> (B, T, width)."""
        x = x + self.attn(self.ln_1(x), shift)
        return x + self.mlp(self.ln_2(x))


class Backbone(nn.Module):
    """A stack of blocks, with long skips if asked for."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.recompute = shape.recompute
        self.resblocks = nn.ModuleList(
            Block(shape.width, shape.heads, shape.qk_norm) for _ in range(shape.layers)
        )
        joined = shape.layers // 2 if shape.skips else 0
        self.skips = nn.ModuleList(nn.Linear(2 * shape.width, shape.width) for _ in range(joined))

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        """x: (B, T, width), shift: (T,), see `Attention` -> (B, T, width)."""
        saved: list[Tensor] = []
        first_joined = len(self.resblocks) - len(self.skips)
        for i, block in enumerate(self.resblocks):
            if i >= first_joined:
                x = self.skips[i - first_joined](torch.cat([x, saved.pop()], dim=-1))
            x = self._run(block, x, shift)
            if i < len(self.skips):
                saved.append(x)
        return x

    def initialize(self, std: float) -> None:
        """Small normal weights, zero biases; a skip connection starts as the identity."""
        initialize_linears(self, std)
        with torch.no_grad():
            for skip in self.skips:
                assert isinstance(skip, nn.Linear)
                skip.weight.zero_()[:, : len(skip.weight)].fill_diagonal_(1)

    def _run(self, block: nn.Module, x: Tensor, shift: Tensor | None) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(block, x, shift, use_reentrant=False)  # pyright: ignore[reportReturnType]
        return block(x, shift)


def initialize_linears(part: nn.Module, std: float) -> None:
    """Normal weights of standard deviation `std` and zero biases in every linear layer."""
    for layer in part.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)


class PointTransformer(nn.Module):
    """What the models share: time and points in, points out, attention with context tokens in between."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.time_embed = MLP(shape.width)
        self.ln_pre = nn.LayerNorm(shape.width)
        self.backbone = Backbone(shape)
        self.ln_post = nn.LayerNorm(shape.width)
        self.input_proj = nn.Linear(shape.channels, shape.width)
        self.output_proj = nn.Linear(shape.width, shape.outputs * shape.channels)
        std = 0.25 / math.sqrt(shape.width)
        initialize_linears(self.time_embed, std)
        self.backbone.initialize(std)
        nn.init.zeros_(self.output_proj.weight)  # the first prediction is zero
        nn.init.zeros_(self.output_proj.bias)
        self.views = Views(shape.width, shape.views)

    @property
    def channels(self) -> int:
        return self.shape.channels

    def time_token(self, t: Tensor) -> Tensor:
        """(B,) -> (B, 1, width)."""
        return self.time_embed(timestep_embedding(t, self.shape.width))[:, None]

    def run(self, x: Tensor, context: list[Tensor], **views: Tensor | None) -> Tensor:
        """x (B, channels, N) and context tokens, each (B, K, width) -> (B, outputs * channels, N).

        `views` are the cameras and pixels of a condition (`training.conditioning.shown`).
        """
        points = self.views.at_points(self.input_proj(x.transpose(1, 2)), x, **views)
        tokens = torch.cat([*context, points], dim=1)
        shift = self._shift(tokens, x.shape[2])
        tokens = self.ln_post(self.backbone(self.ln_pre(tokens), shift))
        return self.output_proj(tokens[:, -x.shape[2] :]).transpose(1, 2)

    def _shift(self, tokens: Tensor, points: int) -> Tensor | None:
        """The shift of each key's logits, (T,), the points last; None for as many points as in training."""
        if self.shape.seen in (0, points):
            return None
        shift = tokens.new_zeros(tokens.shape[1], dtype=torch.float32)
        shift[-points:] = math.log(self.shape.seen / points)
        return shift


class PointDiffusionTransformer(PointTransformer):
    """The unconditional model."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x: (B, channels, N) noisy points, t: (B,) -> (B, outputs * channels, N)."""
        return self.run(x, [self.time_token(t)])


class ImageVectorTransformer(PointTransformer):
    """Conditioned on one vector of unit length, CLIP's of an image or text: one token."""

    def __init__(self, shape: Shape, features: int):
        super().__init__(shape)
        self.clip_embed = nn.Linear(features, shape.width)

    def forward(self, x: Tensor, t: Tensor, embeddings: Tensor) -> Tensor:
        """x: (B, channels, N), t: (B,), embeddings: (B, features) -> (B, outputs * channels, N).

        The vector is scaled to unit variance; zeros mean "no image". Several views, (B, V, features), are
        tokens of their own.
        """
        tokens = self.clip_embed(math.sqrt(embeddings.shape[-1]) * embeddings)
        return self.run(x, [tokens if tokens.dim() == 3 else tokens[:, None], self.time_token(t)])


class ImageGridTransformer(PointTransformer):
    """Conditioned on grids of image features; a norm and a linear layer make each cell a token."""

    def __init__(self, shape: Shape, features: int):
        super().__init__(shape)
        self.clip_embed = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, shape.width))

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        embeddings: Tensor,
        cameras: Tensor | None = None,
        known: Tensor | None = None,
        pixels: Tensor | None = None,
    ) -> Tensor:
        """x: (B, channels, N), t: (B,), embeddings: (B, V, features, cells) -> (B, outputs * channels, N).

        A grid of zeros means "no image": the normalization turns it into a learned constant. One view may be
        (B, features, cells). The rest is what `Shape.views` asks for (`training.conditioning.shown`).
        """
        grid = self.views.tokens(self.clip_embed(embeddings.transpose(-1, -2)), cameras, known)
        context = [self.time_token(t), grid.flatten(1, 2)]
        return self.run(x, context, cameras=cameras, known=known, pixels=pixels)


class UpsampleTransformer(PointTransformer):
    """Conditioned on a grid and on a coarse cloud, to which it adds points."""

    channel_scales: Tensor
    channel_biases: Tensor

    def __init__(self, shape: Shape, features: int):
        super().__init__(shape)
        # Published checkpoints contain these buffers; a label channel needs no scaling.
        scales, biases = [2.0] * 3 + [1 / 127.5] * 3 + [1.0], [0.0] * 3 + [-1.0] * 3 + [0.0]
        self.register_buffer("channel_scales", torch.tensor(scales[: shape.channels]))
        self.register_buffer("channel_biases", torch.tensor(biases[: shape.channels]))
        self.clip_embed = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, shape.width))
        self.cond_point_proj = nn.Linear(shape.channels, shape.width)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        embeddings: Tensor,
        low_res: Tensor,
        cameras: Tensor | None = None,
        known: Tensor | None = None,
        pixels: Tensor | None = None,
    ) -> Tensor:
        """As ImageGridTransformer; low_res: (B, channels, M), the coarse points in the network's frame.

        The published model takes them in Point-E's units; `scaled` converts those.
        """
        grid = self.views.tokens(self.clip_embed(embeddings.transpose(-1, -2)), cameras, known)
        coarse = self.cond_point_proj(low_res.transpose(1, 2))
        context = [self.time_token(t), grid.flatten(1, 2), coarse]
        return self.run(x, context, cameras=cameras, known=known, pixels=pixels)

    def scaled(self, low_res: Tensor) -> Tensor:
        """(B, channels, M), published units (xyz in [-0.5, 0.5], colors 0..255) to the network's frame."""
        return low_res * self.channel_scales[:, None] + self.channel_biases[:, None]
