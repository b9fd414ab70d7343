"""Gaussian diffusion as Point-E trains it: 1,024 steps, predicted noise, learned variance, hybrid loss.

The network may also predict the velocity v, a mixture of noise and clean cloud (Salimans and Ho 2022,
arXiv:2202.00512). Where nearly all is noise, an error in the predicted noise is multiplied a hundredfold in
the clean cloud; one in v is not, so a cloud's rough shape is learnt in a fraction of the steps.

Everything here works in the network's frame, where each channel spans [-1, 1]: xyz of the shards as it is
(their longest side is 2), colour bytes over 127.5 minus 1. Point-E's clouds have a longest side of 1 and it
scales xyz by 2 first, which comes to the same.

Sources: Ho et al. 2020 (arXiv:2006.11239), Nichol and Dhariwal 2021 (arXiv:2102.09672) for the cosine
schedule, the learned variance and the hybrid loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Model = Callable[[Tensor, Tensor], Tensor]  # (B, C, N) noisy, (B,) time -> (B, 2C, N) prediction and variance


def to_network(xyz: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """(N, 3) float32 in [-1, 1] and (N, 3) uint8 -> (6, N) float32 in [-1, 1]."""
    return np.concatenate([xyz, rgb.astype(np.float32) / 127.5 - 1], axis=1).T.astype(np.float32)


def from_network(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of `to_network`; colours are clipped to bytes."""
    rgb = np.rint((points[3:6].T + 1) * 127.5).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(points[:3].T, np.float32), rgb


def cosine_betas(steps: int = 1024) -> np.ndarray:
    """(steps,) float64 noise variances whose signal falls as a squared cosine; none is above 0.999."""
    signal = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.minimum(1 - signal[1:] / signal[:-1], 0.999)


@dataclass(frozen=True)
class Prediction:
    """What the model makes of a noisy cloud: the step before it as a Gaussian, and the clean cloud."""

    mean: Tensor  # (B, C, N)
    log_variance: Tensor  # (B, C, N)
    start: Tensor  # (B, C, N), the clean cloud


class Diffusion:
    """A noise schedule, its posterior and its losses. Tables are float64; results have the input's type.

    `prediction` says what the first half of the network output is: the noise (as published) or v.
    """

    def __init__(self, prediction: Literal["epsilon", "v"] = "epsilon", betas: np.ndarray | None = None):
        self.prediction = prediction
        self.betas = torch.from_numpy(cosine_betas() if betas is None else betas)
        alphas = 1 - self.betas
        self.alphas_cumprod = alphas.cumprod(0)
        before = torch.cat([self.alphas_cumprod.new_ones(1), self.alphas_cumprod[:-1]])
        self.posterior_variance = self.betas * (1 - before) / (1 - self.alphas_cumprod)
        # The first posterior variance is 0; its logarithm borrows the second's.
        self.posterior_log_variance = torch.cat(
            [self.posterior_variance[1:2], self.posterior_variance[1:]]
        ).log()
        self._weight_start = self.betas * before.sqrt() / (1 - self.alphas_cumprod)
        self._weight_noisy = (1 - before) * alphas.sqrt() / (1 - self.alphas_cumprod)

    def __len__(self) -> int:
        return len(self.betas)

    @property
    def sigmas(self) -> Tensor:
        """(steps,) float64: noise over signal at each step, rising."""
        return ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()

    def add_noise(self, start: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The cloud `start`, (B, C, N), at whole times t (B,)."""
        signal, spread = self._scales(t, start)
        return signal * start + spread * noise

    def posterior_mean(self, start: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """The mean of q(x_{t-1} | x_t, x_0); all (B, C, N)."""
        return _at(self._weight_start, t, start) * start + _at(self._weight_noisy, t, start) * noisy

    def target(self, start: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """What the network should say: the noise, or v = signal * noise - spread * start."""
        if self.prediction == "epsilon":
            return noise
        signal, spread = self._scales(t, start)
        return signal * noise - spread * start

    def clean(self, predicted: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """The clean cloud, (B, C, N), by the first half of the network's output at whole times t."""
        return self.clean_at(predicted, noisy, *self._scales(t, noisy))

    def clean_at(
        self, predicted: Tensor, noisy: Tensor, signal: Tensor | float, spread: Tensor | float
    ) -> Tensor:
        """As `clean`, where `noisy` is `signal` times the clean cloud plus `spread` times noise."""
        if self.prediction == "epsilon":
            return (noisy - spread * predicted) / signal
        return signal * noisy - spread * predicted

    def _scales(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """The shares of signal and noise at whole times t, each (B, 1, 1)."""
        return _at(self.alphas_cumprod.sqrt(), t, like), _at((1 - self.alphas_cumprod).sqrt(), t, like)

    def log_variance(self, place: Tensor, t: Tensor) -> Tensor:
        """-1..1 between the posterior's log variance and that of a whole step (learned range)."""
        low, high = _at(self.posterior_log_variance, t, place), _at(self.betas.log(), t, place)
        share = (place + 1) / 2
        return share * high + (1 - share) * low

    def predict(self, output: Tensor, noisy: Tensor, t: Tensor, clip: bool = True) -> Prediction:
        """Read the model's output (B, 2C, N) at whole times t; `clip` holds the clean cloud in [-1, 1]."""
        predicted, place = output.chunk(2, dim=1)
        start = self.clean(predicted, noisy, t)
        start = start.clamp(-1, 1) if clip else start
        return Prediction(self.posterior_mean(start, noisy, t), self.log_variance(place, t), start)

    def losses(self, model: Model, start: Tensor, t: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Point-E's hybrid loss a sample, each (B,): `loss` = `mse` of the noise (or of v) + `vb`.

        The variational bound, in bits, trains the variance alone: it sees the prediction detached. The first
        step's term, a likelihood, is left out, as published.
        """
        noisy = self.add_noise(start, t, noise)
        output = model(noisy, t).to(start.dtype)
        predicted, place = output.chunk(2, dim=1)
        mse = _flat_mean((predicted - self.target(start, t, noise)) ** 2)
        frozen = torch.cat([predicted.detach(), place], dim=1)
        vb = self._bound(self.predict(frozen, noisy, t, clip=False), start, noisy, t)
        return {"loss": mse + vb, "mse": mse, "vb": vb}

    def _bound(self, prediction: Prediction, start: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """KL of the true posterior from the predicted one, bits a channel, (B,)."""
        true_mean = self.posterior_mean(start, noisy, t)
        true_log = _at(self.posterior_log_variance, t, start)
        log_variance = prediction.log_variance
        squares = (true_mean - prediction.mean) ** 2 * (-log_variance).exp()
        kl = 0.5 * (log_variance - true_log + (true_log - log_variance).exp() + squares - 1)
        return _flat_mean(kl) / math.log(2) * (t > 0)


def _at(table: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """table[t] as (B, 1, 1), of the type and device of `like`."""
    return table.to(like.device)[t].to(like.dtype)[:, None, None]


def _flat_mean(x: Tensor) -> Tensor:
    return x.flatten(1).mean(1)
