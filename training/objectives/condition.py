"""A condition: a network's keyword tensors, whose first axis is the batch. `Inputs` lists them.

Losses, samplers and guidance pass them on whole (`model(x, t, **condition)`); a network looks at them as
`Inputs(**condition)`. One more is no input: `truth` (B, V, 2, S, S), what a segmenter is to find
(`training.segmentation.truth`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Condition = dict[str, Tensor]
SHOWN = ("embeddings", "known", "pixels", "outlines", "inside", "interiors")
"""What is withheld where nothing is shown."""
SHOWN_AS = {"embeddings", "memory"}
"""A condition without one of these shows nothing of the object."""
PER_VIEW = ("embeddings", "cameras", "known", "pixels", "outlines", "inside", "interiors")


@dataclass(frozen=True)
class Inputs:
    """What a network may be given of B objects; it needs some of it, and may do without the rest."""

    embeddings: Tensor | None = None
    """The encoder's tokens of V views, (B, V, features, cells), or of a text, (B, features)."""
    cameras: Tensor | None = None
    """The views' cameras, (B, V, 19), see `training.conditioning.cameras`."""
    known: Tensor | None = None
    """Whether the network is told them, (B, V) bool."""
    pixels: Tensor | None = None
    """The views' premultiplied RGBA, (B, V, 4, S, S), to sample where a point falls."""
    outlines: Tensor | None = None
    """Where the views' silhouettes are, (B, V, 3, S, S) float16, see `training.conditioning.outlines`."""
    inside: Tensor | None = None
    """What lies behind the views' pixels, (B, V, 2, S, S), see `training.conditioning.masks`; zeros where
    nothing is known."""
    interiors: Tensor | None = None
    """Where the insides are that lie behind the views, as `outlines`; zeros where none is known."""
    memory: Tensor | None = None
    """What a network has made of the views before sampling, (B, ...), in place of their embeddings."""
    low_res: Tensor | None = None
    """An upsampler's coarse cloud, (B, C, n)."""
    clouds: Tensor | None = None
    """A merger's clouds, (B, K, C, M)."""
    toward: Tensor | None = None
    """The directions of their cameras, (B, K, 3), 0 where unknown."""

    @property
    def views(self) -> int:
        """V; 1 where no tensor says it: a text, or a memory of views without cameras."""
        if self.known is not None:
            return self.known.shape[1]
        return self.embeddings.shape[1] if self.embeddings is not None and self.embeddings.dim() == 4 else 1


def withheld(condition: Condition, keep: Tensor | None = None) -> Condition:
    """The condition of objects that nothing is shown of: those where `keep`, (B,) bool, is false; None: all.

    Embeddings, pixels and masks become zeros, and no camera is known. An upsampler keeps its coarse cloud.
    """

    def blank(value: Tensor) -> Tensor:
        if keep is None:
            return torch.zeros_like(value)
        return value * keep.to(value.device).view(-1, *[1] * (value.dim() - 1))

    return condition | {name: blank(condition[name]) for name in SHOWN if name in condition}


def by_view(condition: Condition) -> list[Condition]:
    """A condition of its own for each view, as networks take that know a single one: (B, 1, ...) each."""
    views = condition["embeddings"].shape[1]
    return [
        condition | {name: condition[name][:, view : view + 1] for name in PER_VIEW if name in condition}
        for view in range(views)
    ]
