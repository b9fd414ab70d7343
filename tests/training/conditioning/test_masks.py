"""What networks are shown of interior masks, against closed forms and the pictures' own alpha."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from training.conditioning.masks import Masks, inside_map
from training.conditioning.shown import SIDE, cut_to_alpha, small_pixels


def png(values: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(values).save(data, "PNG")
    return data.getvalue()


def test_a_cells_numbers_are_its_pixels_means() -> None:
    rng = np.random.default_rng(0)
    interior = rng.random((96, 96)) < 0.3
    layers = rng.integers(0, 256, (96, 96)).astype(np.uint8)
    masks = Masks(png(interior.astype(np.uint8) * 255), png(layers))
    for one, other in zip(masks.decode(), (interior, layers), strict=True):
        np.testing.assert_array_equal(one, other)
    for side in (4, 32, 96):
        blocks = np.stack([interior, np.log2(1.0 + layers)]).reshape(2, side, 96 // side, side, 96 // side)
        np.testing.assert_allclose(inside_map(interior, layers, side), blocks.mean((2, 4)), atol=1e-5)


def test_cells_that_cut_pixels_share_them() -> None:
    """7 cells of 10 pixels: pixel 1 lies in cell 0 for 3 / 7, in cell 1 for 4 / 7."""
    interior = np.zeros((10, 10), bool)
    interior[:, 1] = True
    found = inside_map(interior, interior.astype(np.uint8), 7)
    np.testing.assert_allclose(found[0, 0], [0.3, 0.4, 0, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)  # one layer: log2(2)


@pytest.mark.parametrize("varied", [(0, 0, 0), (0.3, 0.2, -0.2), (-0.2, -0.1, 0.15), (1.5, 0, 0)])
@pytest.mark.parametrize("size", [(200, 200), (200, 150), (90, 180)])
def test_masks_are_cut_as_their_picture(varied: tuple[float, float, float], size: tuple[int, int]) -> None:
    """A mask that is the picture's alpha stays so, wherever the picture is cut."""
    rng = np.random.default_rng(1)
    rgba = np.zeros((size[1], size[0], 4), np.uint8)
    rgba[20:80, 11:85] = 255 * (rng.random((60, 74, 1)) < 0.6)
    cut, box = cut_to_alpha(png(rgba), *varied)
    alpha = rgba[..., 3] > 0
    expected = inside_map(alpha, alpha.astype(np.uint8), SIDE, box)
    assert expected[0].max() > 0.5
    with Image.open(io.BytesIO(cut)) as opened:
        shown = np.asarray(opened)[..., 3] > 0
    np.testing.assert_allclose(inside_map(shown, shown.astype(np.uint8), SIDE), expected, atol=1e-4)
    ours, pictures = (blocks(values) for values in (expected[0], small_pixels(cut)[..., 3] / 255))
    np.testing.assert_allclose(pictures, ours, atol=0.12)  # Pillow's cells are of whole pixels


def blocks(values: np.ndarray) -> np.ndarray:
    """Means of 8 x 8 numbers."""
    return values.reshape(len(values) // 8, 8, -1, 8).mean((1, 3))
