"""The merger that chooses points, against objects where the right choice is known."""

from __future__ import annotations

import numpy as np
import torch

from training.networks.scoring import PointScorer
from training.objectives.sampler import sample
from training.objectives.select import Select, candidates, weighted_spread

NOISE = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0))

EDGE = 0.25
"""Half a pixel of the picture, where the object is."""


def shown() -> dict[str, torch.Tensor]:
    """Clouds of 2 objects; a camera 4 above the first looks down on a picture whose left half is red."""
    camera = torch.eye(4)
    camera[2, 3] = 4
    pixels = torch.zeros(2, 1, 4, 8, 8)
    pixels[:, :, [0, 3], :, :4] = 1
    return {
        "clouds": torch.rand(2, 2, 6, 40, generator=torch.Generator().manual_seed(1)) * 2 - 1,
        "cameras": torch.tensor([*camera.flatten(), 0.5, 0, 0]).expand(2, 1, 19),
        "pixels": pixels,
        "outlines": torch.zeros(2, 1, 3, 8, 8),
        "known": torch.tensor([[True], [False]]),
    }


def test_candidates_are_of_the_clouds_and_of_the_hull() -> None:
    condition = shown()
    made = candidates(condition, 200, NOISE)
    given = {tuple(point) for point in condition["clouds"].permute(0, 1, 3, 2).flatten(0, 2).tolist()}
    of_clouds = np.array([[tuple(point) in given for point in cloud.T.tolist()] for cloud in made])
    assert made[0, 0].max() < EDGE and 20 < of_clouds[0].sum() < 60  # half of 80 are at the left
    assert (made[0, 3][~torch.from_numpy(of_clouds[0])] == 1).all()  # red, as the picture
    assert of_clouds[1].all() and made[1, 0].max() > 0.5  # no camera: all of the clouds' points
    torch.testing.assert_close(candidates(condition, 200, NOISE), made)
    assert not torch.equal(candidates(condition, 200, NOISE + 1), made)


def test_points_near_the_surface_are_chosen() -> None:
    """A model that knows the distance to the plane z = 0 leaves what is nearest to it."""

    def oracle(x: torch.Tensor, t: torch.Tensor, **condition: torch.Tensor) -> torch.Tensor:
        return x[:, 2:3].abs().sqrt()

    flat = torch.rand(2, 6, 4000, generator=torch.Generator().manual_seed(2)) * 2 - 1
    flat[:, 2] = 0
    losses = Select(seen=64).losses(oracle, flat, torch.zeros(2), NOISE, **shown())
    assert losses["loss"].max() < 0.1 and losses["mse"].max() < 0.05  # but for those beyond `FAR`
    made = sample(Select(tried=4), oracle, NOISE, shown(), steps=5, guidance=1.0)
    assert made.shape == NOISE.shape and made[0, 0].max() < EDGE
    assert made[0, 2].abs().mean() < 0.35  # 0.25, where the candidates' is 0.5


def test_a_scorer_learns_which_points_belong() -> None:
    """Of two clouds, one lies in a plane and one anywhere; the network finds out, in any order of clouds."""
    generator = torch.Generator().manual_seed(0)
    model = PointScorer(6, 32, 1, views=False)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(80):
        true = torch.rand(4, 6, 200, generator=generator) * 2 - 1
        true[:, 2] = 0
        clouds = torch.stack([true[..., :40], torch.rand(4, 6, 40, generator=generator) * 2 - 1], dim=1)
        noise = torch.full((4, 6, 8), float(step))
        losses = Select(seen=40).losses(model, true, torch.zeros(4), noise, clouds=clouds)
        losses["loss"].mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    made = sample(Select(tried=5, trust=0.01), model, noise, {"clouds": clouds.flip(1)}, guidance=1.0)
    assert (made[:, 2].abs() < 0.1).float().mean() > 0.9


def test_a_weighted_sample_spreads_where_points_count() -> None:
    """Of points at random in a square, its left half counts a hundred times more."""
    clouds = torch.rand(2, 4, 600, generator=torch.Generator().manual_seed(3)) * 2 - 1
    clouds[:, 2] = 0
    left = clouds[:, 0] < 0
    alike = weighted_spread(clouds, torch.ones(2, 600), 60)
    made = weighted_spread(clouds, torch.where(left, 1.0, 0.01), 60)
    assert (alike[:, 0] < 0).sum(1).min() > 20 and (made[:, 0] < 0).sum(1).min() > 50
    given = [{tuple(point) for point in cloud.T.tolist()} for cloud in clouds]
    assert all(
        {tuple(point) for point in one.T.tolist()} <= some for one, some in zip(made, given, strict=True)
    )
    gaps = torch.cdist(alike[:, :3].transpose(1, 2), alike[:, :3].transpose(1, 2)) + 9 * torch.eye(60)
    assert gaps.amin(2).min() > 0.1  # 60 points evenly in a square of side 2 are 0.26 apart
    assert weighted_spread(clouds[..., :3], torch.ones(2, 3), 5).shape == (2, 4, 5)
