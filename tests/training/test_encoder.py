"""The image encoder and its cache, on real images and the real weights."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from PIL import Image

from training.encoder import CachedEncoder, EfficientNetLite0, load_pixels


@pytest.fixture(scope="module")
def encoder() -> EfficientNetLite0:
    return EfficientNetLite0()


def encode_png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_alpha_is_put_on_white_and_the_image_kept_square() -> None:
    pixels = np.zeros((20, 40, 4), np.uint8)
    pixels[:, :20] = (200, 0, 0, 255)
    square = load_pixels(encode_png(pixels), 40)
    assert square.shape == (40, 40, 3)
    assert (square[20, 5] == (200, 0, 0)).all()
    assert (square[20, 35] == 255).all()  # transparent black
    assert (square[2, 5] == 255).all()  # the margin of a wide image


def test_weights_know_objects(encoder: EfficientNetLite0) -> None:
    """Views of one object are nearer to each other than to any other object's."""
    rows = [make_row(i, 2, 16) for i in range(8)]
    grids = encoder([row[f"image_{view:02d}"] for row in rows for view in range(2)])
    assert grids.shape == (16, encoder.features, encoder.cells)
    flat = torch.nn.functional.normalize(grids.mean(2), dim=1)
    likeness = (flat @ flat.T).fill_diagonal_(-1)
    assert (likeness.argmax(1) // 2 == torch.arange(16) // 2).all()


def test_the_network_is_frozen(encoder: EfficientNetLite0) -> None:
    image = make_row(0, 1, 16)["image_00"]
    first, alone = encoder([image]), encoder([image, make_row(1, 1, 16)["image_00"]])[:1]
    torch.testing.assert_close(first, alone, atol=1e-4, rtol=1e-4)  # batch norm does not look at its batch
    assert not first.requires_grad


def test_the_cache_gives_the_same_grids_and_forgets_the_oldest(encoder: EfficientNetLite0) -> None:
    asked: list[int] = []

    class Counting:
        name, features, cells = encoder.name, encoder.features, encoder.cells

        def __call__(self, images: Sequence[bytes]) -> torch.Tensor:
            asked.append(len(images))
            return encoder(images)

    images = [make_row(i, 1, 16)["image_00"] for i in range(4)]
    room_for_three = 3.5 * 2 * encoder.features * encoder.cells / 2**20
    cached = CachedEncoder(Counting(), room_for_three)
    torch.testing.assert_close(cached(images[:3]), encoder(images[:3]), atol=5e-3, rtol=2e-3)
    cached([images[0], images[0], images[1]])
    cached([images[3]])
    cached([images[0], images[3]])
    assert asked == [3, 1]
    cached([images[2]])
    assert asked == [3, 1, 1]
