"""Sample clouds: Heun, DDIM and DDPM steps with classifier-free guidance. Pure functions.

    clouds = sample(objective, model, noise, {"embeddings": grid}, steps=64, guidance=3.0)

A denoiser takes noisy clouds `x = clean + sigma * noise` and a noise level, and returns its estimate of the
clean ones, so Heun and DDIM work with every objective; DDPM needs `Diffusion`, whose learned variance it
uses. Fixed relative to the published sampler: times are fractional and stay within the trained noise levels
(`Diffusion.denoiser`), and guidance withholds only the image and moves every channel.
`Diffusion(published=True)` reproduces the original behavior for comparison.

Sources: Karras et al. 2022 (arXiv:2206.00364), Song et al. 2020 (DDIM, arXiv:2010.02502), Ho et al. 2020
(DDPM, arXiv:2006.11239), Ho and Salimans 2022 (guidance, arXiv:2207.12598).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from training.objectives.condition import SHOWN_AS, Condition, by_view, withheld
from training.objectives.diffusion import Diffusion
from training.objectives.objective import Denoiser, Model, Objective
from training.settings import Rule


@torch.inference_mode()
def sample(
    objective: Objective,
    model: Model,
    noise: Tensor,
    condition: Condition,
    steps: int = 64,
    guidance: float = 3.0,
    method: Literal["heun", "ddim", "ddpm"] = "heun",
    churn: float = 0.0,
    generator: torch.Generator | None = None,
    rule: Rule = "together",
    prepare: Callable[[Condition], Condition] | None = None,
    without: Condition | None = None,
) -> Tensor:
    """Unit noise (B, C, N) -> clean clouds (B, C, N) in the network's frame.

    `condition` holds the model's keyword tensors; there is no guidance if `guidance` is 1 or the condition
    shows nothing. `generator` supplies the fresh noise of `churn`, of DDIM (whose eta is 1 if `churn`
    is not 0) and of DDPM, which needs a `Diffusion` (ValueError otherwise). `Diffusion(published=True)`
    samples as the published code does. `rule` is how several views are used (`combined`; not with DDPM).
    `prepare` does once what does not depend on the noise (`networks.views.Remembering.prepared`). `without`
    is the condition that guidance moves away from, where it is not `nothing_of` the condition.
    """
    published = isinstance(objective, Diffusion) and objective.published
    free = guidance == 1 or (published and guidance == 0) or not SHOWN_AS & set(condition)
    if method == "ddpm":
        if not isinstance(objective, Diffusion):
            raise ValueError("DDPM steps need a diffusion objective. Sample with heun or ddim.")
        guided_by = guided_model(model, condition, 1.0 if free else guidance, published)
        return ddpm(objective.spaced(steps), guided_by, noise, generator=generator)
    denoisers = []
    for shown in [condition] if rule == "together" else by_view(condition):
        denoise = objective.denoiser(model, **prepare(shown) if prepare else shown)
        if not free:
            nothing = nothing_of(shown, published) if without is None else without
            nothing = prepare(nothing) if prepare else nothing
            denoise = guided(denoise, objective.denoiser(model, **nothing), guidance)
        denoisers.append(denoise)
    denoise = combined(denoisers, rule)
    levels = objective.levels(steps)
    if method == "ddim":
        return ddim(denoise, noise * levels[0], levels, float(churn > 0), generator)
    return heun(denoise, noise * levels[0], levels, churn, generator)


def nothing_of(condition: Condition, published: bool = False) -> Condition:
    """The condition without images or text, as in training: `embeddings`, (B, ...), become zeros.

    An upsampler keeps its coarse cloud, `low_res` (B, C, n). The published code zeroes that too, in its own
    units: all points black and at the origin, an input that never occurs in training.
    """
    without = withheld(condition)
    if published and "low_res" in condition:
        black = torch.zeros_like(condition["low_res"])
        black[:, 3:6] = -1
        without["low_res"] = black
    return without


def combined(denoisers: list[Denoiser], rule: Rule) -> Denoiser:
    """One denoiser from those of several views, without training (TRELLIS, arXiv:2412.01506, in its code).

    `mean` averages their estimates, `cycle` asks them in turn.
    """
    turn = itertools.cycle(denoisers)

    def mean(x: Tensor, sigma: float) -> Tensor:
        return torch.stack([denoise(x, sigma) for denoise in denoisers]).mean(0)

    def cycle(x: Tensor, sigma: float) -> Tensor:
        return next(turn)(x, sigma)

    return denoisers[0] if len(denoisers) == 1 else mean if rule == "mean" else cycle


def guided(conditional: Denoiser, unconditional: Denoiser, scale: float) -> Denoiser:
    """Classifier-free guidance on every channel; a scale of 1 is none."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        without = unconditional(x, sigma)
        return without + scale * (conditional(x, sigma) - without)

    return conditional if scale == 1 else denoise


def guided_model(model: Model, condition: Condition, scale: float, published: bool = False) -> Model:
    """Guidance for DDPM, as a model of x (B, C, N) and t (B,): it moves the prediction, not the variance.

    The published code guides only the first three channels, the positions.
    """

    def plain(x: Tensor, t: Tensor) -> Tensor:
        return model(x, t, **condition)

    if scale == 1:
        return plain
    nothing = nothing_of(condition, published)

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
    """Denoise `x`, (B, C, N) at level sigmas[0], down to the last level (Karras et al., algorithm 2).

    `churn` is the published s_churn: how much fresh noise is mixed in over all steps. Two model calls per
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
    """As `heun`, x (B, C, N), with one model call per step.

    `eta` is the share of fresh noise; 1 is DDPM's smaller variance.
    This is DDIM's equation 12 divided by the signal, which makes it an Euler step.
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
    """Ancestral sampling from unit noise x (B, C, N) over every step, with the learned variance.

    `diffusion.spaced(n)` samples in n steps. The last step returns the mean.
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
    """Unit noise generated on the CPU, the same for every device."""
    return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
