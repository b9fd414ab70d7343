"""Merging by choice: of points that may belong to an object, those stay that the network thinks nearest.

Where the Chamfer distance of a cloud is the loss (`offset`), points that might belong to either of two
surfaces end between them, on neither. Here nothing moves: the network learns how far each point lies from the
true cloud, and a farthest-point sample that avoids the distant ones is the merged cloud. The candidates are
the points of the clouds and, where the network is shown views with cameras, of their visual hull, without
those that a silhouette rules out. It implements `objective.Objective`; noise only seeds the choice of
candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.merging.pictures import least_alpha, visual_hull
from training.objectives.objective import Denoiser, Model, Noiseless

COVERED = 0.1
"""Alpha from here on may be the object: the pixels that networks look up are coarse, and its parts thin."""
FAR = 0.5
"""Distance from which on all points are equally wrong."""
AT_A_TIME = 2048
"""Candidates of an object that are judged at a time: each is compared with every point of the clouds."""


@dataclass(frozen=True)
class Select(Noiseless):
    """Distances to the surface, by the absolute difference of their square roots: near ones count."""

    seen: int = 512
    """Candidates that a step looks at."""
    tried: int = 8
    """Candidates for each point of the merged cloud."""
    trust: float = 0.03
    """Distance to the surface at which a candidate counts e times less. With less trust the merged cloud is
    nearer to the truth, and covers less of it."""

    def losses(
        self, model: Model, start: Tensor, t: Tensor, noise: Tensor, **condition: Tensor
    ) -> dict[str, Tensor]:
        """`loss`, and `mse` of the distances, (B,) each; start: (B, C, N)."""
        x = candidates(condition, self.seen, noise)
        true = torch.cdist(x[:, :3].transpose(1, 2), start[:, :3].transpose(1, 2)).amin(2).clamp(max=FAR)
        guess = model(x, t, **condition)[:, 0].float()
        loss = (guess - true.sqrt()).abs().mean(1)
        return {"loss": loss, "mse": (guess.detach().square() - true).square().mean(1)}

    def denoiser(self, model: Model, **condition: Tensor) -> Denoiser:
        """The chosen points, whatever the noise level."""

        def denoise(x: Tensor, sigma: float) -> Tensor:
            points = x.shape[2]
            tried = candidates(condition, self.tried * points, x)
            parts = tried.split(AT_A_TIME, dim=2)
            guess = torch.cat([model(some, x.new_zeros(len(x)), **condition)[:, 0] for some in parts], dim=1)
            distance = guess.float().clamp(min=0).square()
            return weighted_spread(tried, (-distance / self.trust).exp(), points).to(x)

        return denoise

    def levels(self, steps: int) -> list[float]:
        """One step, whatever their number."""
        return [1.0, 0.0]


def weighted_spread(clouds: Tensor, weights: Tensor, points: int) -> Tensor:
    """A farthest-point sample of clouds (B, C, N) in which squared distances count by weights (B, N) of the
    points: (B, C, points). It starts with the heaviest; where there are fewer points, some are repeated.
    """
    xyz, chosen = clouds[:, :3], [weights.argmax(1)]
    gaps = torch.full_like(weights, torch.inf)
    for _ in range(points - 1):
        last = xyz.gather(2, chosen[-1][:, None, None].expand(-1, 3, 1))
        gaps = torch.minimum(gaps, (xyz - last).square().sum(1))
        chosen.append((gaps * weights).argmax(1))
    return clouds.gather(2, torch.stack(chosen, dim=1)[:, None].expand(-1, clouds.shape[1], -1))


def candidates(condition: dict[str, Tensor], points: int, noise: Tensor) -> Tensor:
    """Points that may belong to each of B objects, (B, C, points); `noise`, (B, C, N), seeds their choice.

    Half of them are of the visual hull, if there is one.
    """
    clouds = condition["clouds"].float()
    seeds = noise[:, 0, 0].float().cpu().numpy().view(np.uint32).tolist()
    made = [_candidates(some, _views(condition, i), points, seeds[i]) for i, some in enumerate(clouds)]
    return torch.from_numpy(np.stack(made)).to(clouds)


def _views(condition: dict[str, Tensor], i: int) -> tuple[Tensor, Tensor] | None:
    """The cameras, (V, 19), and pixels, (V, 4, S, S), of an object's views, if a camera is known."""
    known = condition["known"][i] if "pixels" in condition else None
    if known is None or not known.any():
        return None
    return condition["cameras"][i][known].float(), condition["pixels"][i][known].float()


def _candidates(clouds: Tensor, views: tuple[Tensor, Tensor] | None, points: int, seed: int) -> np.ndarray:
    """(C, points) for an object's clouds (K, C, M)."""
    rng = np.random.default_rng(seed)
    every = torch.cat(list(clouds), dim=1)
    if views is None:
        return _some(every.cpu().numpy(), points, rng)
    on = every[:, least_alpha(every[:3], *views) >= COVERED].cpu().numpy()
    hull = visual_hull(*views, points, len(every), seed, COVERED)
    found = [_some(on, min(points // 2, on.shape[1]), rng), hull]
    if not sum(one.shape[1] for one in found):
        return _some(every.cpu().numpy(), points, rng)
    return np.resize(np.concatenate(found, axis=1)[:, :points].T, (points, len(every))).T


def _some(cloud: np.ndarray, points: int, rng: np.random.Generator) -> np.ndarray:
    """Some points of a cloud (C, N), in random order, repeated if it has too few: (C, points)."""
    return cloud[:, np.resize(rng.permutation(cloud.shape[1]), points)]
