"""A step's random numbers: a pure function of the seed, the step and the place in the batch.

So a resumed run draws what it would have drawn, and so does one on another number of processes. Philox is a
counter: the n-th sample's numbers are there at once, without those before it (Salmon et al. 2011).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.objectives.objective import even_places

VALIDATION = 2**40
"""The step whose noise validations have: no step of a run."""


@dataclass(frozen=True)
class Draw:
    """What is drawn for samples `first`.. of a batch."""

    noise: Tensor  # (B, C, N) unit
    places: Tensor  # (B,) in [0, 1): where in the distribution of times
    keep: Tensor  # (B,) bool: who keeps its condition
    low_noise: Tensor | None  # (B, C, n) unit, for the coarse clouds of an upsampler


def draw(
    seed: int,
    step: int,
    batch: int,
    first: int,
    shape: tuple[int, int, int],
    drop: float = 0.0,
    low_points: int = 0,
) -> Draw:
    """Samples `first`.. of a batch of `batch`; `shape` is (B, C, N) of what this process has of it.

    The times of the whole batch are evenly spread (`objective.even_places`), so they are drawn together.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    places = even_places(batch, generator)
    keep = torch.rand(batch, generator=generator) >= drop
    count, channels, points = shape
    numbers = np.empty((count, channels, points + low_points), np.float32)
    for i in range(count):
        source = np.random.Philox(key=[seed % 2**64, step], counter=[0, 0, 0, first + i])
        np.random.Generator(source).standard_normal(out=numbers[i], dtype=np.float32)
    noise = torch.from_numpy(numbers)
    mine = slice(first, first + count)
    low = noise[:, :, points:].contiguous() if low_points else None
    return Draw(noise[:, :, :points].contiguous(), places[mine], keep[mine], low)
