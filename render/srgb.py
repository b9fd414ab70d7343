"""The sRGB transfer curve (IEC 61966-2-1) in both directions.

Needs numpy only. `render.surfaces.record` builds the same curve from shader nodes.
"""

from __future__ import annotations

import numpy as np


def srgb_to_linear(encoded: np.ndarray) -> np.ndarray:
    """sRGB values of any shape, such as (N, 3), -> float64 linear light; values outside 0..1 are clipped."""
    encoded = np.clip(np.asarray(encoded, np.float64), 0, 1)
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light of any shape, such as (N, 3), -> sRGB values of the same dtype; not clipped at 1."""
    curve = 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curve)


def are_bytes(values: np.ndarray) -> bool:
    """Whether display values (N, 3) float, which files may give from 0 to 1, are from 0 to 255.

    Broken numbers up to 16 are none: light that was baked, or rounding.
    """
    largest = float(values.max(initial=0))
    return largest > 16 or (largest > 1.001 and bool(np.abs(values - np.rint(values)).max() < 1e-3))
