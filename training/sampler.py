"""Draw clouds: Karras et al.'s noise levels and Heun steps (arXiv:2206.00364) with classifier-free guidance.

Pure functions. A denoiser takes noisy clouds `x = clean + sigma * noise` and a noise level, and gives its
guess of the clean ones; whatever predicts that can be sampled. Two things are mended against the published
sampler: the time of a noise level is a fraction instead of being cut to a whole number, and no level below
the ones trained on is asked for. `published=True` gives the original behaviour for comparison.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from training.diffusion import Diffusion, Model

Denoiser = Callable[[Tensor, float], Tensor]  # (B, C, N) at noise level sigma -> (B, C, N) clean


def karras_sigmas(steps: int, low: float, high: float, rho: float = 7.0) -> list[float]:
    """`steps` noise levels from `high` down to `low`, then 0 (equation 5)."""
    ramp = np.linspace(0, 1, steps)
    levels = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return [*levels.tolist(), 0.0]


def time_of(diffusion: Diffusion, sigma: float) -> float:
    """The fractional time of noise level `sigma`, interpolated in log sigma, held in the trained range."""
    levels = diffusion.sigmas.log().numpy()
    return float(np.interp(np.log(sigma), levels, np.arange(len(levels))))


def published_time_of(diffusion: Diffusion, sigma: float) -> int:
    """The whole time that Point-E's code gives `sigma`: interpolated in alpha, then cut."""
    levels = diffusion.alphas_cumprod.numpy()[::-1]
    return int(np.interp(1 / (sigma**2 + 1), levels, np.arange(len(levels))[::-1]))


def denoiser(model: Model, diffusion: Diffusion, clip: bool = True, published: bool = False) -> Denoiser:
    """A model, (B, C, N), (B,) -> (B, 2C, N), as a denoiser; `clip` holds clean clouds in [-1, 1]."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        scaled = x / (sigma**2 + 1) ** 0.5
        if published:
            t = torch.full((len(x),), published_time_of(diffusion, sigma), device=x.device)
            return diffusion.predict(model(scaled, t), scaled, t, clip).start
        t = torch.full((len(x),), time_of(diffusion, sigma), device=x.device)
        predicted = model(scaled, t)[:, : x.shape[1]]
        signal = (sigma**2 + 1) ** -0.5
        start = diffusion.clean_at(predicted, scaled, signal, sigma * signal)
        return start.clamp(-1, 1) if clip else start

    return denoise


def guided(conditional: Denoiser, unconditional: Denoiser, scale: float) -> Denoiser:
    """Classifier-free guidance on every channel (Ho and Salimans, arXiv:2207.12598); 1 is none."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        without = unconditional(x, sigma)
        return without + scale * (conditional(x, sigma) - without)

    return conditional if scale == 1 else denoise


@torch.inference_mode()
def heun(
    denoise: Denoiser,
    x: Tensor,
    sigmas: list[float],
    churn: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Carry `x`, (B, C, N) at level sigmas[0], down to the last level (algorithm 2).

    `churn` is the published s_churn: how much fresh noise, over all steps, is mixed in. Two model calls a
    step, one for the step that ends at 0.
    """
    gamma = min(churn / (len(sigmas) - 1), 2**0.5 - 1)
    for sigma, after in itertools.pairwise(sigmas):
        raised = sigma * (1 + gamma)
        if gamma:
            fresh = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
            x = x + fresh * (raised**2 - sigma**2) ** 0.5
        slope = (x - denoise(x, raised)) / raised
        ahead = x + slope * (after - raised)
        if after > 0:
            slope = (slope + (ahead - denoise(ahead, after)) / after) / 2
            ahead = x + slope * (after - raised)
        x = ahead
    return x
