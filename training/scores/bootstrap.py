"""Intervals of means and of paired differences over objects, by the bootstrap (Efron 1979)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval over objects."""

    mean: float
    low: float
    high: float
    count: int
    """Objects; those whose value is NaN are left out."""

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Difference(Interval):
    """The mean of paired differences, this minus that, and for how many objects this is lower."""

    lower: int

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}], lower for {self.lower} of {self.count}"


def mean_interval(values: np.ndarray, seed: int = 0) -> Interval:
    """The mean of (K,) values of K objects."""
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    if not len(known):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    low, high = np.percentile(_means(known, seed), [2.5, 97.5])
    return Interval(float(known.mean()), float(low), float(high), len(known))


def paired_difference(these: np.ndarray, those: np.ndarray, seed: int = 0) -> Difference:
    """The mean of these - those, (K,) values each of the same K objects."""
    gaps = np.asarray(these, float) - np.asarray(those, float)
    found = mean_interval(gaps, seed)
    return Difference(found.mean, found.low, found.high, found.count, int((gaps < 0).sum()))


def relative_difference(these: np.ndarray, those: np.ndarray, seed: int = 0) -> Difference:
    """The change of the mean from (K,) `those` to `these`, as a share of the former."""
    this, that = np.asarray(these, float), np.asarray(those, float)
    chosen = np.random.default_rng(seed).integers(0, len(this), (RESAMPLES, len(this)))
    low, high = np.percentile(this[chosen].mean(1) / that[chosen].mean(1) - 1, [2.5, 97.5])
    return Difference(
        this.mean() / that.mean() - 1, float(low), float(high), len(this), int((this < that).sum())
    )


def ratio_interval(over: np.ndarray, under: np.ndarray, seed: int = 0) -> Interval:
    """The ratio of the sums of (K,) values each of K objects."""
    ratios = _ratios(over, under, seed)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Interval(float(over.sum() / under.sum()), float(low), float(high), len(over))


def ratio_difference(
    these: tuple[np.ndarray, np.ndarray], those: tuple[np.ndarray, np.ndarray], seed: int = 0
) -> Interval:
    """The ratio of the sums of these less that of those, pairs of (K,) values of the same K objects."""
    gaps = _ratios(*these, seed) - _ratios(*those, seed)
    low, high = np.percentile(gaps, [2.5, 97.5])
    (over, under), (other, below) = these, those
    gap = over.sum() / under.sum() - other.sum() / below.sum()
    return Interval(float(gap), float(low), float(high), len(over))


def _ratios(over: np.ndarray, under: np.ndarray, seed: int) -> np.ndarray:
    """The ratios of the sums in `RESAMPLES` samples with replacement, (RESAMPLES,)."""
    chosen = np.random.default_rng(seed).integers(0, len(over), (RESAMPLES, len(over)))
    return over[chosen].sum(1) / under[chosen].sum(1)


def _means(values: np.ndarray, seed: int) -> np.ndarray:
    """The means of `RESAMPLES` samples with replacement, (RESAMPLES,)."""
    rng = np.random.default_rng(seed)
    return values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(1)
