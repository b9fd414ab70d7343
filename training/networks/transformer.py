"""Point-E's transformers: a noisy cloud, its time and a condition in; noise and variance out.

Points are tokens without positional embeddings, so the networks are equivariant to their order and take any
number of them. Attention weighs tokens by their number, though: with more points than in training, the
context (time, image, coarse cloud) would fade. `Shape.seen` corrects that. The architecture, its
initialization and every name in the state dict are those of the published checkpoints (Nichol et al. 2022,
arXiv:2212.08751), which therefore load by name. `training.networks.point_e` has the published sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from training.networks.blocks import MLP, Block, initialize_linears, timestep_embedding
from training.networks.views import Remembering, Views, ViewShape
from training.objectives.condition import Inputs


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

    def forward(self, x: Tensor, shift: Tensor | None = None, memory: Tensor | None = None) -> Tensor:
        """x: (B, T, width), shift: see `Attention` -> (B, T, width).

        memory: (B, layers, 2, heads, P, head width), from `extend`: tokens that x attends to.
        """
        pasts = [None] * len(self.resblocks) if memory is None else memory.unbind(1)
        return self._through(x, lambda i, block, x: self._run(block, x, shift, pasts[i]))

    def extend(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """Keys and values of all blocks for tokens that attend to themselves and to those in `memory`.

        x: (B, T, width) -> (B, layers, 2, heads, P + T, head width), those of `memory` first.
        """
        kept: list[Tensor] = []

        def step(i: int, block: nn.Module, x: Tensor) -> Tensor:
            assert isinstance(block, Block)
            x, keys = block.extend(x, None if memory is None else memory[:, i])
            kept.append(keys)
            return x

        self._through(x, step)
        return torch.stack(kept, dim=1)

    def _through(self, x: Tensor, step: Callable[[int, nn.Module, Tensor], Tensor]) -> Tensor:
        """x through all blocks and skips."""
        saved: list[Tensor] = []
        first_joined = len(self.resblocks) - len(self.skips)
        for i, block in enumerate(self.resblocks):
            if i >= first_joined:
                x = self.skips[i - first_joined](torch.cat([x, saved.pop()], dim=-1))
            x = step(i, block, x)
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

    def _run(self, block: nn.Module, x: Tensor, shift: Tensor | None, past: Tensor | None) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(block, x, shift, past, use_reentrant=False)  # pyright: ignore[reportReturnType]
        return block(x, shift, past)


class PointTransformer(Remembering):
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
        self.views = Views(shape.width, shape.heads, shape.views)

    @property
    def channels(self) -> int:
        """Channels of a point: 3 of place, then colors and the label, as far as it has them."""
        return self.shape.channels

    def time_token(self, t: Tensor) -> Tensor:
        """(B,) -> (B, 1, width)."""
        return self.time_embed(timestep_embedding(t, self.shape.width))[:, None]

    def run(
        self,
        x: Tensor,
        context: list[Tensor],
        given: Inputs = Inputs(),  # noqa: B008, frozen
        memory: Tensor | None = None,
        beside: Tensor | None = None,
    ) -> Tensor:
        """x (B, channels, N) and context tokens, each (B, K, width) -> (B, outputs * channels, N).

        `given` is what the views show where points fall; `memory` is what `remembered` makes of the views,
        (B, ...); `beside`, (B, N, width), is added to the points' tokens.
        """
        points = self.views.at_points(self.input_proj(x.transpose(1, 2)), x, given)
        points = points if beside is None else points + beside
        if memory is not None and self.views.state is not None:
            context, memory = [*context, memory], None
        tokens = torch.cat([*context, points], dim=1)
        shift = self._shift(tokens, x.shape[2], given, memory)
        tokens = self.ln_post(self.backbone(self.ln_pre(tokens), shift, memory))
        return self.output_proj(tokens[:, -x.shape[2] :]).transpose(1, 2)

    def remember(self, memory: Tensor | None, tokens: Tensor) -> Tensor:
        """The memory (B, ...) with further tokens, (B, T, width)."""
        if self.views.state is not None:
            return self.views.state(tokens, memory)
        return self.backbone.extend(self.ln_pre(tokens), memory)

    def _shift(self, tokens: Tensor, points: int, given: Inputs, memory: Tensor | None) -> Tensor | None:
        """The shift of each key's logits, (K,): of the memory, then of tokens (B, T, width), points last.

        None for as many points as in training, and no more views.
        """
        seen = self.shape.seen or points
        spare = math.log(min(1, self.views.most / given.views)) if self.views.most else 0.0
        if seen == points and not spare:
            return None
        remembered = 0 if memory is None else memory.shape[4]
        shift = torch.zeros(remembered + tokens.shape[1], device=tokens.device)
        if remembered:
            shift[:remembered] = spare
        elif given.embeddings is not None:
            shift[1 : 1 + given.views * given.embeddings.shape[-1]] = spare  # after the time's token
        shift[-points:] = math.log(seen / points)
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

    def forward(self, x: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        """x: (B, channels, N), t: (B,), embeddings: (B, V, features, cells) -> (B, outputs * channels, N).

        A grid of zeros means "no image": the normalization turns it into a learned constant. One view may be
        (B, features, cells). The rest is what `Shape.views` asks for (`training.objectives.condition`).
        """
        given = Inputs(**condition)
        context, memory = self.shown([self.time_token(t)], given)
        return self.run(x, context, given, memory)


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

    def forward(self, x: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        """As ImageGridTransformer; low_res: (B, channels, M), the coarse points in the network's frame.

        The published model takes them in Point-E's units; `scaled` converts those.
        """
        given = Inputs(**condition)
        if given.low_res is None:
            raise ValueError("an upsampler needs its coarse cloud: give low_res")
        context, memory = self.shown([self.time_token(t)], given)
        context.append(self.cond_point_proj(self.told(given.low_res).transpose(1, 2)))
        return self.run(x, context, given, memory, self.beside(x, given.low_res))

    def told(self, low_res: Tensor) -> Tensor:
        """The coarse points that are tokens, (B, channels, K) of (B, channels, M)."""
        return low_res

    def beside(self, x: Tensor, low_res: Tensor) -> Tensor | None:
        """What the tokens of points x, (B, channels, N), are told of the coarse ones: (B, N, width)."""
        return None

    def scaled(self, low_res: Tensor) -> Tensor:
        """(B, channels, M), published units (xyz in [-0.5, 0.5], colors 0..255) to the network's frame."""
        return low_res * self.channel_scales[:, None] + self.channel_biases[:, None]
