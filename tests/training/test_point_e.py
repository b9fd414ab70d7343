"""The network, the diffusion and the sampler against numbers made with the published implementation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training.diffusion import Diffusion, from_network, to_network
from training.sampler import denoiser, guided, heun, karras_sigmas
from training.transformer import ImageGridTransformer, PointDiffusionTransformer, Shape

Vectors = Callable[[str], tuple[dict[str, Any], dict[str, Tensor]]]


def off(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((a - b).abs().max() / b.abs().max())


def load_uncond(vectors: Vectors) -> tuple[PointDiffusionTransformer, dict[str, Tensor]]:
    config, numbers = vectors("model_uncond")
    model = PointDiffusionTransformer(Shape(config["width"], config["layers"], config["heads"]))
    model.load_state_dict(weights(numbers))
    return model.requires_grad_(False), numbers


def weights(numbers: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("weight/"): w for name, w in numbers.items() if name.startswith("weight/")}


def test_uncond_matches_published(vectors: Vectors) -> None:
    model, numbers = load_uncond(vectors)
    assert off(model(numbers["in/x"], numbers["in/t"]), numbers["out/y"]) < 1e-5


def test_grid_matches_published(vectors: Vectors) -> None:
    config, numbers = vectors("model_grid")
    features = config["clip_grid_feature_dim"]
    model = ImageGridTransformer(Shape(config["width"], config["layers"], config["heads"]), features)
    model.load_state_dict(weights(numbers))
    with torch.inference_mode():
        out = model(numbers["in/x"], numbers["in/t"], numbers["in/embeddings"])
    assert off(out, numbers["out/y"]) < 1e-5


@pytest.mark.parametrize(
    ("features", "count"), [(None, 39_940_108), (1024, 40_466_956)], ids=["base40M-uncond", "base40M"]
)
def test_published_parameter_counts(features: int | None, count: int) -> None:
    with torch.device("meta"):
        model = (
            ImageGridTransformer(Shape(512, 12, 8), features)
            if features
            else PointDiffusionTransformer(Shape(512, 12, 8))
        )
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_order_of_points_does_not_matter(vectors: Vectors) -> None:
    model, numbers = load_uncond(vectors)
    order = torch.randperm(numbers["in/x"].shape[2], generator=torch.Generator().manual_seed(0))
    straight = model(numbers["in/x"], numbers["in/t"])
    permuted = model(numbers["in/x"][:, :, order], numbers["in/t"])
    assert off(permuted, straight[:, :, order]) < 1e-5
    assert off(permuted, straight) > 0.1


def test_new_model_predicts_nothing_and_keeps_the_init_scale() -> None:
    torch.manual_seed(0)
    model = ImageGridTransformer(Shape(256, 2, 4), features=32)
    out = model(torch.randn(2, 6, 10), torch.tensor([0.5, 900.0]), torch.randn(2, 32, 4))
    assert out.shape == (2, 12, 10)
    assert not out.any()
    assert model.state_dict()["backbone.resblocks.1.mlp.c_fc.weight"].std().item() == pytest.approx(
        0.25 / 16, rel=0.03
    )


def test_schedule_and_losses_match_published(vectors: Vectors) -> None:
    config, numbers = vectors("diffusion_cosine")
    model, _ = load_uncond(vectors)
    diffusion = Diffusion()
    for name in ("betas", "alphas_cumprod", "posterior_variance"):
        assert off(getattr(diffusion, name), numbers[name]) < 1e-12
    scales, biases = (torch.tensor(config[key])[:, None] for key in ("channel_scales", "channel_biases"))
    start = numbers["x0_unscaled"] * scales + biases
    t, noise = numbers["t"], numbers["noise"]
    noisy = diffusion.add_noise(start, t, noise)
    assert off(noisy, numbers["xt"]) < 1e-5
    for name, loss in diffusion.losses(model, start, t, noise).items():
        assert off(loss, numbers[f"loss/{name}"]) < 1e-4
    prediction = diffusion.predict(model(noisy, t), noisy, t)
    assert off(prediction.mean, numbers["p_mean"]) < 1e-4
    assert off(prediction.log_variance.exp(), numbers["p_variance"]) < 1e-4
    assert off(prediction.start, numbers["pred_xstart"]) < 1e-4


def test_network_frame_equals_published_scaling() -> None:
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-1, 1, (50, 3)).astype(np.float32)
    rgb = rng.integers(0, 256, (50, 3)).astype(np.uint8)
    scaled = to_network(xyz, rgb)
    halved = np.concatenate([xyz / 2, rgb], axis=1).T  # Point-E's frame: longest side 1, colours 0..255
    published = (
        halved * np.array([2, 2, 2, *[1 / 127.5] * 3])[:, None] + np.array([0, 0, 0, -1, -1, -1])[:, None]
    )
    np.testing.assert_allclose(scaled, published, atol=1e-6)
    back_xyz, back_rgb = from_network(scaled)
    np.testing.assert_array_equal(back_xyz, xyz)
    np.testing.assert_array_equal(back_rgb, rgb)


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
        diffusion = Diffusion(prediction)
        noisy, target = diffusion.add_noise(start, t, noise), diffusion.target(start, t, noise)
        torch.testing.assert_close(diffusion.clean(target, noisy, t), start)
        output = torch.cat([target, torch.zeros_like(target)], dim=1)
        assert diffusion.losses(lambda x, t, output=output: output, start, t, noise)["mse"].max() == 0

        def exact(x: Tensor, t: Tensor, v: bool = prediction == "v") -> Tensor:
            """Knows the clean cloud and which noise was added at sigma 2."""
            known = (noise - 2 * start) / 5**0.5 if v else noise
            return torch.cat([known, known], dim=1)

        drawn = denoiser(exact, diffusion, clip=False)(start + 2 * noise, 2.0)
        torch.testing.assert_close(drawn, start)


def test_heun_matches_published(vectors: Vectors) -> None:
    _, numbers = vectors("heun_cosine")
    model, _ = load_uncond(vectors)
    diffusion = Diffusion()
    sigmas = karras_sigmas(int(numbers["steps"]), float(numbers["sigma_min"]), float(numbers["sigma_max"]))
    assert off(torch.tensor(sigmas), numbers["sigmas"]) < 1e-5
    assert [diffusion.published_time_of(sigma) for sigma in sigmas[:-1]] == numbers["t_of_sigma"].tolist()
    drawn = heun(denoiser(model, diffusion, published=True), numbers["x_init"], sigmas)
    assert off(drawn, numbers["x_final"]) < 1e-4


def test_time_of_a_noise_level_is_exact_between_steps() -> None:
    diffusion = Diffusion()
    for step in (0, 1, 500, 1023):
        assert diffusion.time_of(float(diffusion.sigmas[step])) == pytest.approx(step, abs=1e-9)
    between = math.sqrt(float(diffusion.sigmas[300] * diffusion.sigmas[301]))
    assert diffusion.time_of(between) == pytest.approx(300.5)
    assert diffusion.time_of(1e-9) == 0


def test_heun_is_of_second_order_and_lands_on_the_data() -> None:
    """For Gaussian data of standard deviation s the clean guess is known, and so is the exact path."""
    s, x = 0.5, torch.tensor([[[3.0, -8.0]]])
    exact = x * s / math.sqrt(s**2 + 10**2)

    def error(steps: int) -> float:
        drawn = heun(lambda x, sigma: x * s**2 / (s**2 + sigma**2), x, karras_sigmas(steps, 1e-3, 10.0))
        return float((drawn - exact).abs().max())

    assert error(40) < 2e-3
    assert error(20) / error(40) > 3  # halving the step quarters the error


def test_guidance_moves_every_channel() -> None:
    image, none = torch.rand(1, 6, 4), torch.rand(1, 6, 4)
    denoise = guided(lambda x, sigma: image, lambda x, sigma: none, 3.0)
    torch.testing.assert_close(denoise(torch.zeros(1, 6, 4), 1.0), none + 3 * (image - none))
