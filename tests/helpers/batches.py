"""What tests take from loaders, and how it is compared."""

from __future__ import annotations

import itertools

import torch

from training.data.loader import Batch, CloudLoader


def take(loader: CloudLoader, count: int) -> list[Batch]:
    return list(itertools.islice(loader, count))


def uids(batches: list[Batch]) -> list[str]:
    return [uid for batch in batches for uid in batch.uids]


def same(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(
        x.uids == y.uids and x.images == y.images and torch.equal(x.points, y.points)
        for x, y in zip(a, b, strict=True)
    )
