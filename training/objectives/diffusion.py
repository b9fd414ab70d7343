"""Gaussian diffusion as Point-E trains it: 1,024 steps, predicted noise, learned variance, hybrid loss.

The network may also predict the velocity v, a mixture of noise and clean cloud (Salimans and Ho 2022,
arXiv:2202.00512). At high noise levels, an error in the predicted noise is amplified a hundredfold in the
clean cloud; an error in v is not, so a cloud's rough shape is learned in a fraction of the steps.

Everything here works in the network's frame, where each channel spans [-1, 1] (`training.data.channels`).

Sources: Ho et al. 2020 (arXiv:2006.11239), Nichol and Dhariwal 2021 (arXiv:2102.09672) for the cosine
schedule, the learned variance and the hybrid loss.

Why not `diffusers`: its DDPM step uses float32 tables, which are 0.02 % off in the last steps, more than the
published numbers allow; it has no hybrid loss, and its Heun steps neither clip nor start at a chosen level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from training.objectives.objective import Denoiser, Model, karras_sigmas, mean_by_sample

Prediction = Literal["epsilon", "v"]
Schedule = Literal["cosine", "linear"]


def cosine_betas(steps: int = 1024) -> np.ndarray:
    """Noise variances, (T,) float64, whose signal falls as a squared cosine; at most 0.999."""
    signal = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.minimum(1 - signal[1:] / signal[:-1], 0.999)


def linear_betas(steps: int = 1024) -> np.ndarray:
    """Noise variances, (T,) float64, rising linearly: 0.0001 to 0.02 for 1,000 steps."""
    return np.linspace(0.1 / steps, 20 / steps, steps)


@dataclass(frozen=True)
class Estimate:
    """The model's estimate for a noisy cloud: the previous step as a Gaussian, and the clean cloud."""

    mean: Tensor  # (B, C, N)
    log_variance: Tensor  # (B, C, N)
    start: Tensor  # (B, C, N), the clean cloud


class Diffusion:
    """A noise schedule, its posterior and its losses. Tables are float64; results have the input's type.

    `prediction` says what the first half of the network output is: the noise (as published) or v. When
    sampling, `clip` clamps estimates of the clean cloud to [-1, 1], and `published` does as the published
    code: times are integers, levels leave the trained range, and `sampler` guides as it did. `keep`,
    increasing integer times, drops all other steps: fewer for a sampler, unchanged for the network.
    """

    outputs = 2  # the prediction, and the blend that the variance is interpolated by

    def __init__(
        self,
        prediction: Prediction = "epsilon",
        schedule: Schedule = "cosine",
        clip: bool = True,
        published: bool = False,
        keep: np.ndarray | None = None,
    ):
        self.prediction: Prediction = prediction
        self.schedule: Schedule = schedule
        self.clip, self.published = clip, published
        betas = cosine_betas() if schedule == "cosine" else linear_betas()
        if keep is not None:
            left = np.cumprod(1 - betas)[keep]
            betas = 1 - left / np.concatenate([[1.0], left[:-1]])
        # The time that the network gets at each step.
        self.numbers = torch.arange(1024) if keep is None else torch.from_numpy(keep)
        self.betas = torch.from_numpy(betas)
        alphas = 1 - self.betas
        self.alphas_cumprod = alphas.cumprod(0)
        before = torch.cat([self.alphas_cumprod.new_ones(1), self.alphas_cumprod[:-1]])
        self.posterior_variance = self.betas * (1 - before) / (1 - self.alphas_cumprod)
        # The first posterior variance is 0; its logarithm is replaced by the second's.
        self.posterior_log_variance = torch.cat(
            [self.posterior_variance[1:2], self.posterior_variance[1:]]
        ).log()
        self._weight_start = self.betas * before.sqrt() / (1 - self.alphas_cumprod)
        self._weight_noisy = (1 - before) * alphas.sqrt() / (1 - self.alphas_cumprod)

    def __len__(self) -> int:
        return len(self.betas)

    @property
    def sigmas(self) -> Tensor:
        """Noise over signal at each step, (T,) float64, increasing."""
        return ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()

    def spaced(self, steps: int) -> Diffusion:
        """The same process in `steps` evenly chosen steps, at least 2."""
        if steps < 2:
            raise ValueError(f"{steps} step: DDPM needs 2 or more. Sample with heun or ddim.")
        keep = np.rint(np.linspace(0, len(self) - 1, steps)).astype(np.int64)
        return Diffusion(self.prediction, self.schedule, self.clip, self.published, keep)

    def times(self, quantiles: Tensor) -> Tensor:
        """Times (B,) int64; all steps are equally likely."""
        return (quantiles * len(self)).long().clamp(max=len(self) - 1)

    def add_noise(self, start: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The cloud `start`, (B, C, N), with noise at integer times t (B,)."""
        signal, spread = self._scales(t, start)
        return signal * start + spread * noise

    def posterior_mean(self, start: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """The mean of q(x_{t-1} | x_t, x_0); all (B, C, N)."""
        return _at(self._weight_start, t, start) * start + _at(self._weight_noisy, t, start) * noisy

    def target(self, start: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The network's target (B, C, N): the noise, or v = signal * noise - spread * start."""
        if self.prediction == "epsilon":
            return noise
        signal, spread = self._scales(t, start)
        return signal * noise - spread * start

    def clean(self, predicted: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """The clean cloud (B, C, N) from the first half of the network's output at integer times t (B,)."""
        return self.clean_at(predicted, noisy, *self._scales(t, noisy))

    def clean_at(
        self, predicted: Tensor, noisy: Tensor, signal: Tensor | float, spread: Tensor | float
    ) -> Tensor:
        """As `clean`, (B, C, N), for `noisy`: `signal` times the clean cloud plus `spread` times noise."""
        if self.prediction == "epsilon":
            return (noisy - spread * predicted) / signal
        return signal * noisy - spread * predicted

    def _scales(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """The scales of signal and noise at integer times t, each (B, 1, 1)."""
        return _at(self.alphas_cumprod.sqrt(), t, like), _at((1 - self.alphas_cumprod).sqrt(), t, like)

    def log_variance(self, blend: Tensor, t: Tensor) -> Tensor:
        """The learned log variance (B, C, N), from the posterior's (`blend` -1) to a whole step's (1)."""
        low, high = _at(self.posterior_log_variance, t, blend), _at(self.betas.log(), t, blend)
        share = (blend + 1) / 2
        return share * high + (1 - share) * low

    def predict(self, output: Tensor, noisy: Tensor, t: Tensor, clip: bool = True) -> Estimate:
        """Interpret the output (B, 2C, N) at integer times t; `clip` clamps the clean cloud to [-1, 1]."""
        predicted, blend = output.chunk(2, dim=1)
        start = self.clean(predicted, noisy, t)
        start = start.clamp(-1, 1) if clip else start
        return Estimate(self.posterior_mean(start, noisy, t), self.log_variance(blend, t), start)

    def losses(
        self, model: Model, start: Tensor, t: Tensor, noise: Tensor, **condition: Tensor
    ) -> dict[str, Tensor]:
        """Point-E's hybrid loss per sample, each (B,): `loss` = `mse` of the noise (or of v) + `vb`.

        The variational bound, in bits, trains only the variance: the prediction is detached. The first step's
        likelihood term is omitted, as published.
        """
        noisy = self.add_noise(start, t, noise)
        output = model(noisy, self.numbers.to(t.device)[t], **condition).to(start.dtype)
        predicted, blend = output.chunk(2, dim=1)
        mse = mean_by_sample((predicted - self.target(start, t, noise)) ** 2)
        frozen = torch.cat([predicted.detach(), blend], dim=1)
        vb = self._bound(self.predict(frozen, noisy, t, clip=False), start, noisy, t)
        return {"loss": mse + vb, "mse": mse, "vb": vb}

    def denoiser(self, model: Model, **condition: Tensor) -> Denoiser:
        """The model as a denoiser."""

        def denoise(x: Tensor, sigma: float) -> Tensor:
            signal = (sigma**2 + 1) ** -0.5
            time = self.published_time_of(sigma) if self.published else self.time_of(sigma)
            scaled, t = x * signal, torch.full((len(x),), time, device=x.device)
            output = model(scaled, t, **condition).to(x.dtype)
            if self.published:
                return self.predict(output, scaled, t, self.clip).start
            start = self.clean_at(output[:, : x.shape[1]], scaled, signal, sigma * signal)
            return start.clamp(-1, 1) if self.clip else start

        return denoise

    def levels(self, steps: int) -> list[float]:
        """Karras et al.'s levels from Point-E's highest to the lowest trained one.

        The published levels leave the trained range: 0.001 to 160 instead of 0.0099 to 157 (linear).
        """
        high = 120.0 if self.schedule == "cosine" else 160.0
        if self.published:
            return karras_sigmas(steps, 1e-3, high)
        return karras_sigmas(steps, float(self.sigmas[0]), min(high, float(self.sigmas[-1])))

    def time_of(self, sigma: float) -> float:
        """The fractional time of a noise level, interpolated in log sigma, clamped to the trained range."""
        return float(np.interp(math.log(sigma), self.sigmas.log().numpy(), self.numbers.numpy()))

    def published_time_of(self, sigma: float) -> int:
        """The integer time that Point-E's code gives `sigma`: interpolated in alpha, then truncated."""
        levels = self.alphas_cumprod.numpy()[::-1]
        return int(np.interp(1 / (sigma**2 + 1), levels, np.arange(len(levels))[::-1]))

    def _bound(self, guess: Estimate, start: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """KL divergence of the true posterior from the predicted one, bits per channel, (B,)."""
        true_mean = self.posterior_mean(start, noisy, t)
        true_log = _at(self.posterior_log_variance, t, start)
        log_variance = guess.log_variance
        squares = (true_mean - guess.mean) ** 2 * (-log_variance).exp()
        kl = 0.5 * (log_variance - true_log + (true_log - log_variance).exp() + squares - 1)
        return mean_by_sample(kl) / math.log(2) * (t > 0)


def _at(table: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """table[t] as (B, 1, 1), of the type and device of `like`."""
    return table.to(like.device)[t].to(like.dtype)[:, None, None]
