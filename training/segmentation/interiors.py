"""What a segmenter is trained for: the share of interior and the number of surfaces of every covered cell.

It shares the loop of the generators, so it is one of their objectives: it mixes in no noise, the time is
always 0, and the truth comes with the condition, as `truth`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.objectives.objective import Model, Noiseless
from training.segmentation.head import covered


@dataclass(frozen=True)
class Interiors(Noiseless):
    """Cross-entropy of the shares of interior, and Poisson likelihood of the numbers of surfaces."""

    def losses(
        self, model: Model, start: Tensor, t: Tensor, noise: Tensor, **condition: Tensor
    ) -> dict[str, Tensor]:
        """`loss`, and `mse` of the shares (their Brier score), per covered cell, (B,) each.

        Of start (B, C, N) nothing is used; `truth` (B, V, 2, S, S) is that of the condition's pictures.
        """
        pixels = condition["pixels"]
        found = model(condition["embeddings"], pixels).float()
        return head_losses(found, condition["truth"], covered(pixels))


def head_losses(found: Tensor, truth: Tensor, cover: Tensor) -> dict[str, Tensor]:
    """`loss` and `mse` of a head's outputs (B, V, 2, S, S), (B,) each.

    `truth` (B, V, 2, S, S) has each cell's share of interior and mean number of surfaces, `cover`
    (B, V, S, S) the share that the object covers: what is outside it counts nothing.
    """
    share = torch.minimum(truth[:, :, 0], cover)
    logit, log_count = found[:, :, 0], found[:, :, 1]
    mask = -share * F.logsigmoid(logit) - (cover - share) * F.logsigmoid(-logit)
    count = cover * log_count.exp() - truth[:, :, 1] * log_count
    brier = cover * (torch.sigmoid(logit) - share / cover.clamp(min=1e-6)).square()
    whole = cover.sum((1, 2, 3)).clamp(min=1)
    return {
        "loss": (mask + count).sum((1, 2, 3)) / whole,
        "mse": (brier.sum((1, 2, 3)) / whole).detach(),
    }
