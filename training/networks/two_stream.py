"""A two-stream transformer whose cost is linear in the points: trained at 1,024, sampled at any number.

The network of PointInfinity (Huang et al. 2024, arXiv:2404.03566), after RIN (arXiv:2212.11972). The points
are one stream, a fixed number of learned latents the other. A block *reads* the points into the latents by
cross-attention, computes among the latents alone, and *writes* back to each point, again by cross-attention.
Points never attend to each other, so the network is equivariant to their order, and twice the points cost
twice as much. The latents hold what is known of the surface, and their number does not depend on the points:
no upsampler is needed. Time and image are tokens among the latents.

Omitted: RIN's latent self-conditioning, which makes a sampler carry state from step to step.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from training.networks.blocks import MLP, Block, CrossBlock, initialize_linears, timestep_embedding
from training.networks.transformer import Shape
from training.networks.views import Remembering, Views
from training.objectives.condition import Inputs


class TwoStreamBlock(nn.Module):
    """Read, compute among the latents, write."""

    def __init__(self, shape: Shape, latent_layers: int):
        super().__init__()
        self.read = CrossBlock(shape.width, shape.heads, shape.qk_norm)
        self.compute = nn.ModuleList(
            Block(shape.width, shape.heads, shape.qk_norm) for _ in range(latent_layers)
        )
        self.write = CrossBlock(shape.width, shape.heads, shape.qk_norm)

    def forward(self, points: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """points: (B, N, width), latents: (B, L, width) -> both, updated."""
        latents = self.read(latents, points)
        for block in self.compute:
            latents = block(latents)
        return self.write(points, latents), latents


class TwoStreamTransformer(Remembering):
    """The network: `shape.layers` blocks of `latent_layers` each over `latents` latents.

    `features` is the width of the image's tokens; 0: unconditional.
    """

    def __init__(self, shape: Shape, features: int, latents: int = 256, latent_layers: int = 4):
        super().__init__()
        self.shape = shape
        width = shape.width
        self.time_embed = MLP(width)
        self.input_proj = nn.Linear(shape.channels, width)
        self.latents = nn.Parameter(torch.randn(latents, width) / math.sqrt(width))
        self.ln_points, self.ln_latents = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(TwoStreamBlock(shape, latent_layers) for _ in range(shape.layers))
        self.ln_post = nn.LayerNorm(width)
        self.output_proj = nn.Linear(width, shape.outputs * shape.channels)
        for part in (self.time_embed, self.blocks):
            initialize_linears(part, 0.25 / math.sqrt(width))
        nn.init.zeros_(self.output_proj.weight)
        nn.init.zeros_(self.output_proj.bias)
        if features:
            self.clip_embed = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, width))
        self.views = Views(width, shape.heads, replace(shape.views, latents=0))

    @property
    def channels(self) -> int:
        """Channels of a point, as of `PointTransformer`."""
        return self.shape.channels

    def forward(self, x: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        """x: (B, channels, N), t: (B,), embeddings: (B, V, features, cells) -> (B, outputs * channels, N).

        As `transformer.ImageGridTransformer`. Its memory is what its latents have read of the views.
        """
        given, memory = Inputs(**condition), None
        points = self.views.at_points(self.input_proj(x.transpose(1, 2)), x, given)
        points = self.ln_points(points)
        tokens = [self.time_embed(timestep_embedding(t, self.shape.width))[:, None]]
        if given.embeddings is not None or given.memory is not None:
            tokens, memory = self.shown(tokens, given)
        tokens.insert(0, self.latents.expand(len(x), -1, -1) if memory is None else memory)
        latents = self.ln_latents(torch.cat(tokens, dim=1))
        for block in self.blocks:
            points, latents = self._run(block, points, latents)
        return self.output_proj(self.ln_post(points)).transpose(1, 2)

    def remember(self, memory: Tensor | None, tokens: Tensor) -> Tensor:
        """The latents (B, L, width) after reading a view's tokens, (B, T, width)."""
        assert self.views.state is not None, "only `state` has a memory here"
        return self.views.state(
            tokens, self.latents.expand(len(tokens), -1, -1) if memory is None else memory
        )

    def _run(self, block: nn.Module, points: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        if self.shape.recompute and torch.is_grad_enabled():
            return checkpoint(block, points, latents, use_reentrant=False)  # pyright: ignore[reportReturnType]
        return block(points, latents)
