"""Draw clouds: Heun, DDIM and DDPM steps with classifier-free guidance. Pure functions.

    clouds = draw(objective, model, noise, {"embeddings": grid}, steps=64, guidance=3.0)

A denoiser takes noisy clouds `x = clean + sigma * noise` and a noise level, and gives its guess of the clean
ones, so Heun and DDIM serve every objective; DDPM belongs to `Diffusion`, whose learned variance it draws
with. Mended against the published sampler: times are fractions and no level below the trained ones is asked
for (`Diffusion.denoiser`), guidance withholds the image and nothing else, and it moves every channel.
`Diffusion(published=True)` gives the original behavior for comparison.

Sources: Karras et al. 2022 (arXiv:2206.00364), Song et al. 2020 (DDIM, arXiv:2010.02502), Ho et al. 2020
(DDPM, arXiv:2006.11239), Ho and Salimans 2022 (guidance, arXiv:2207.12598).
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from torch import Tensor

from training.objectives.diffusion import Diffusion
from training.objectives.objective import Denoiser, Model, Objective


@torch.inference_mode()
def draw(
    objective: Objective,
    model: Model,
    noise: Tensor,
    condition: dict[str, Tensor],
    steps: int = 64,
    guidance: float = 3.0,
    method: Literal["heun", "ddim", "ddpm"] = "heun",
    churn: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Unit noise (B, C, N) -> clean clouds (B, C, N) in the network's frame.

    `condition` holds the model's keyword tensors; `guidance` 1 or a condition without `embeddings` leaves
    guidance out. `generator` gives the fresh noise of `churn`, of DDIM (its eta is 1 if `churn` is not 0) and
    of DDPM, which only `Diffusion` has (ValueError otherwise).
    With `Diffusion(published=True)` all is done as the published code does it.
    """
    published = isinstance(objective, Diffusion) and objective.published
    free = guidance == 1 or (published and guidance == 0) or "embeddings" not in condition
    if method == "ddpm":
        if not isinstance(objective, Diffusion):
            raise ValueError("DDPM steps need a diffusion objective. Draw with heun or ddim.")
        told = guided_model(model, condition, 1.0 if free else guidance, published)
        return ddpm(objective.spaced(steps), told, noise, generator=generator)
    denoise = objective.denoiser(model, **condition)
    if not free:
        denoise = guided(denoise, objective.denoiser(model, **withheld(condition, published)), guidance)
    levels = objective.levels(steps)
    if method == "ddim":
        return ddim(denoise, noise * levels[0], levels, float(churn > 0), generator)
    return heun(denoise, noise * levels[0], levels, churn, generator)


def withheld(condition: dict[str, Tensor], published: bool = False) -> dict[str, Tensor]:
    """The condition without its image or text: `embeddings` of zeros, which training has shown the network.

    An upsampler keeps its coarse cloud. The published code zeroes that too, in its own units: all points in
    the middle and black, an input that no training step has seen.
    """
    without = condition | {"embeddings": torch.zeros_like(condition["embeddings"])}
    if published and "low_res" in condition:
        black = torch.zeros_like(condition["low_res"])
        black[:, 3:6] = -1
        without["low_res"] = black
    return without


def guided(conditional: Denoiser, unconditional: Denoiser, scale: float) -> Denoiser:
    """Classifier-free guidance on every channel; 1 is none."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        without = unconditional(x, sigma)
        return without + scale * (conditional(x, sigma) - without)

    return conditional if scale == 1 else denoise


def guided_model(model: Model, condition: dict[str, Tensor], scale: float, published: bool = False) -> Model:
    """The same for DDPM, as a model of (x, t): guidance moves the prediction, the variance stays.

    The published code guides the first three channels, positions, and leaves the colors.
    """

    def plain(x: Tensor, t: Tensor) -> Tensor:
        return model(x, t, **condition)

    if scale == 1:
        return plain
    nothing = withheld(condition, published)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        output = model(x, t, **condition)
        channels = 3 if published else x.shape[1]
        without = model(x, t, **nothing)[:, :channels]
        moved = without + scale * (output[:, :channels] - without)
        return torch.cat([moved, output[:, channels:]], dim=1)

    return predict


@torch.inference_mode()
def heun(
    denoise: Denoiser,
    x: Tensor,
    sigmas: list[float],
    churn: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Carry `x`, (B, C, N) at level sigmas[0], down to the last level (Karras et al., algorithm 2).

    `churn` is the published s_churn: how much fresh noise, over all steps, is mixed in. Two model calls a
    step, one for the step that ends at 0.
    """
    gamma = min(churn / (len(sigmas) - 1), 2**0.5 - 1)
    for sigma, after in itertools.pairwise(sigmas):
        raised = sigma * (1 + gamma)
        if gamma:
            x = x + _noise_like(x, generator) * (raised**2 - sigma**2) ** 0.5
        slope = (x - denoise(x, raised)) / raised
        ahead = x + slope * (after - raised)
        if after > 0:
            slope = (slope + (ahead - denoise(ahead, after)) / after) / 2
            ahead = x + slope * (after - raised)
        x = ahead
    return x


@torch.inference_mode()
def ddim(
    denoise: Denoiser,
    x: Tensor,
    sigmas: list[float],
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """As `heun` with one model call a step. `eta` is the share of fresh noise; 1 is DDPM's smaller variance.

    DDIM's equation 12 divided by the signal, which turns its step into one of Euler's.
    """
    for sigma, after in itertools.pairwise(sigmas):
        clean = denoise(x, sigma)
        fresh = eta * after * max(0.0, 1 - (after / sigma) ** 2) ** 0.5
        x = clean + (x - clean) / sigma * (after**2 - fresh**2) ** 0.5
        if fresh:
            x = x + fresh * _noise_like(x, generator)
    return x


@torch.inference_mode()
def ddpm(
    diffusion: Diffusion,
    model: Model,
    x: Tensor,
    generator: torch.Generator | None = None,
    **condition: Tensor,
) -> Tensor:
    """Ancestral sampling from unit noise (B, C, N) over every step, with the learned variance.

    `diffusion.spaced(n)` does it in n steps. The last step gives the mean.
    """
    for step in reversed(range(len(diffusion))):
        t = torch.full((len(x),), step, device=x.device)
        output = model(x, diffusion.numbers.to(x.device)[t], **condition).to(x.dtype)
        guess = diffusion.predict(output, x, t, diffusion.clip)
        x = guess.mean
        if step:
            x = x + (0.5 * guess.log_variance).exp() * _noise_like(x, generator)
    return x


def _noise_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Unit noise drawn on the CPU, the same for every device."""
    return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
