"""Image textures: the same samples as scipy's interpolation, which shares no code with ours."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from render.surfaces.texture import Extension, Interpolation, Texture

BEYOND: dict[Extension, str] = {"REPEAT": "grid-wrap", "EXTEND": "nearest", "MIRROR": "reflect"}


def texture(pixels: np.ndarray, interpolation: Interpolation, extension: Extension) -> Texture:
    """Of (H, W, 4) uint8 pixels, the top row first."""
    height, width, _ = pixels.shape
    return Texture(pixels.view(np.uint32).ravel(), (height, width), interpolation, extension)


@pytest.mark.parametrize("extension", BEYOND)
def test_linear_samples_are_those_of_scipy(extension: Extension) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (5, 7, 4), np.uint8)
    uv = rng.uniform(-2, 3, (1000, 2)).astype(np.float32)
    found = texture(pixels, "Linear", extension).sample(uv)
    place = np.stack([(1 - uv[:, 1].astype(np.float64)) * 5 - 0.5, uv[:, 0].astype(np.float64) * 7 - 0.5])
    for channel in range(4):
        true = map_coordinates(pixels[..., channel] / 255, place, order=1, mode=BEYOND[extension])
        assert np.abs(found[:, channel] - true).max() < 2e-5


def test_the_closest_texel_is_the_one_around_the_place() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    uv = np.array([(0.1, 0.5), (0.34, 0.9), (0.99, 0.1), (1.1, 0.5)], np.float32)
    found = texture(pixels, "Closest", "REPEAT").sample(uv)
    assert (np.rint(found[:, 0] * 255) == [0, 4, 8, 0]).all()


def test_the_first_row_is_the_top() -> None:
    pixels = np.zeros((2, 1, 4), np.uint8)
    pixels[0] = 255
    found = texture(pixels, "Closest", "EXTEND").sample(np.array([(0.5, 0.9), (0.5, 0.1)], np.float32))
    assert found[:, 0].tolist() == [1, 0]
