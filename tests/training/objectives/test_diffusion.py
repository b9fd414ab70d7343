"""The diffusion and its samplers against the published implementation's numbers and against known answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from training.networks.point_e import assemble
from training.networks.transformer import PointTransformer, Shape
from training.objectives.diffusion import Diffusion, Schedule
from training.objectives.flow import RectifiedFlow
from training.objectives.objective import even_quantiles, karras_sigmas
from training.objectives.sampler import ddim, ddpm, guided, guided_model, heun, nothing_of, sample

Vectors = Callable[[str], tuple[dict[str, Any], dict[str, Tensor]]]
SPREAD = 0.5  # standard deviation of the Gaussian data whose exact answers are known


def off(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((a - b).abs().max() / b.abs().max())


def load_uncond(vectors: Vectors) -> PointTransformer:
    config, numbers = vectors("model_uncond")
    model = assemble("uncond", Shape(config["width"], config["layers"], config["heads"]), 0)
    weights = {name.removeprefix("weight/"): w for name, w in numbers.items() if name.startswith("weight/")}
    model.load_state_dict(weights)
    return model.requires_grad_(False)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_schedule_losses_and_posterior_match_published(vectors: Vectors, schedule: Schedule) -> None:
    config, numbers = vectors(f"diffusion_{schedule}")
    model, diffusion = load_uncond(vectors), Diffusion(schedule=schedule)
    for name in ("betas", "alphas_cumprod", "posterior_variance"):
        assert off(getattr(diffusion, name), numbers[name]) < 1e-12
    scales, biases = (torch.tensor(config[key])[:, None] for key in ("channel_scales", "channel_biases"))
    start = numbers["x0_unscaled"] * scales + biases
    t, noise = numbers["t"], numbers["noise"]
    noisy = diffusion.add_noise(start, t, noise)
    assert off(noisy, numbers["xt"]) < 1e-5
    for name, loss in diffusion.losses(model, start, t, noise).items():
        assert off(loss, numbers[f"loss/{name}"]) < 1e-4
    guess = diffusion.predict(model(noisy, t), noisy, t)
    assert off(guess.mean, numbers["p_mean"]) < 1e-4
    assert off(guess.log_variance.exp(), numbers["p_variance"]) < 1e-4
    assert off(guess.start, numbers["pred_xstart"]) < 1e-4


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_heun_matches_published(vectors: Vectors, schedule: Schedule) -> None:
    _, numbers = vectors(f"heun_{schedule}")
    model, diffusion = load_uncond(vectors), Diffusion(schedule=schedule, published=True)
    sigmas = karras_sigmas(int(numbers["steps"]), float(numbers["sigma_min"]), float(numbers["sigma_max"]))
    assert off(torch.tensor(sigmas), numbers["sigmas"]) < 1e-5
    assert diffusion.levels(int(numbers["steps"])) == sigmas
    assert [diffusion.published_time_of(sigma) for sigma in sigmas[:-1]] == numbers["t_of_sigma"].tolist()
    drawn = sample(diffusion, model, numbers["x_init"] / sigmas[0], {}, int(numbers["steps"]))
    assert off(drawn, numbers["x_final"]) < 1e-4
    fixed = sample(Diffusion(schedule=schedule), model, numbers["x_init"] / sigmas[0], {}, 8)
    assert off(fixed, numbers["x_final"]) > 1e-3


def test_the_variance_bound_trains_only_the_variance() -> None:
    output = torch.randn(3, 12, 20, generator=torch.Generator().manual_seed(0)).requires_grad_()
    start = torch.rand(3, 6, 20) * 2 - 1
    losses = Diffusion().losses(
        lambda x, t: output, start, torch.tensor([5, 400, 1000]), torch.randn(3, 6, 20)
    )
    losses["vb"].sum().backward()
    assert output.grad is not None
    assert not output.grad[:, :6].any()
    assert output.grad[:, 6:].any()


def test_velocity_and_noise_say_the_same() -> None:
    """The true velocity and the true noise give the same clean cloud, at whole times and between them."""
    generator = torch.Generator().manual_seed(0)
    start, noise = (torch.randn(4, 6, 9, generator=generator, dtype=torch.float64) for _ in range(2))
    t = torch.tensor([0, 300, 700, 1000])
    for prediction in ("epsilon", "v"):
        diffusion = Diffusion(prediction, clip=False)
        noisy, target = diffusion.add_noise(start, t, noise), diffusion.target(start, t, noise)
        torch.testing.assert_close(diffusion.clean(target, noisy, t), start)
        output = torch.cat([target, torch.zeros_like(target)], dim=1)
        assert diffusion.losses(lambda x, t, output=output: output, start, t, noise)["mse"].max() == 0

        def exact(x: Tensor, t: Tensor, v: bool = prediction == "v") -> Tensor:
            """Knows the clean cloud and which noise was added at sigma 2."""
            known = (noise - 2 * start) / 5**0.5 if v else noise
            return torch.cat([known, known], dim=1)

        drawn = diffusion.denoiser(exact)(start + 2 * noise, 2.0)
        torch.testing.assert_close(drawn, start)


def test_times_take_every_step_as_often() -> None:
    diffusion, generator = Diffusion(), torch.Generator().manual_seed(0)
    t = torch.cat([diffusion.times(even_quantiles(64, generator)) for _ in range(200)])
    assert (t.min(), t.max()) == (0, 1023)
    assert torch.bincount(t // 128, minlength=8).tolist() == pytest.approx([1600] * 8, abs=60)
    assert diffusion.times(torch.tensor([0.0, 0.5, 0.9999999])).tolist() == [0, 512, 1023]


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_time_of_a_noise_level_is_exact_between_steps(schedule: Schedule) -> None:
    diffusion = Diffusion(schedule=schedule)
    for step in (0, 1, 500, 1023):
        assert diffusion.time_of(float(diffusion.sigmas[step])) == pytest.approx(step, abs=1e-9)
    between = math.sqrt(float(diffusion.sigmas[300] * diffusion.sigmas[301]))
    assert diffusion.time_of(between) == pytest.approx(300.5)
    assert diffusion.time_of(1e-9) == 0
    levels = diffusion.levels(10)
    assert levels[-2] == pytest.approx(float(diffusion.sigmas[0]))
    assert diffusion.time_of(levels[0]) <= 1023 and levels[0] <= float(diffusion.sigmas[-1])


def test_a_thinned_process_is_the_same_process() -> None:
    whole, thin = Diffusion("v", "linear", clip=False), Diffusion("v", "linear", clip=False).spaced(7)
    assert (len(thin), thin.prediction, thin.schedule, thin.clip) == (7, "v", "linear", False)
    assert (thin.numbers[0], thin.numbers[-1]) == (0, 1023)
    torch.testing.assert_close(thin.alphas_cumprod, whole.alphas_cumprod[thin.numbers])
    every = whole.spaced(1024)
    torch.testing.assert_close(every.betas, whole.betas)


def test_heun_is_of_second_order_and_lands_on_the_data() -> None:
    """For Gaussian data the clean estimate is known, and so is the exact path."""
    x = torch.tensor([[[3.0, -8.0]]])
    exact = x * SPREAD / math.sqrt(SPREAD**2 + 10**2)

    def error(steps: int) -> float:
        return float((heun(gaussian_denoiser, x, karras_sigmas(steps, 1e-3, 10.0)) - exact).abs().max())

    assert error(40) < 2e-3
    assert error(20) / error(40) > 3  # halving the step quarters the error


def gaussian_denoiser(x: Tensor, sigma: float) -> Tensor:
    """The best estimate for Gaussian data."""
    return x * SPREAD**2 / (SPREAD**2 + sigma**2)


def test_churn_keeps_the_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, 20_000, generator=generator) * 10
    drawn = heun(gaussian_denoiser, x, karras_sigmas(40, 1e-3, 10.0), churn=10, generator=generator)
    assert drawn.std().item() == pytest.approx(SPREAD, rel=0.03)
    still = heun(gaussian_denoiser, x, karras_sigmas(40, 1e-3, 10.0))
    assert (drawn - still).std() > 0.1  # and it does move


@pytest.mark.parametrize(("eta", "tolerance"), [(0.0, 0.03), (1.0, 0.06)])
def test_ddim_lands_on_the_data(eta: float, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, 20_000, generator=generator) * 10
    drawn = ddim(gaussian_denoiser, x, karras_sigmas(200, 1e-3, 10.0), eta, generator)
    assert drawn.std().item() == pytest.approx(SPREAD, rel=tolerance)


@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
def test_ddim_is_the_papers_equation(vectors: Vectors, eta: float) -> None:
    """One step between whole times, in the paper's own terms (equations 12 and 16), on a real network."""
    model, diffusion = load_uncond(vectors), Diffusion(clip=False)
    x = torch.randn(2, 6, 48, generator=torch.Generator().manual_seed(0))
    now, after = (diffusion.alphas_cumprod[step].item() for step in (600, 500))
    predicted = model(x, torch.tensor([600, 600]))[:, :6]
    clean = (x - (1 - now) ** 0.5 * predicted) / now**0.5
    spread = eta * ((1 - after) / (1 - now) * (1 - now / after)) ** 0.5
    fresh = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    expected = after**0.5 * clean + (1 - after - spread**2) ** 0.5 * predicted + spread * fresh
    levels = [float(diffusion.sigmas[600]), float(diffusion.sigmas[500])]
    stepped = ddim(diffusion.denoiser(model), x / now**0.5, levels, eta, torch.Generator().manual_seed(1))
    assert off(stepped * after**0.5, expected) < 1e-4


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("steps", [8, 64])
def test_ddpm_with_the_right_variance_is_exact_in_any_number_of_steps(prediction: Any, steps: int) -> None:
    """For Gaussian data each reverse step is Gaussian: a network that knows its two numbers is exact."""
    diffusion = Diffusion(prediction, "linear", clip=False).spaced(steps)
    told = {int(number): step for step, number in enumerate(diffusion.numbers)}

    def exact(x: Tensor, t: Tensor) -> Tensor:
        step = torch.full((len(x),), told[int(t[0])])
        signal = diffusion.alphas_cumprod[step[0]].item()
        total = signal * SPREAD**2 + 1 - signal
        start = signal**0.5 * SPREAD**2 / total * x
        noise = (x - signal**0.5 * start) / (1 - signal) ** 0.5
        say = noise if prediction == "epsilon" else diffusion.target(start, step, noise)
        rest = SPREAD**2 * (1 - signal) / total  # what is not known of the clean value
        weight = diffusion.posterior_mean(torch.ones(1, 1, 1), torch.zeros(1, 1, 1), step[:1]).item()
        true = diffusion.posterior_variance[step[0]].item() + weight**2 * rest
        low, high = (diffusion.log_variance(torch.full((1, 1, 1), p), step[:1]).item() for p in (-1.0, 1.0))
        return torch.cat([say, torch.full_like(x, 2 * (math.log(true) - low) / (high - low) - 1)], dim=1)

    generator = torch.Generator().manual_seed(0)
    drawn = ddpm(diffusion, exact, torch.randn(1, 1, 40_000, generator=generator), generator)
    assert drawn.std().item() == pytest.approx(SPREAD, rel=0.015)
    assert drawn.mean().item() == pytest.approx(0, abs=0.01)


def test_guidance_moves_every_channel() -> None:
    image, none = torch.rand(1, 6, 4), torch.rand(1, 6, 4)
    denoise = guided(lambda x, sigma: image, lambda x, sigma: none, 3.0)
    torch.testing.assert_close(denoise(torch.zeros(1, 6, 4), 1.0), none + 3 * (image - none))


CONDITION = {"embeddings": torch.full((2, 5, 3), 0.7), "low_res": torch.full((2, 6, 4), 0.2)}


def says_its_condition(x: Tensor, t: Tensor, embeddings: Tensor, low_res: Tensor) -> Tensor:
    """10 for the image plus 1 for the coarse cloud, in every output."""
    told = 10 * (embeddings[:, 0, 0] == 0.7) + (low_res[:, 0, 0] == 0.2)
    return told[:, None, None].float().expand(-1, 2 * x.shape[1], x.shape[2])


def test_guidance_of_ddpm_moves_every_channel_and_published_positions_only() -> None:
    x, t = torch.zeros(2, 6, 9), torch.zeros(2)
    out = guided_model(says_its_condition, CONDITION, 3.0)(x, t)
    assert (out[:, :6] == 1 + 3 * 10).all() and (out[:, 6:] == 11).all()
    old = guided_model(says_its_condition, CONDITION, 3.0, published=True)(x, t)
    assert (old[:, :3] == 0 + 3 * 11).all() and (old[:, 3:] == 11).all()
    assert (guided_model(says_its_condition, CONDITION, 1.0)(x, t) == 11).all()


def test_guidance_keeps_the_coarse_cloud_and_published_drops_it() -> None:
    kept = nothing_of(CONDITION)
    assert not kept["embeddings"].any()
    assert torch.equal(kept["low_res"], CONDITION["low_res"])
    dropped = nothing_of(CONDITION, published=True)["low_res"]
    assert not dropped[:, :3].any() and (dropped[:, 3:] == -1).all()  # the middle, in black
    assert CONDITION["low_res"].any()


@pytest.mark.parametrize("method", ["heun", "ddim", "ddpm"])
def test_draw_guides_with_every_sampler(vectors: Vectors, method: Any) -> None:
    torch.manual_seed(0)
    model = assemble("upsample", Shape(32, 1, 2), 5).requires_grad_(False)
    torch.nn.init.normal_(model.output_proj.weight, std=0.3)
    condition = {"embeddings": torch.randn(2, 5, 3), "low_res": torch.rand(2, 6, 4) * 2 - 1}

    def make(condition: dict[str, Tensor], guidance: float) -> Tensor:
        generator = torch.Generator().manual_seed(2)
        noise = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(1))
        return sample(Diffusion(), model, noise, condition, 6, guidance, method, generator=generator)

    plain, strong = make(condition, 1.0), make(condition, 3.0)
    assert plain.shape == (2, 6, 9) and torch.isfinite(strong).all()
    assert torch.equal(strong, make(condition, 3.0))
    assert (plain - strong).abs().max() > 1e-3
    nothing = condition | {"embeddings": torch.zeros(2, 5, 3)}
    torch.testing.assert_close(make(nothing, 3.0), make(nothing, 1.0))


def test_what_a_sampler_cannot_do_says_so(vectors: Vectors) -> None:
    model, noise = load_uncond(vectors), torch.randn(1, 6, 8)
    with pytest.raises(ValueError, match="DDPM needs 2 or more"):
        sample(Diffusion(), model, noise, {}, 1, method="ddpm")
    with pytest.raises(ValueError, match="need a diffusion objective"):
        sample(RectifiedFlow(), model, noise, {}, 4, method="ddpm")


def test_published_guidance_of_0_is_none() -> None:
    noise = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(0))
    plain, off, on = (
        sample(Diffusion(published=True), says_its_condition, noise, CONDITION, 4, guidance)
        for guidance in (1.0, 0.0, 2.0)
    )
    assert torch.equal(plain, off)
    assert not torch.equal(plain, on)
    fixed = sample(Diffusion(), says_its_condition, noise, CONDITION, 4, 0.0)
    nothing = sample(Diffusion(), says_its_condition, noise, nothing_of(CONDITION), 4, 1.0)
    assert torch.equal(fixed, nothing)  # with the image's weight at 0
