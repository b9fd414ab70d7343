"""A condition: a network's keyword tensors, whose first axis is the batch.

- `embeddings`: the encoder's tokens of V views, (B, V, features, cells), or of a text, (B, features).
- `cameras` (B, V, 19) and `known` (B, V) bool: the views' cameras (`training.conditioning.cameras`), and
  whether the network is told them.
- `pixels` (B, V, 4, S, S): the views' premultiplied RGBA, to sample where a point falls.
- `memory` (B, ...): what a network has made of `embeddings` before sampling, in their place.
- `low_res` (B, C, n): an upsampler's coarse cloud.
- `truth` (B, V, 2, S, S): for a segmenter, what it is to find (`training.segmentation.truth`).
- `clouds` (B, K, C, M) and `toward` (B, K, 3): a merger's clouds, and the directions of their cameras.
"""

from __future__ import annotations

import torch
from torch import Tensor

Condition = dict[str, Tensor]
SHOWN = ("embeddings", "known", "pixels")
"""What is withheld where nothing is shown."""
SHOWN_AS = {"embeddings", "memory"}
"""A condition without one of these shows nothing of the object."""
PER_VIEW = ("embeddings", "cameras", "known", "pixels")


def withheld(condition: Condition, keep: Tensor | None = None) -> Condition:
    """The condition of objects that nothing is shown of: those where `keep`, (B,) bool, is false; None: all.

    Embeddings and pixels become zeros, and no camera is known. An upsampler keeps its coarse cloud.
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
