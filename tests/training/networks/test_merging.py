"""The merger's network and its objective without noise, against what must hold by construction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from training.merging.rules import consensus
from training.networks.merging import NEIGHBORS, MergeTransformer, nearest
from training.networks.transformer import Shape
from training.objectives.offset import Offset, queries
from training.objectives.sampler import sample


def network(cloud_tokens: int = 0, features: int = 0) -> MergeTransformer:
    """A small merger with random last layers, so that it says something."""
    torch.manual_seed(0)
    model = MergeTransformer(Shape(32, 2, 2, outputs=1, seen=16), features, cloud_tokens).eval()
    for layer in (model.output_proj, model.cloud_tag, model.near.out):
        torch.nn.init.normal_(layer.weight)
    return model


def given(clouds: int = 3, points: int = 20) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 6, 16, generator=generator)
    some = torch.rand(2, clouds, 6, points, generator=generator) * 2 - 1
    toward = torch.nn.functional.normalize(torch.randn(2, clouds, 3, generator=generator), dim=-1)
    return x, torch.tensor([10.0, 500.0]), some, toward


def test_clouds_have_no_order_and_tags_go_with_them() -> None:
    model, (x, t, clouds, toward) = network(), given()
    made, turn = model(x, t, clouds=clouds, toward=toward), [2, 0, 1]
    assert torch.allclose(made, model(x, t, clouds=clouds[:, turn], toward=toward[:, turn]), atol=1e-4)
    assert not torch.allclose(made, model(x, t, clouds=clouds[:, turn], toward=toward), atol=1e-3)
    mixed = clouds[..., torch.randperm(20)]
    assert torch.allclose(made, model(x, t, clouds=mixed, toward=toward), atol=1e-4)
    assert torch.allclose(
        model(x, t, clouds=clouds), model(x, t, clouds=clouds, toward=0 * toward), atol=1e-6
    )
    assert model(x, t, clouds=clouds[:, :1], toward=toward[:, :1]).shape == made.shape


def test_a_point_is_told_what_each_cloud_has_nearest_to_it() -> None:
    """Clouds on the axes: at the point (1, 0, 0) the nearest points and the means are known."""
    steps = torch.arange(1.0, NEIGHBORS + 3)
    along = torch.zeros(2, 6, len(steps))
    along[0, 0], along[1, 1] = steps, steps
    along[0, 3], along[1, 3] = steps, -steps
    told = nearest(torch.tensor([1.0, 0, 0, 0.5, 0.5, 0.5]).view(1, 6, 1), along[None].flip(3))
    middle = (NEIGHBORS + 1) / 2
    first = [0, 0, 0, 0, 1, 0, 0, middle - 1, 0, 0]
    second = [-1, 1, 0, 2**0.5, -1, 0, 0, -1, middle, 0]
    assert told.shape == (1, 2, 1, 10)
    assert told[0, :, 0].numpy() == pytest.approx(np.array([first, second]), abs=1e-5)


def test_points_beyond_the_tokens_are_only_looked_up() -> None:
    model, (x, t, clouds, toward) = network(cloud_tokens=8), given()
    made = model(x, t, clouds=clouds, toward=toward)
    far = clouds.clone()
    far[..., 8:] += 1000
    assert not torch.allclose(made, model(x, t, clouds=far, toward=toward), atol=1e-3)
    torch.nn.init.zeros_(model.near.out.weight)
    assert torch.allclose(
        model(x, t, clouds=clouds, toward=toward), model(x, t, clouds=far, toward=toward), atol=1e-6
    )


def test_images_are_shown_too() -> None:
    model, (x, t, clouds, toward) = network(features=8), given()
    views = torch.randn(2, 2, 8, 4)
    made = model(x, t, clouds=clouds, toward=toward, embeddings=views)
    assert not torch.allclose(
        made, model(x, t, clouds=clouds, toward=toward, embeddings=0 * views), atol=1e-3
    )


def test_without_learning_offsets_are_the_consensus_itself() -> None:
    x, _, clouds, _ = given()
    untrained = MergeTransformer(Shape(32, 1, 2, outputs=1))
    made = sample(Offset(moved=4), untrained, x, {"clouds": clouds}, steps=7, guidance=1.0)
    for cloud, some in zip(made.numpy(), clouds.numpy(), strict=True):
        np.testing.assert_allclose(cloud, consensus(list(some), 16), atol=1e-6)
    few = queries({"clouds": clouds[:, :1, :, :5]}, 16)
    assert few.shape == (2, 6, 16) and len(few[0].T.unique(dim=0)) == 5


@pytest.mark.parametrize("moved", [0, 12])
def test_the_loss_of_offsets_is_the_chamfer_distance(moved: int) -> None:
    x, t, clouds, _ = given()

    def stay(x: torch.Tensor, t: torch.Tensor, **condition: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)

    losses = Offset(rest=0, moved=moved).losses(stay, x, t, x, clouds=clouds)
    for i, (some, true) in enumerate(zip(clouds.numpy(), x.numpy(), strict=True)):
        a, b = consensus(list(some), moved or 16)[:3].T, true[:3].T
        there, back = KDTree(b).query(a)[0], KDTree(a).query(b)[0]
        assert np.isclose(float(losses["loss"][i]), (there.mean() + back.mean()) / 2, atol=1e-4)
        assert np.isclose(float(losses["mse"][i]), (there**2).mean() + (back**2).mean(), rtol=1e-4)


def test_what_pictures_rule_out_is_not_moved() -> None:
    """A camera 4 above the origin looks down on a picture whose left half is the object."""
    _, _, clouds, _ = given()
    camera = torch.eye(4)
    camera[2, 3] = 4
    cameras = torch.tensor([*camera.flatten(), 0.5, 0, 0]).expand(2, 1, 19)
    pixels = torch.zeros(2, 1, 4, 8, 8)
    pixels[..., :4] = 1
    shown = {"clouds": clouds, "cameras": cameras, "pixels": pixels, "known": torch.tensor([[True], [False]])}
    made = queries(shown, 8)
    assert made[0, 0].max() < 0 and made[0].T.unique(dim=0).shape == (8, 6)
    np.testing.assert_array_equal(made[1], consensus(list(clouds[1].numpy()), 8))


def test_offsets_learn_a_shift() -> None:
    """Clouds that are all displaced by the same vector: the network learns to move them back."""
    generator, shift = torch.Generator().manual_seed(0), torch.tensor([0.3, -0.2, 0.1, 0, 0, 0])
    model = network()
    torch.nn.init.zeros_(model.output_proj.weight)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        true = torch.rand(4, 6, 24, generator=generator) - 0.5
        moved = (true + shift[:, None])[:, None]
        loss = Offset().losses(model, true, torch.zeros(4), true, clouds=moved)["loss"].mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.4 * losses[0]
