"""A step's random numbers: a pure function of the seed, the step and the index in the batch.

A resumed run, or one on another number of processes, therefore gets the same numbers. Philox is a counter:
the n-th sample's numbers are available without generating those before it (Salmon et al. 2011).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.objectives.objective import even_quantiles

VALIDATION = 2**40
"""The step whose noise validations use; no run reaches it."""


@dataclass(frozen=True)
class StepNoise:
    """The random numbers of samples `first`.. of a batch."""

    noise: Tensor  # (B, C, N) unit
    quantiles: Tensor  # (B,) in [0, 1), of the distribution of times
    keep: Tensor  # (B,) bool: which samples keep their condition
    low_noise: Tensor | None  # (B, C, n) unit, for the coarse clouds of an upsampler
    cuts: Tensor  # (B, V) in [0, 1), which of its cuts is used of a picture
    view_cameras: Tensor  # (B, V) in [0, 1), see `posed`
    object_cameras: Tensor  # (B,) in [0, 1), likewise
    insides: Tensor  # (B,) in [0, 1), whose masks are shown

    def posed(self, drop: float) -> Tensor:
        """Which views keep their cameras, (B, V) bool: all but the share `drop`.

        Half of those are withheld for whole objects, as photographs have none; the others one by one.
        """
        some = self.view_cameras < drop / (2 - drop)
        return ~(some | (self.object_cameras < drop / 2)[:, None])


def step_noise(
    seed: int,
    step: int,
    batch: int,
    first: int,
    shape: tuple[int, int, int],
    drop: float = 0.0,
    low_points: int = 0,
    views: int = 1,
) -> StepNoise:
    """Noise of samples `first`.. of a batch of `batch` samples; `shape` is this process's share, (B, C, N).

    The times of the whole batch are evenly spread (`objective.even_quantiles`), so they are computed
    together.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    quantiles = even_quantiles(batch, generator)
    keep = torch.rand(batch, generator=generator) >= drop
    view_cameras = torch.rand(batch, views, generator=generator)
    object_cameras = torch.rand(batch, generator=generator)
    cuts = torch.rand(batch, views, generator=generator)
    insides = torch.rand(batch, generator=generator)
    count, channels, points = shape
    numbers = np.empty((count, channels, points + low_points), np.float32)
    for i in range(count):
        source = np.random.Philox(key=[seed % 2**64, step], counter=[0, 0, 0, first + i])
        np.random.Generator(source).standard_normal(out=numbers[i], dtype=np.float32)
    noise = torch.from_numpy(numbers)
    mine = slice(first, first + count)
    low = noise[:, :, points:].contiguous() if low_points else None
    return StepNoise(
        noise[:, :, :points].contiguous(),
        quantiles[mine],
        keep[mine],
        low,
        cuts[mine],
        view_cameras[mine],
        object_cameras[mine],
        insides[mine],
    )
