"""Rectified flow and EDM on Gaussian data, for which the best network is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.networks.point_e import build
from training.objectives.diffusion import Diffusion
from training.objectives.flow import Edm, RectifiedFlow
from training.objectives.objective import Model, Objective, even_quantiles
from training.objectives.sampler import sample

SPREAD = 0.4


def best_flow(z: Tensor, t: Tensor) -> Tensor:
    """E[noise - start | z] of z = (1 - t) start + t noise."""
    t = t[:, None, None] / 1000
    return (t - (1 - t) * SPREAD**2) / ((1 - t) ** 2 * SPREAD**2 + t**2) * z


def best_edm(x: Tensor, t: Tensor) -> Tensor:
    """The network behind the best denoiser, for data of sigma_data 0.5; x comes scaled by c_in."""
    sigma = (t / 250).exp()[:, None, None]
    total = sigma**2 + 0.25
    noisy = x * total.sqrt()
    clean = noisy * SPREAD**2 / (SPREAD**2 + sigma**2)
    return (clean - 0.25 / total * noisy) / (sigma * 0.5 / total.sqrt())


BEST = [
    pytest.param(RectifiedFlow(clip=False), best_flow, id="flow"),
    pytest.param(Edm(clip=False), best_edm, id="edm"),
]


@pytest.mark.parametrize(("objective", "best"), BEST)
@pytest.mark.parametrize("sigma", [0.01, 1.0, 50.0])
def test_the_denoiser_is_the_known_one(objective: Objective, best: Model, sigma: float) -> None:
    x = torch.randn(2, 6, 50, dtype=torch.float64) * sigma
    drawn = objective.denoiser(best)(x, sigma)
    torch.testing.assert_close(drawn, x * SPREAD**2 / (SPREAD**2 + sigma**2), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("objective", "best"), BEST)
@pytest.mark.parametrize(("method", "tolerance"), [("heun", 0.01), ("ddim", 0.05)])
def test_the_best_network_draws_the_data(
    objective: Objective, best: Model, method: str, tolerance: float
) -> None:
    noise = torch.randn(1, 6, 5000, generator=torch.Generator().manual_seed(0))
    drawn = sample(objective, best, noise, {}, steps=64, method=method)  # pyright: ignore[reportArgumentType]
    high = objective.levels(64)[0]
    exact = noise * high * SPREAD / math.sqrt(SPREAD**2 + high**2)  # the path of each point is known too
    assert (drawn - exact).abs().max() < tolerance * exact.abs().max()


@pytest.mark.parametrize(("objective", "best"), BEST)
def test_the_best_network_has_the_least_loss(objective: Objective, best: Model) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(256, 6, 200, generator=generator) * SPREAD
    noise = torch.randn(256, 6, 200, generator=generator)
    t = objective.times(even_quantiles(256, generator))

    def loss(model: Model) -> float:
        losses = objective.losses(model, start, t, noise)
        assert list(losses) == ["loss", "mse"] and losses["loss"].shape == (256,)
        return losses["loss"].mean().item()

    least = loss(best)
    for change in (
        lambda x, t: 1.05 * best(x, t),
        lambda x, t: 0.95 * best(x, t),
        lambda x, t: best(x, t) + 0.05,
        lambda x, t: best(x, 1.05 * t),
    ):
        assert loss(change) > least


def test_edm_has_unit_targets_at_every_level() -> None:
    """For data of sigma_data the network's input and target have variance 1, and zeros lose exactly 1."""
    objective, generator = Edm(), torch.Generator().manual_seed(0)
    start = 0.5 * torch.randn(5, 6, 20_000, generator=generator)
    seen: list[Tensor] = []

    def silent(x: Tensor, t: Tensor) -> Tensor:
        seen.append(x)
        return torch.zeros_like(x)

    t = torch.tensor([0.01, 0.1, 0.5, 2.0, 80.0]).log()
    loss = objective.losses(silent, start, t, torch.randn(start.shape, generator=generator))["loss"]
    torch.testing.assert_close(loss, torch.ones(5), atol=0.02, rtol=0)
    torch.testing.assert_close(seen[0].flatten(1).std(1), torch.ones(5), atol=0.02, rtol=0)


def test_times_follow_their_distributions() -> None:
    quantiles = even_quantiles(20_000, torch.Generator().manual_seed(0))
    flow = RectifiedFlow(mean=1.0, std=0.8).times(quantiles)
    assert flow.min() > 0 and flow.max() < 1
    assert (torch.logit(flow).mean().item(), torch.logit(flow).std().item()) == pytest.approx(
        (1, 0.8), abs=0.01
    )
    edm = Edm().times(quantiles)
    assert (edm.mean().item(), edm.std().item()) == pytest.approx((-1.2, 1.2), abs=0.01)
    for objective in (RectifiedFlow(), Edm(), Diffusion()):
        ordered = objective.times(torch.linspace(0, 0.999, 100))
        assert (ordered.diff() > 0).all() and torch.isfinite(ordered.float()).all()


@pytest.mark.parametrize("objective", [RectifiedFlow(), Edm(), Diffusion("v")], ids=["flow", "edm", "v"])
def test_a_network_learns_one_cloud_by_any_objective(objective: Objective) -> None:
    """A few hundred steps on one colored cloud: what is drawn lies on it."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    shape = {"width": 48, "layers": 2, "heads": 2, "outputs": objective.outputs, "qk_norm": True}
    model = build("uncond", None, **shape, skips=True)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    angle = torch.linspace(0, 2 * math.pi, 33)[:-1]
    ring = torch.stack([0.8 * angle.cos(), 0.8 * angle.sin(), *torch.zeros(2, 32), angle.cos(), -angle.cos()])

    for _ in range(200):
        t = objective.times(even_quantiles(16, generator))
        noise = torch.randn(16, 6, 32, generator=generator)
        loss = objective.losses(model, ring.expand(16, -1, -1), t, noise)["loss"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    drawn = sample(objective, model, torch.randn(2, 6, 64, generator=generator), {}, steps=16)
    radius = drawn[:, :2].norm(dim=1)
    assert (radius - 0.8).abs().mean() < 0.2  # unit noise: 0.6
    assert drawn[:, 2].abs().mean() < 0.2
    assert (drawn[:, 4] - drawn[:, 0] / 0.8).abs().mean() < 0.25  # the color goes with the place
