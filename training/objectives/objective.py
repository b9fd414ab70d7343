"""What a model is trained for: the contract between the train loop, the objectives and the samplers.

    objective = checkpoints.build_objective(config)            # Diffusion, RectifiedFlow or Edm
    t = objective.times(even_places(len(start), generator))
    losses = objective.losses(model, start, t, noise, **condition)
    clouds = sampler.draw(objective, model, noise, condition)

A model is any callable `model(x, t, **condition)` with x (B, C, N) and t (B,) fractional times of about
0..1000, which gives (B, outputs * C, N). Conditions are keyword tensors whose first axis is the batch:
`embeddings`, the encoder's answer, and `low_res`, an upsampler's coarse cloud. An objective knows how noise
is mixed in and what the network's output means; its denoiser hides both, so every sampler serves them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

Model = Callable[..., Tensor]  # (B, C, N) noisy, (B,) time, **condition -> (B, outputs * C, N)
Denoiser = Callable[[Tensor, float], Tensor]  # (B, C, N) = clean + sigma * noise, sigma -> (B, C, N) clean


class Objective(Protocol):
    """A way to train a model and to read its output."""

    @property
    def outputs(self) -> int:
        """Numbers that the network gives for each channel of a point."""
        ...

    def times(self, places: Tensor) -> Tensor:
        """Places (B,), uniform in [0, 1), as times (B,) of the distribution to train on, rising with them."""
        ...

    def losses(
        self, model: Model, start: Tensor, t: Tensor, noise: Tensor, **condition: Tensor
    ) -> dict[str, Tensor]:
        """Losses a sample, each (B,): `loss` to minimize, `mse`, and what else the objective has.

        start, noise: (B, C, N), the clean clouds in the network's frame and unit noise; t: from `times`.
        """
        ...

    def denoiser(self, model: Model, **condition: Tensor) -> Denoiser:
        """The model as a guess of the clean cloud at a noise level, held in [-1, 1]."""
        ...

    def levels(self, steps: int) -> list[float]:
        """The noise levels of a sampler's `steps` steps: falling, ending with 0."""
        ...


def even_places(count: int, generator: torch.Generator) -> Tensor:
    """(count,) numbers in [0, 1), each uniform by itself, together evenly spread, in random order.

    The loss depends on the time above all, and so varies less (Kingma et al. 2021, arXiv:2107.00630,
    appendix I).
    """
    places = (torch.arange(count) + torch.rand(1, generator=generator)) / count
    return places[torch.randperm(count, generator=generator)]


def normal(places: Tensor, mean: float, std: float) -> Tensor:
    """The quantiles of a normal distribution at `places` in [0, 1)."""
    return mean + std * torch.special.ndtri(places.clamp(1e-6, 1 - 1e-6))


def karras_sigmas(steps: int, low: float, high: float, rho: float = 7.0) -> list[float]:
    """`steps` noise levels from `high` down to `low`, then 0 (Karras et al. 2022, equation 5)."""
    ramp = np.linspace(0, 1, steps)
    levels = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return [*levels.tolist(), 0.0]


def mean_by_sample(x: Tensor) -> Tensor:
    """(B, ...) -> (B,)."""
    return x.flatten(1).mean(1)
