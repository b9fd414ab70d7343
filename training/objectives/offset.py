"""Merging without noise: each point of the clouds' consensus moves to where the network says it belongs.

The form of completion networks such as PoinTr (Yu et al. 2021, arXiv:2108.08839): queries are a
farthest-point sample of what is given, here of the points that another cloud confirms; the network predicts
offsets in one pass, and the Chamfer distance to the true cloud is the loss. It implements
`objective.Objective`; what it says nothing to is noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.merging.rules import consensus
from training.objectives.objective import Denoiser, Model


@dataclass(frozen=True)
class Offset:
    """Offsets of all channels, by the Chamfer distance of positions and the difference of the rest."""

    rest: float = 0.3
    """Weight of color and label against positions."""
    queries: int = 0
    """Points that training moves; 0: as many as the true cloud has."""
    outputs: int = 1

    def times(self, quantiles: Tensor) -> Tensor:
        """(B,): always 0."""
        return torch.zeros_like(quantiles)

    def losses(
        self, model: Model, start: Tensor, t: Tensor, noise: Tensor, **condition: Tensor
    ) -> dict[str, Tensor]:
        """`mse`, the mean squared nearest distances, and `loss`, (B,) each; start: (B, C, N)."""
        moved = _moved(model, t, self.queries or start.shape[2], condition).to(start.dtype)
        return _losses(moved, start, self.rest)

    def denoiser(self, model: Model, **condition: Tensor) -> Denoiser:
        """The moved points, whatever the noise."""

        def denoise(x: Tensor, sigma: float) -> Tensor:
            return _moved(model, x.new_zeros(len(x)), x.shape[2], condition).to(x.dtype).clamp(-1, 1)

        return denoise

    def levels(self, steps: int) -> list[float]:
        """One step, whatever their number."""
        return [1.0, 0.0]


def _moved(model: Model, t: Tensor, points: int, condition: dict[str, Tensor]) -> Tensor:
    """The queries after one pass, (B, C, points); t: (B,)."""
    queries = consensus_queries(condition["clouds"], points)
    return queries + model(queries, t, **condition)[:, : queries.shape[1]]


def consensus_queries(clouds: Tensor, points: int) -> Tensor:
    """The consensus of each object's clouds, (B, K, C, M) -> (B, C, points); see `rules.consensus`."""
    given = clouds.float().cpu().numpy()
    return torch.from_numpy(np.stack([consensus(list(some), points) for some in given])).to(clouds)


def _losses(made: Tensor, true: Tensor, rest: float) -> dict[str, Tensor]:
    """Of clouds (B, C, N) and (B, C, M): `mse` and `loss`, (B,)."""
    loss, mse = made.new_zeros(len(made)), made.new_zeros(len(made))
    for these, those in ((made, true), (true, made)):
        gaps = these - _partners(these, those)
        squared = gaps[:, :3].square().sum(1)
        loss = loss + (squared + 1e-8).sqrt().mean(1) / 2
        if gaps.shape[1] > 3:
            loss = loss + rest * gaps[:, 3:].abs().mean((1, 2)) / 2
        mse = mse + squared.mean(1)
    return {"loss": loss, "mse": mse.detach()}


def _partners(these: Tensor, those: Tensor) -> Tensor:
    """For each point of (B, C, N) the nearest of (B, C, M): (B, C, N)."""
    with torch.no_grad():
        places = [cloud[:, :3].transpose(1, 2).float() for cloud in (these, those)]
        nearest = torch.cdist(places[0], places[1]).argmin(2)
    return those.gather(2, nearest[:, None].expand(-1, those.shape[1], -1))
