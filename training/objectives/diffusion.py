"""Gaussian diffusion as Point-E trains it: 1,024 steps, predicted noise, learned variance, hybrid loss.

The network may also predict the velocity v, a mixture of noise and clean cloud (Salimans and Ho 2022,
arXiv:2202.00512). Where nearly all is noise, an error in the predicted noise is multiplied a hundredfold in
the clean cloud; one in v is not, so a cloud's rough shape is learned in a fraction of the steps.

Everything here works in the network's frame, where each channel spans [-1, 1] (`training.data.channels`).

Sources: Ho et al. 2020 (arXiv:2006.11239), Nichol and Dhariwal 2021 (arXiv:2102.09672) for the cosine
schedule, the learned variance and the hybrid loss.

The `diffusers` library computes the same DDPM step, but from float32 tables, which are 0.02 % off in the last
steps, beyond what the published numbers allow; it has no hybrid loss, and its Heun steps neither clip nor
begin at a chosen level. What would be left to it does not weigh a dependency.
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
    """(steps,) float64 noise variances whose signal falls as a squared cosine; none is above 0.999."""
    signal = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.minimum(1 - signal[1:] / signal[:-1], 0.999)


def linear_betas(steps: int = 1024) -> np.ndarray:
    """(steps,) float64 noise variances that rise evenly, 0.0001 to 0.02 for 1,000 steps."""
    return np.linspace(0.1 / steps, 20 / steps, steps)


@dataclass(frozen=True)
class Guess:
    """What the model makes of a noisy cloud: the step before it as a Gaussian, and the clean cloud."""

    mean: Tensor  # (B, C, N)
    log_variance: Tensor  # (B, C, N)
    start: Tensor  # (B, C, N), the clean cloud


class Diffusion:
    """A noise schedule, its posterior and its losses. Tables are float64; results have the input's type.

    `prediction` says what the first half of the network output is: the noise (as published) or v. When
    sampling, `clip` holds guesses of the clean cloud in [-1, 1], and `published` does as the published code:
    the network is given whole times instead of fractions, levels leave the trained range, and `sampler`
    guides as it did. `keep`, rising whole times, leaves out the others: fewer steps for a sampler, the same
    for the network.
    """

    outputs = 2  # the prediction, and the variance's place in its range

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
        # What the network is told of each step.
        self.numbers = torch.arange(1024) if keep is None else torch.from_numpy(keep)
        self.betas = torch.from_numpy(betas)
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

    def spaced(self, steps: int) -> Diffusion:
        """The same process in `steps` of its steps, 2 or more, evenly chosen."""
        if steps < 2:
            raise ValueError(f"{steps} step: DDPM needs 2 or more. Draw with heun or ddim.")
        keep = np.rint(np.linspace(0, len(self) - 1, steps)).astype(np.int64)
        return Diffusion(self.prediction, self.schedule, self.clip, self.published, keep)

    def times(self, places: Tensor) -> Tensor:
        """(B,) int64: every step as often as any other."""
        return (places * len(self)).long().clamp(max=len(self) - 1)

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

    def predict(self, output: Tensor, noisy: Tensor, t: Tensor, clip: bool = True) -> Guess:
        """Read the model's output (B, 2C, N) at whole times t; `clip` holds the clean cloud in [-1, 1]."""
        predicted, place = output.chunk(2, dim=1)
        start = self.clean(predicted, noisy, t)
        start = start.clamp(-1, 1) if clip else start
        return Guess(self.posterior_mean(start, noisy, t), self.log_variance(place, t), start)

    def losses(
        self, model: Model, start: Tensor, t: Tensor, noise: Tensor, **condition: Tensor
    ) -> dict[str, Tensor]:
        """Point-E's hybrid loss a sample, each (B,): `loss` = `mse` of the noise (or of v) + `vb`.

        The variational bound, in bits, trains the variance alone: it sees the prediction detached. The first
        step's term, a likelihood, is left out, as published.
        """
        noisy = self.add_noise(start, t, noise)
        output = model(noisy, self.numbers.to(t.device)[t], **condition).to(start.dtype)
        predicted, place = output.chunk(2, dim=1)
        mse = mean_by_sample((predicted - self.target(start, t, noise)) ** 2)
        frozen = torch.cat([predicted.detach(), place], dim=1)
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
        """Karras et al.'s levels from Point-E's highest to the lowest that was trained on.

        The published ones leave the trained range: 0.001 to 160 where it is 0.0099 to 157 (linear).
        """
        high = 120.0 if self.schedule == "cosine" else 160.0
        if self.published:
            return karras_sigmas(steps, 1e-3, high)
        return karras_sigmas(steps, float(self.sigmas[0]), min(high, float(self.sigmas[-1])))

    def time_of(self, sigma: float) -> float:
        """The fractional time of a noise level, interpolated in log sigma, held in the trained range."""
        return float(np.interp(math.log(sigma), self.sigmas.log().numpy(), self.numbers.numpy()))

    def published_time_of(self, sigma: float) -> int:
        """The whole time that Point-E's code gives `sigma`: interpolated in alpha, then cut."""
        levels = self.alphas_cumprod.numpy()[::-1]
        return int(np.interp(1 / (sigma**2 + 1), levels, np.arange(len(levels))[::-1]))

    def _bound(self, guess: Guess, start: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """KL of the true posterior from the predicted one, bits a channel, (B,)."""
        true_mean = self.posterior_mean(start, noisy, t)
        true_log = _at(self.posterior_log_variance, t, start)
        log_variance = guess.log_variance
        squares = (true_mean - guess.mean) ** 2 * (-log_variance).exp()
        kl = 0.5 * (log_variance - true_log + (true_log - log_variance).exp() + squares - 1)
        return mean_by_sample(kl) / math.log(2) * (t > 0)


def _at(table: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """table[t] as (B, 1, 1), of the type and device of `like`."""
    return table.to(like.device)[t].to(like.dtype)[:, None, None]
