"""How many samples per pixel a model's color needs, estimated from a few of its views.

Each of these views is rendered in two halves that share no sample. What the first half, denoised, differs by
from the second, beyond the second's own noise, is its error: noise that is left, and blur. It falls with more
samples at a known pace, and is to be as small as the error of 16 samples that are not denoised.
docs/layers.md says how well that foretells what a model needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HALF = 2
"""Samples per pixel of each half."""
FEWEST, MOST = 1, 8
FEWEST_CLEAR = 2  # where light passes through: one sample follows only what is mirrored, or what is behind
GOOD, ALLOWED = 38.0, 3.0  # dB: where 16 raw samples have so much, color may have so much less
ENOUGH = 48.0  # dB: an error of one level of 255, which nobody sees
MARGIN = 0.6  # dB, since the estimates are off by about 1
PER_DOUBLING = 2.6  # dB that denoised color gains from twice the samples,
FROM_ONE_TO_TWO = 3.0  # and here, in many models
_TO_RAW = 1.92  # the noise of 2 * HALF, widened, over that of 16 raw samples
_LEAST = 1e-9  # mean square error, so that its logarithm is finite


@dataclass(frozen=True)
class Trial:
    """The pixels of a view that show in both halves, each (N, 3) sRGB from 0 to 1.

    `both` are the halves' mean. The clean ones are denoised.
    """

    first: np.ndarray
    second: np.ndarray
    both: np.ndarray
    clean_first: np.ndarray
    clean_both: np.ndarray


@dataclass(frozen=True)
class Errors:
    """Mean square errors in sRGB from 0 to 1: of HALF samples, denoised, and of 16 raw ones."""

    denoised: float
    raw: float


def errors(trials: Sequence[Trial]) -> Errors:
    """What the trials say of the model's errors."""

    def apart(one: str, other: str) -> float:
        taken = [getattr(trial, one) - getattr(trial, other) for trial in trials]
        every = np.concatenate(taken).astype(np.float64)
        return float(np.mean(every**2)) if every.size else 0.0

    between = apart("first", "second") / 2
    left = 2 * apart("clean_both", "clean_first")  # of its noise, in the denoised half
    noise = min(apart("first", "clean_first") + left, between)
    noise_of_both = min(apart("both", "clean_both") + 0.6 * left, between / 2)
    pace = np.sqrt(min(noise_of_both / max(noise, _LEAST), 1))  # strata help some models more than others
    denoised = max(apart("clean_first", "second") - between, 1.1 * left)
    return Errors(denoised, noise_of_both * pace / _TO_RAW)


def samples_needed(found: Errors, fewest: int = FEWEST) -> int:
    """How many samples per pixel, `fewest` to MOST, should make denoised color as good as 16 raw ones."""
    raw = _psnr(found.raw)
    allowed = ALLOWED * np.clip(raw - GOOD + 0.5, 0, 1)  # no step: `raw` is an estimate
    lacking = min(raw - allowed + MARGIN, ENOUGH) - _psnr(found.denoised)
    samples = HALF * 2 ** (lacking / (PER_DOUBLING if lacking > 0 else FROM_ONE_TO_TWO))
    return int(np.clip(np.ceil(samples), fewest, MOST))


def _psnr(error: float) -> float:
    """dB of a mean square error in sRGB from 0 to 1."""
    return float(-10 * np.log10(max(error, _LEAST)))
