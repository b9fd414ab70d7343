"""The two-stream transformer: equivariant, linear in the points, and independent of their number."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from training.networks.transformer import Shape
from training.networks.two_stream import TwoStreamTransformer
from training.objectives.flow import RectifiedFlow
from training.objectives.sampler import sample

SMALL = Shape(width=32, layers=2, heads=2, outputs=1, qk_norm=True)


def make(shape: Shape = SMALL, seed: int = 0) -> TwoStreamTransformer:
    """A network whose output is not the initial zero."""
    torch.manual_seed(seed)
    model = TwoStreamTransformer(shape, features=20, latents=16, latent_layers=2)
    torch.nn.init.normal_(model.output_proj.weight, std=0.2)
    return model.eval()


def inputs(points: int, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 6, points, generator=generator)
    return x, torch.linspace(10, 900, batch), torch.randn(batch, 20, 9, generator=generator)


def test_it_is_equivariant_to_the_order_of_the_points() -> None:
    model, (x, t, grid) = make(), inputs(100)
    order = torch.randperm(100)
    with torch.inference_mode():
        out = model(x, t, embeddings=grid)
        torch.testing.assert_close(
            model(x[:, :, order], t, embeddings=grid), out[:, :, order], atol=1e-5, rtol=1e-5
        )
    assert out.std() > 1e-3


def test_time_image_and_every_point_matter() -> None:
    model, (x, t, grid) = make(), inputs(50)
    with torch.inference_mode():
        out = model(x, t, embeddings=grid)
        assert (model(x, t + 50, embeddings=grid) - out).abs().max() > 1e-4
        assert (model(x, t, embeddings=grid * 0) - out).abs().max() > 1e-4
        moved = x.clone()
        moved[:, :3, 7] += 3
        assert (model(moved, t, embeddings=grid) - out)[:, :, :7].abs().max() > 1e-5  # through the latents
        twice = model(torch.cat([x, x], dim=2), t, embeddings=grid)  # the same distribution, read the same
        torch.testing.assert_close(twice[:, :, :50], out, atol=1e-5, rtol=1e-5)


def costs(model: TwoStreamTransformer, points: int) -> tuple[int, int]:
    """Operations of a forward pass, and the bytes it keeps for the backward pass."""
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.nbytes)
        return tensor

    x, t, grid = inputs(points)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with FlopCounterMode(display=False) as counter, hooks:
        model(x, t, embeddings=grid)
    return counter.get_total_flops(), sum(kept)


def test_work_and_memory_are_linear_in_the_points() -> None:
    """Counted, not timed: floating point operations, and what is kept for the backward pass."""
    model, work, memory = make(), [], []
    for points in (256, 512, 1024):
        flops, kept = costs(model, points)
        work.append(flops)
        memory.append(kept)
    for first, second, third in (work, memory):
        assert third - second == pytest.approx(2 * (second - first), rel=1e-3)
        assert second - first > 0


def test_the_published_size_reads_sixteen_thousand_points_on_a_processor() -> None:
    model = TwoStreamTransformer(Shape(width=256, layers=1, heads=4, outputs=1), features=20)
    x, t, grid = inputs(16_384, batch=1)
    with torch.inference_mode():
        assert model.eval()(x, t, embeddings=grid).shape == (1, 6, 16_384)


def test_recomputed_activations_give_the_same_gradients() -> None:
    x, t, grid = inputs(40)
    gradients = []
    for recompute in (False, True):
        model = make(Shape(width=32, layers=2, heads=2, outputs=1, recompute=recompute))
        model(x, t, embeddings=grid).square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.soak
def test_learned_at_few_points_it_draws_many() -> None:
    """A ring of one radius, learned from 32 points per cloud, is generated with 2,000."""
    model, objective = make(seed=3).train(), RectifiedFlow()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    grid = torch.zeros(16, 20, 9)
    for _ in range(250):
        angle = 2 * torch.pi * torch.rand(16, 32, generator=generator)
        start = torch.stack([angle.cos(), angle.sin(), *[torch.zeros(16, 32)] * 4], dim=1) * 0.8
        t = objective.times(torch.rand(16, generator=generator))
        noise = torch.randn(start.shape, generator=generator)
        optimizer.zero_grad()
        objective.losses(model, start, t, noise, embeddings=grid)["loss"].mean().backward()
        optimizer.step()
    noise = torch.randn(1, 6, 2000, generator=generator)
    cloud = sample(objective, model.eval(), noise, {"embeddings": grid[:1]}, steps=20, guidance=1)[0]
    radius = cloud[:2].norm(dim=0)
    assert radius.mean().item() == pytest.approx(0.8, abs=0.08)
    assert radius.std() < 0.15
    assert cloud[2:].abs().mean() < 0.1
    quadrants = torch.stack([cloud[0] > 0, cloud[1] > 0]).long()
    assert torch.bincount(quadrants[0] * 2 + quadrants[1], minlength=4).min() > 250
