"""How many samples a model needs: the errors are those of images and filters with closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from render.shading.sample_count import (
    FEWEST,
    FEWEST_CLEAR,
    HALF,
    MOST,
    Errors,
    Trial,
    errors,
    samples_needed,
)

SIZE, WIDTH, PERIOD = 240, 5, 12
SPREAD = np.array([0.07, 0.86, 0.07])  # Blender's filter, as color.py widens each sample's


def _filtered(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """(H, W), filtered by a kernel (K,) in both directions; the image goes on around its borders."""
    for axis in (0, 1):
        image = sum(k * np.roll(image, i - len(kernel) // 2, axis) for i, k in enumerate(kernel))  # type: ignore[assignment]
    return image


def _denoised(image: np.ndarray) -> np.ndarray:
    """The mean of WIDTH x WIDTH pixels: leaves 1 / WIDTH**2 of the noise, blurs waves by a known factor."""
    return _filtered(image, np.full(WIDTH, 1 / WIDTH))


def _waves(amplitude: float) -> np.ndarray:
    """(SIZE, SIZE) around 0.5, along the columns."""
    return 0.5 + amplitude * np.sin(2 * np.pi * np.arange(SIZE) / PERIOD) * np.ones((SIZE, 1))


def _trial(true: np.ndarray, halves: np.ndarray) -> Trial:
    """Of a true image and its halves' noise, (2, H, W)."""
    first, second = true + halves
    both = (first + second) / 2
    images = (first, second, both, _denoised(first), _denoised(both))
    return Trial(*(image.reshape(-1, 1) for image in images))


def _noise(sigma: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sigma, (2, SIZE, SIZE))


def _blur(amplitude: float) -> float:
    """Mean square error of denoised waves: the window's frequency response, by its closed sum."""
    kept = np.sin(np.pi * WIDTH / PERIOD) / (WIDTH * np.sin(np.pi / PERIOD))
    return (amplitude * (1 - kept)) ** 2 / 2


@pytest.mark.parametrize(("sigma", "amplitude"), [(0.1, 0), (0.1, 0.05), (0.1, 0.2), (0.02, 0.2)])
def test_the_error_of_denoised_color_is_noise_and_blur(sigma: float, amplitude: float) -> None:
    found = errors([_trial(_waves(amplitude), _noise(sigma))])
    assert found.denoised == pytest.approx(sigma**2 / WIDTH**2 + _blur(amplitude), rel=0.2)


def test_views_count_by_their_pixels() -> None:
    noisy = Trial(*(np.full((10, 1), value) for value in (0.2, -0.2, 0.1, 0, 0)))
    calm = Trial(*(np.zeros((30, 1)) for _ in range(5)))
    assert errors([noisy, calm]).raw == pytest.approx(errors([noisy]).raw / 4)


@pytest.mark.parametrize("amplitude", [0, 0.2])
def test_the_error_of_raw_samples_is_theirs_and_no_blur_of_the_denoiser(amplitude: float) -> None:
    sigma = 0.1  # of one sample
    widened = [_filtered(half, SPREAD) for half in _noise(sigma / 2**0.5)]
    found = errors([_trial(_waves(amplitude), np.array(widened))])
    decibels = 10 * np.log10(found.raw / (sigma**2 / 16))
    assert -2 < decibels < 1  # renderers' samples converge faster than independent ones


def test_halves_that_complement_each_other_pass_for_no_perfect_denoiser() -> None:
    sigma = 0.1
    noise = _noise(sigma)
    first = 0.8**0.5 * noise[0] - 0.2**0.5 * noise[1]
    second = 0.8**0.5 * noise[0] * -1 + 0.2**0.5 * noise[1] * -1
    found = errors([_trial(_waves(0), np.array([first, second]))])
    assert found.denoised > 0.9 * sigma**2 / WIDTH**2


def test_further_samples_where_the_error_asks_for_them() -> None:
    def needed(raw: float, denoised: float) -> int:
        return samples_needed(Errors(10 ** (-denoised / 10), 10 ** (-raw / 10)))

    denoised = (34, 33, 30, 29, 28, 27, 26.2, 20)
    assert [needed(30, one) for one in denoised] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert needed(40, 37) == needed(30, 30)  # above 38 dB, 3 dB less will do
    assert needed(37.4, 35) > needed(38.6, 35)
    assert needed(70, 49) == HALF  # nobody sees that error
    assert needed(70, 52) == FEWEST
    assert needed(60, 20) == MOST


def test_a_view_that_shows_nothing_needs_the_fewest() -> None:
    nothing = Trial(*(np.zeros((0, 3)) for _ in range(5)))
    assert samples_needed(errors([nothing])) == FEWEST
    assert samples_needed(errors([nothing]), FEWEST_CLEAR) == FEWEST_CLEAR
