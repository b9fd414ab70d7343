"""Newer objectives for the same networks: rectified flow, and EDM's preconditioned denoising.

Rectified flow (Liu et al. 2022, arXiv:2209.03003) mixes cloud and noise along a straight line and learns its
direction; times follow a logit-normal distribution (Esser et al. 2024, arXiv:2403.03206), since the ends are
easy. EDM (Karras et al. 2022, arXiv:2206.00364, table 1) scales input, output and loss so that the network
sees and predicts unit variance at every noise level. Both implement `objective.Objective`. Neither learns a
variance: one output per channel suffices, and of a network with two only the first half is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from training.objectives.objective import Denoiser, Model, karras_sigmas, mean_by_sample, normal


@dataclass(frozen=True)
class RectifiedFlow:
    """x_t = (1 - t) start + t noise for t in 0..1; the network gets 1000 t and predicts noise - start."""

    mean: float = 0.0
    """Of logit t: above 0, training favors noisy clouds."""
    std: float = 1.0
    """Of logit t."""
    clip: bool = True
    """Clamp estimates of the clean cloud to [-1, 1] when sampling."""
    outputs: int = 1

    def times(self, quantiles: Tensor) -> Tensor:
        """(B,) in 0..1."""
        return normal(quantiles, self.mean, self.std).sigmoid()

    def losses(
        self, model: Model, start: Tensor, t: Tensor, noise: Tensor, **condition: Tensor
    ) -> dict[str, Tensor]:
        """`mse` of the direction, (B,); start and noise: (B, C, N)."""
        share = t[:, None, None].to(start.dtype)
        noisy = start + share * (noise - start)
        predicted = _first(model(noisy, 1000 * t, **condition), start)
        mse = mean_by_sample((predicted - (noise - start)) ** 2)
        return {"loss": mse, "mse": mse}

    def denoiser(self, model: Model, **condition: Tensor) -> Denoiser:
        """clean + sigma noise is x_t / (1 - t) at t = sigma / (1 + sigma)."""

        def denoise(x: Tensor, sigma: float) -> Tensor:
            share, mixed = sigma / (1 + sigma), x / (1 + sigma)
            start = mixed - share * _first(model(mixed, x.new_full((len(x),), 1000 * share), **condition), x)
            return start.clamp(-1, 1) if self.clip else start

        return denoise

    def levels(self, steps: int) -> list[float]:
        """Evenly spaced times from 0.992, noise level 124, down to 0."""
        times = [0.992 * (1 - step / steps) for step in range(steps + 1)]
        return [t / (1 - t) for t in times]


@dataclass(frozen=True)
class Edm:
    """x = start + sigma noise; times are ln sigma, and the network gets 250 ln sigma.

    The published c_noise, ln(sigma) / 4, is meant for a Fourier embedding; Point-E's sinusoids expect times
    up to 1,023, hence the factor of 1,000.
    """

    spread: float = 0.5
    """Standard deviation of the data, sigma_data."""
    mean: float = -1.2
    """Of ln sigma."""
    std: float = 1.2
    """Of ln sigma."""
    clip: bool = True
    """Clamp estimates of the clean cloud to [-1, 1] when sampling."""
    outputs: int = 1

    def times(self, quantiles: Tensor) -> Tensor:
        """(B,), ln sigma."""
        return normal(quantiles, self.mean, self.std)

    def losses(
        self, model: Model, start: Tensor, t: Tensor, noise: Tensor, **condition: Tensor
    ) -> dict[str, Tensor]:
        """`mse` (B,) of the unit-variance target: EDM's weighted loss. start, noise: (B, C, N)."""
        sigma = t.exp()[:, None, None].to(start.dtype)
        noisy = start + sigma * noise
        skip, out, scale = self._scales(sigma)
        predicted = _first(model(scale * noisy, 250 * t, **condition), start)
        mse = mean_by_sample((predicted - (start - skip * noisy) / out) ** 2)
        return {"loss": mse, "mse": mse}

    def denoiser(self, model: Model, **condition: Tensor) -> Denoiser:
        """D = c_skip x + c_out F(c_in x, c_noise)."""

        def denoise(x: Tensor, sigma: float) -> Tensor:
            skip, out, scale = self._scales(torch.tensor(sigma, dtype=x.dtype, device=x.device))
            t = x.new_full((len(x),), 250 * math.log(sigma))
            start = skip * x + out * _first(model(scale * x, t, **condition), x)
            return start.clamp(-1, 1) if self.clip else start

        return denoise

    def levels(self, steps: int) -> list[float]:
        """Karras et al.'s levels from 80 to 0.002."""
        return karras_sigmas(steps, 0.002, 80.0)

    def _scales(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """c_skip, c_out and c_in."""
        total = sigma**2 + self.spread**2
        return self.spread**2 / total, sigma * self.spread / total.sqrt(), 1 / total.sqrt()


def _first(output: Tensor, like: Tensor) -> Tensor:
    """The network's first C output channels, in the precision of `like`, (B, C, N)."""
    return output[:, : like.shape[1]].to(like.dtype)
