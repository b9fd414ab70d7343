"""Merging without noise: each point that a rule has chosen moves to where the network says it belongs.

The form of completion networks such as PoinTr (Yu et al. 2021, arXiv:2108.08839): queries are a
farthest-point sample of what is given, here of the points that another cloud or all pictures confirm; the
network predicts offsets in one pass, and the Chamfer distance to the true cloud is the loss. It implements
`objective.Objective`; what it says nothing to is noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.conditioning.cameras import look_up
from training.merging.rules import consensus, silhouettes
from training.objectives.objective import Denoiser, Model, Noiseless


@dataclass(frozen=True)
class Offset(Noiseless):
    """Offsets of all channels, by the Chamfer distance of positions and the difference of the rest."""

    rest: float = 0.3
    """Weight of color and label against positions."""
    moved: int = 0
    """Points that training moves; 0: as many as the true cloud has."""

    def losses(
        self, model: Model, start: Tensor, t: Tensor, noise: Tensor, **condition: Tensor
    ) -> dict[str, Tensor]:
        """`mse`, the mean squared nearest distances, and `loss`, (B,) each; start: (B, C, N)."""
        moved = _moved(model, t, self.moved or start.shape[2], condition).to(start.dtype)
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
    made = queries(condition, points)
    return made + model(made, t, **condition)[:, : made.shape[1]]


def queries(condition: dict[str, Tensor], points: int) -> Tensor:
    """The points that are moved, (B, C, points): of each object's clouds by a rule of `training.merging`.

    `silhouettes` where the network is shown views with cameras, `consensus` where it is not.
    """
    clouds = condition["clouds"].float()
    shown = _least_alpha(clouds, condition) if "pixels" in condition else [None] * len(clouds)
    made = [
        consensus(list(some), points) if on is None else silhouettes(list(some), points, on)
        for some, on in zip(clouds.cpu().numpy(), shown, strict=True)
    ]
    return torch.from_numpy(np.stack(made)).to(condition["clouds"])


def _least_alpha(clouds: Tensor, condition: dict[str, Tensor]) -> list[np.ndarray | None]:
    """For each object the least alpha at its points, (K * M,), of views with a camera; None: it has none."""
    points = clouds[:, :, :3].transpose(1, 2).flatten(2)
    known = condition["known"]
    alpha = look_up(points, condition["cameras"], condition["pixels"])[0][..., 3]
    least = alpha.masked_fill(~known[:, :, None], 1).amin(1).cpu().numpy()
    return [one if some else None for one, some in zip(least, known.any(1).tolist(), strict=True)]


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
