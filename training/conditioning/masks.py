"""What lies behind a view's pixels: where a surface that no view sees is, and how many surfaces there are.

masks = Masks(row["interior_00"], row["layers_00"])
interior, layers = masks.decode()         # (H, W) bool, (H, W) uint8
shown = inside_map(interior, layers, 64)  # (2, 64, 64) float32, what networks are shown of them
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from fuse.dataset.shard import decode

WHOLE = (1.0, 0.0, 0.0)
"""The whole picture as a `shown.Box`."""


class MaskPredictor(Protocol):
    """What predicts masks from pictures alone."""

    def predict(self, images: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """For cells of the square around each of B pictures, the share of interior and the mean number of
        surfaces: (B, S, S) float32 both."""
        ...


@dataclass(frozen=True)
class Masks:
    """A view's masks, as PNG bytes, of the size of its image."""

    interior: bytes
    layers: bytes

    def decode(self) -> tuple[np.ndarray, np.ndarray]:
        """Where a surface that no view sees lies behind the first, and the number of surfaces.

        (H, W) bool and (H, W) uint8.
        """
        row = {"interior_": self.interior, "layers_": self.layers}
        return decode(row, "interior_"), decode(row, "layers_")


Predicted = Literal["predicted"]
Behind = Masks | Predicted | None
"""What lies behind a picture: true masks, those that a segmenter predicts, or nothing that is known."""


def inside_map(
    interior: np.ndarray, layers: np.ndarray, side: int, box: tuple[float, float, float] = WHOLE
) -> np.ndarray:
    """What a network is shown of masks: for each cell of a square its share of interior, and its mean
    log2(1 + layers).

    (H, W) bool, or float32 in [0, 1] where they are predicted, and (H, W) -> (2, side, side) float32. The
    square is the masks' own, or the part `box` of it (`shown.Box`); beyond the masks there is nothing.
    """
    values = np.stack([interior, np.log2(1 + layers.astype(np.float32))])
    return square_means(values, side, box)


def square_means(values: np.ndarray, side: int, box: tuple[float, float, float] = WHOLE) -> np.ndarray:
    """The mean of a picture's values in each cell of a square around it, or of the part `box` of that.

    (H, W), or a stack of them, of any dtype -> (side, side) float32. Beyond the picture there is nothing.
    """
    *_, height, width = values.shape
    whole = max(height, width)
    down = _overlaps(box[0], -box[2], whole, height, side)
    right = _overlaps(box[0], box[1], whole, width, side)
    return down @ values.astype(np.float32) @ right.T


def cell_means(inside: Tensor, cells: int) -> Tensor:
    """The mean over each of a square number of cells, row by row: (B, V, 2, S, S) -> (B, V, cells, 2)."""
    whole, side = inside.shape[-1], math.isqrt(cells)
    shares = torch.from_numpy(_overlaps(1, 0, whole, whole, side)).to(inside.device, inside.dtype)
    return (shares @ inside @ shares.T).flatten(-2).transpose(-1, -2)


def _overlaps(share: float, middle: float, whole: int, pixels: int, side: int) -> np.ndarray:
    """The share of each of `side` cells that lies in each pixel of a row: (side, pixels) float32.

    The cells divide `share` of a row of `whole` pixels around `middle`, -1 to 1; the `pixels` are centered.
    """
    edges = (np.arange(side + 1) / side - 0.5) * share * whole + (middle + 1) / 2 * whole
    edges -= (whole - pixels) / 2
    low, high = edges[:-1, None], edges[1:, None]
    at = np.arange(pixels)
    return ((np.minimum(high, at + 1) - np.maximum(low, at)).clip(0) / (high - low)).astype(np.float32)
