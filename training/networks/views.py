"""How a network takes several views: camera rays and tags of their tokens, and what views show at a point.

Every part but `State` starts silent (its last weights are zero), so a checkpoint trained without it begins as
it was. Any number of views will do, and with `tokens` nothing depends on their order but learned tags.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from training.conditioning.cameras import Fall, position, project, rays, shown_at
from training.conditioning.masks import cell_means
from training.conditioning.outlines import toward_outlines
from training.networks.blocks import Block, CrossBlock, initialize_linears
from training.objectives.condition import Condition, Inputs

Fusion = Literal["tokens", "causal", "state"]
"""`tokens`: one sequence with the points. `causal`: a view attends to itself and to earlier ones, never to
points or time, so its keys and values serve all sampling steps. `state`: views are read one by one into
latents of a fixed number."""


@dataclass(frozen=True)
class ViewShape:
    """What a network adds to the views' tokens and to the points."""

    rays: bool = False
    """Add each cell's Plücker ray to its token."""
    tags: int = 0
    """Number of learned tags, added to a view's tokens by its place in the sequence; 0: none."""
    projected: bool = False
    """Add what the views show where a point falls to the point's token."""
    inside: bool = False
    """Take what lies behind the views' pixels: with each cell's token, and where a point falls."""
    fusion: Fusion = "tokens"
    """How the tokens of several views are used."""
    latents: int = 64
    """For `state`: its latents; 0: the network has its own."""
    outline: bool = False
    """Add the way from a point to each view's silhouette to what is `projected`."""
    most: int = 0
    """Most views per training step. The attention logits of more of them, V, are shifted by log(most / V), so
    that together they weigh as much as that many; 0: no shift. Not for `state`, nor between points and
    latents."""


class Views(nn.Module):
    """The parts of a network that views need beyond the encoder's tokens; none of them by default."""

    def __init__(self, width: int, heads: int, shape: ViewShape):
        super().__init__()
        self.fusion = shape.fusion
        self.most = 0 if shape.fusion == "state" else shape.most
        with torch.random.fork_rng(devices=[]):  # the rest of the network starts the same with or without
            self.rays = Rays(width) if shape.rays else None
            self.tags = nn.Parameter(torch.zeros(shape.tags, width)) if shape.tags else None
            self.projected = None
            if shape.projected:
                self.projected = Projected(width, inside=shape.inside, outline=shape.outline)
            self.inside = zeros(2, width) if shape.inside else None
            self.state = State(width, heads, shape.latents) if shape.fusion == "state" else None

    def tokens(self, tokens: Tensor, given: Inputs, first: int = 0) -> Tensor:
        """Tokens that say where they look from, by the camera or by a learned tag, and what lies behind.

        tokens: (B, V, cells, width) of views `first`.., or (B, cells, width) of one -> (B, V, cells, width).
        A view without a known camera gets a learned vector.
        """
        tokens = tokens if tokens.dim() == 4 else tokens[:, None]
        if self.rays is not None:
            if given.cameras is None or given.known is None:
                raise ValueError("this network takes cameras with its views: give cameras and known")
            tokens = tokens + self.rays(given.cameras, given.known, tokens.shape[2])
        if self.inside is not None and given.inside is not None:
            tokens = tokens + self.inside(cell_means(given.inside, tokens.shape[2]))
        if self.tags is not None:
            places = torch.arange(first, first + tokens.shape[1], device=tokens.device) % len(self.tags)
            tokens = tokens + self.tags[places][:, None]
        return tokens

    def at_points(self, points: Tensor, x: Tensor, given: Inputs) -> Tensor:
        """points: (B, N, width), the tokens of x (B, C, N) -> the same with what the views show there."""
        if self.projected is None:
            return points
        return points + self.projected(x, given)


class State(nn.Module):
    """Views read one by one into latents: as many, and as much work per view, however many there are."""

    def __init__(self, width: int, heads: int, latents: int):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(latents, width) / math.sqrt(width)) if latents else None
        self.read, self.compute = CrossBlock(width, heads), Block(width, heads)
        initialize_linears(self, 0.25 / math.sqrt(width))

    def forward(self, tokens: Tensor, memory: Tensor | None = None) -> Tensor:
        """tokens: (B, T, width) of the next view, memory: (B, latents, width) -> the same."""
        if memory is None:
            assert self.latents is not None, "the network gives its own latents"
            memory = self.latents.expand(len(tokens), -1, -1)
        return self.compute(self.read(memory, tokens))


class Remembering(nn.Module):
    """A network that can be shown views one by one, before sampling: `causal` and `state`.

    It has `views` and `clip_embed`, and says in `remember` what it keeps of the tokens of a view.
    """

    views: Views
    clip_embed: nn.Module

    def remember(self, memory: Tensor | None, tokens: Tensor) -> Tensor:
        """The memory (B, ...) with further tokens, (B, T, width)."""
        raise NotImplementedError

    def tokens_of(self, given: Inputs, first: int = 0) -> Tensor:
        """The tokens of the views `first`.., (B, V, cells, width)."""
        if given.embeddings is None:
            raise ValueError("the network needs embeddings, or the memory of them")
        return self.views.tokens(self.clip_embed(given.embeddings.transpose(-1, -2)), given, first)

    def remembered(self, memory: Tensor | None, given: Inputs, first: int = 0) -> Tensor:
        """The memory (B, ...) with the views `first`.. that are given, in order."""
        for view in self.tokens_of(given, first).unbind(1):
            memory = self.remember(memory, view)
        assert memory is not None
        return memory

    def shown(self, context: list[Tensor], given: Inputs) -> tuple[list[Tensor], Tensor | None]:
        """The context with the tokens of all views, (B, V * cells, width), or the memory (B, ...) of them."""
        if given.memory is not None:
            return context, given.memory
        if self.views.fusion != "tokens":
            return context, self.remembered(None, given)
        return [*context, self.tokens_of(given).flatten(1, 2)], None

    def prepared(self, condition: Condition) -> Condition:
        """The condition, (B, ...) tensors, with the memory of its views in place of their embeddings."""
        if self.views.fusion == "tokens" or "embeddings" not in condition:
            return condition
        rest = {name: value for name, value in condition.items() if name != "embeddings"}
        return rest | {"memory": self.remembered(None, Inputs(**condition))}


class Rays(nn.Module):
    """Where a cell looks from: its camera's ray, or a learned vector for a view without a known camera."""

    def __init__(self, width: int):
        super().__init__()
        self.ray = silent(nn.Linear(6, width))
        self.unposed = nn.Parameter(torch.zeros(width))

    def forward(self, cameras: Tensor, known: Tensor, cells: int) -> Tensor:
        """cameras: (B, V, 19), known: (B, V) -> (B, V, cells, width)."""
        seen = self.ray(rays(cameras, math.isqrt(cells)))
        return torch.where(known[..., None, None], seen, self.unposed.to(seen.dtype))


class Projected(nn.Module):
    """What each view shows where a point falls, over all views with a known camera.

    For each view: premultiplied RGBA at the projection, whether it is inside the picture, and the depth; with
    `inside` what lies behind the pixel, and with `outline` the way to the silhouette, and to that of the
    inside. A shared MLP, then mean, maximum and minimum over the views, in any order and number.
    """

    def __init__(self, width: int, hidden: int = 64, inside: bool = False, outline: bool = False):
        super().__init__()
        self.behind = zeros(2, hidden) if inside else None
        self.outline = Outline(width, hidden) if outline else None
        self.interior = Outline(width, hidden) if outline and inside else None
        self.each = nn.Sequential(nn.Linear(6, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU())
        self.out = silent(nn.Linear(3 * hidden, width))

    def forward(self, x: Tensor, given: Inputs) -> Tensor:
        """x: (B, C, N) -> (B, N, width)."""
        if given.cameras is None or given.known is None or given.pixels is None:
            raise ValueError("this network looks views up: give cameras, known and pixels")
        fall, used = project(x[:, :3].float(), given.cameras), given.known[:, :, None, None]
        features = self.each[0](samples(fall, given.cameras, given.pixels))  # (B, V, N, hidden)
        if self.behind is not None and given.inside is not None:
            features = features + self.behind(shown_at(fall.places, given.inside))
        ways = self._ways(fall, given.cameras, given)
        for part, way in ways:
            features = features + part.of_view(way)
        return sum((part(way, used) for part, way in ways), self._pooled(features, used))

    def _ways(self, fall: Fall, cameras: Tensor, given: Inputs) -> list[tuple[Outline, Tensor]]:
        """The ways of N points to silhouettes and to insides, (B, V, N, 4), with what takes them."""
        found = []
        if self.outline is not None:
            if given.outlines is None:
                raise ValueError("this network looks for silhouettes: give outlines")
            found.append((self.outline, toward_outlines(fall, cameras, given.outlines)))
        if self.interior is not None and given.interiors is not None:
            shown = given.interiors.flatten(2).any(-1)[..., None, None]  # else it adds nothing
            found.append((self.interior, shown * toward_outlines(fall, cameras, given.interiors)))
        return found

    def _pooled(self, features: Tensor, used: Tensor) -> Tensor:
        """features: (B, V, N, hidden) of the first layer, used: (B, V, 1, 1) bool -> (B, N, width)."""
        pooled = torch.cat(over_views(self.each[1:](features), used), dim=-1)
        return self.out(pooled.masked_fill(~used.any(1), 0))


class Outline(nn.Module):
    """The ways from a point to the views' silhouettes (`conditioning.outlines`): their mean and the longest.

    A point far from the object in any view learns from them where the object is, whatever else it falls on.
    """

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.each = zeros(5, hidden)
        self.out = zeros(6, width)

    def of_view(self, ways: Tensor) -> Tensor:
        """ways: (B, V, N, 4), see `toward_outlines` -> (B, V, N, hidden), for the MLP of each view."""
        return self.each(torch.cat([ways, ways[..., :3].norm(dim=-1, keepdim=True)], dim=-1))

    def forward(self, ways: Tensor, used: Tensor) -> Tensor:
        """ways: (B, V, N, 4), used: (B, V, 1, 1) bool -> (B, N, width), 0 without a view."""
        return self.out(mean_and_longest(ways[..., :3], used))


def over_views(each: Tensor, used: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean, the most and the least over the views that are used, (B, V, 1, 1) bool: (B, V, N, F) ->
    (B, N, F) each; without a view they mean nothing."""
    mean = (each * used).sum(1) / used.sum(1).clamp(min=1)
    return mean, each.masked_fill(~used, -math.inf).amax(1), each.masked_fill(~used, math.inf).amin(1)


def mean_and_longest(ways: Tensor, used: Tensor) -> Tensor:
    """Over the views that are used, (B, V, 1, 1) bool: ways (B, V, N, 3) -> (B, N, 6), 0 without a view."""
    ways = ways * used
    longest = ways.norm(dim=-1, keepdim=True).argmax(1, keepdim=True).expand(-1, -1, -1, 3)
    return torch.cat([ways.sum(1) / used.sum(1).clamp(min=1), ways.gather(1, longest)[:, 0]], dim=-1)


def silent(layer: nn.Linear) -> nn.Linear:
    """The layer with zero weights: it adds nothing until it is trained."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def zeros(inputs: int, outputs: int) -> nn.Linear:
    """A layer of zero weights without bias: it adds nothing for zeros, and leaves the random state alone."""
    with torch.random.fork_rng(devices=[]):
        layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.zeros_(layer.weight)
    return layer


def samples(fall: Fall, cameras: Tensor, pixels: Tensor) -> Tensor:
    """What each view shows where N points fall: (B, V, N, 6).

    cameras: (B, V, 19), pixels: (B, V, 4, S, S). RGBA, inside the picture or not, and depth less the camera's
    distance from the origin.
    """
    inside = (fall.places.abs() < 1).all(-1, keepdim=True)
    beyond = fall.depth - position(cameras).norm(dim=-1)[..., None]
    return torch.cat([shown_at(fall.places, pixels), inside, beyond[..., None]], dim=-1)
