"""The cache in memory and on disk: each image is encoded once, and damage is repaired."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from training.conditioning import encoder_cache
from training.conditioning.encoder import EfficientNetLite0, Item, load_images
from training.conditioning.encoder_cache import CachedEncoder

SIZE = 64


class Counting:
    """The real encoder, and how many images each call had."""

    def __init__(self, identity: str = ""):
        self._inner = EfficientNetLite0(SIZE)
        self.name, self.takes, self.size = self._inner.name, self._inner.takes, SIZE
        self.features, self.cells = self._inner.features, self._inner.cells
        self.identity = identity or self._inner.identity
        self.asked: list[int] = []

    def __call__(self, items: Sequence[Item]) -> torch.Tensor:
        self.asked.append(len(items))
        return self._inner(items)

    def encode(self, pixels: np.ndarray) -> torch.Tensor:
        self.asked.append(len(pixels))
        return self._inner.encode(pixels)


@pytest.fixture
def encoder() -> Counting:
    return Counting()


@pytest.fixture
def images() -> list[bytes]:
    return [make_row(i, 1, 16)["image_00"] for i in range(4)]


def test_memory_gives_the_same_grids_and_forgets_the_oldest(encoder: Counting, images: list[bytes]) -> None:
    room_for_three = 3.5 * 2 * encoder.features * encoder.cells / 2**20
    cached = CachedEncoder(encoder, room_for_three)
    torch.testing.assert_close(cached(images[:3]), EfficientNetLite0(SIZE)(images[:3]), atol=5e-3, rtol=2e-3)
    cached([images[0], images[0], images[1]])
    cached([images[3]])
    cached([images[0], images[3]])
    assert encoder.asked == [3, 1]
    cached([images[2]])
    assert encoder.asked == [3, 1, 1]


def test_without_memory_and_folder_nothing_is_rounded(encoder: Counting, images: list[bytes]) -> None:
    cached = CachedEncoder(encoder, 0)
    assert torch.equal(cached(images), EfficientNetLite0(SIZE)(images))
    assert torch.equal(cached(images, load_images(images, SIZE)), cached(images))
    assert encoder.asked == [4, 4, 4]


def test_decoded_images_fill_the_cache(encoder: Counting, images: list[bytes]) -> None:
    cached = CachedEncoder(encoder, 64)
    cached(images[:2])
    torch.testing.assert_close(
        cached(images, load_images(images, SIZE)), encoder(images), atol=5e-3, rtol=2e-3
    )
    assert encoder.asked[:2] == [2, 2]


def test_a_folder_outlives_the_run_and_is_shared(images: list[bytes], tmp_path: Path) -> None:
    first = Counting()
    grids = CachedEncoder(first, 0, tmp_path)(images)
    second = Counting()
    assert torch.equal(CachedEncoder(second, 0, tmp_path)(images[::-1]), grids.flip(0))
    assert (first.asked, second.asked) == ([4], [])
    other = Counting("another")
    CachedEncoder(other, 0, tmp_path)(images)
    assert other.asked == [4]


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_file_is_written_again(images: list[bytes], tmp_path: Path, damage: str) -> None:
    grids = CachedEncoder(Counting(), 0, tmp_path)(images)
    victim = sorted(path for path in tmp_path.rglob("*") if path.is_file())[2]
    whole = victim.read_bytes()
    broken = {"cut": whole[:-10], "changed": whole[:100] + b"?" + whole[101:], "empty": b""}[damage]
    victim.write_bytes(broken)
    encoder = Counting()
    torch.testing.assert_close(CachedEncoder(encoder, 0, tmp_path)(images), grids, atol=5e-3, rtol=5e-3)
    assert encoder.asked == [1]
    again = Counting()
    CachedEncoder(again, 0, tmp_path)(images)
    assert again.asked == []


def test_a_full_disk_is_left_alone(
    images: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_cache, "SPARE", 2**60)
    grids = CachedEncoder(Counting(), 0, tmp_path)(images)
    assert torch.isfinite(grids).all()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
