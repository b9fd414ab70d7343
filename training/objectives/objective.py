"""What a model is trained for: the contract between the train loop, the objectives and the samplers.

    objective = checkpoints.build_objective(config)            # Diffusion, RectifiedFlow or Edm
    t = objective.times(even_quantiles(len(start), generator))
    losses = objective.losses(model, start, t, noise, **condition)
    clouds = sampler.sample(objective, model, noise, condition)

A model is any callable `model(x, t, **condition)` with x (B, C, N) and t (B,) fractional times of about
0..1000, which returns (B, outputs * C, N). Conditions are keyword tensors (`condition`). An
objective knows how noise is mixed in and what the network's output means; its denoiser hides both, so every
sampler works with all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

Model = Callable[..., Tensor]  # (B, C, N) noisy, (B,) time, **condition -> (B, outputs * C, N)
Denoiser = Callable[[Tensor, float], Tensor]  # (B, C, N) = clean + sigma * noise, sigma -> (B, C, N) clean


class Objective(Protocol):
    """How a model is trained and its output interpreted."""

    @property
    def outputs(self) -> int:
        """The network's outputs per channel of a point."""
        ...

    def times(self, quantiles: Tensor) -> Tensor:
        """Quantiles (B,) in [0, 1) -> times (B,) of the training distribution, increasing with them."""
        ...

    def losses(
        self, model: Model, start: Tensor, t: Tensor, noise: Tensor, **condition: Tensor
    ) -> dict[str, Tensor]:
        """Losses per sample, each (B,): `loss` to minimize, `mse`, and others that the objective has.

        start, noise: (B, C, N), the clean clouds in the network's frame and unit noise; t: from `times`.
        """
        ...

    def denoiser(self, model: Model, **condition: Tensor) -> Denoiser:
        """The model as an estimate of the clean cloud at a noise level, clamped to [-1, 1]."""
        ...

    def levels(self, steps: int) -> list[float]:
        """The noise levels of a sampler's `steps` steps: decreasing, ending with 0."""
        ...


@dataclass(frozen=True)
class Noiseless:
    """The part of an objective that networks share which predict in one pass: no noise, and the time is 0."""

    outputs: int = 1

    def times(self, quantiles: Tensor) -> Tensor:
        """(B,): always 0."""
        return torch.zeros_like(quantiles)

    def denoiser(self, model: Model, **condition: Tensor) -> Denoiser:
        """No clouds are sampled, unless an objective says how."""
        raise NotImplementedError(f"{type(self).__name__}: no clouds are sampled")

    def levels(self, steps: int) -> list[float]:
        """No clouds are sampled, unless an objective says how."""
        raise NotImplementedError(f"{type(self).__name__}: no clouds are sampled")


def even_quantiles(count: int, generator: torch.Generator) -> Tensor:
    """`count` numbers in [0, 1), (B,) float32: each uniform, together evenly spread, in random order.

    The loss depends on the time above all, so this reduces its variance (Kingma et al. 2021,
    arXiv:2107.00630, appendix I).
    """
    quantiles = (torch.arange(count) + torch.rand(1, generator=generator)) / count
    return quantiles[torch.randperm(count, generator=generator)]


def normal(quantiles: Tensor, mean: float, std: float) -> Tensor:
    """Quantiles (B,) in [0, 1) -> the values of a normal distribution there, (B,)."""
    return mean + std * torch.special.ndtri(quantiles.clamp(1e-6, 1 - 1e-6))


def karras_sigmas(steps: int, low: float, high: float, rho: float = 7.0) -> list[float]:
    """`steps` noise levels from `high` down to `low`, then 0 (Karras et al. 2022, equation 5)."""
    ramp = np.linspace(0, 1, steps)
    levels = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return [*levels.tolist(), 0.0]


def mean_by_sample(x: Tensor) -> Tensor:
    """The mean of each sample, (B, ...) -> (B,)."""
    return x.flatten(1).mean(1)
