"""Image textures in numpy, as Cycles samples them: between texel centers, and beyond the edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Interpolation = Literal["Linear", "Closest"]
Extension = Literal["REPEAT", "EXTEND", "MIRROR"]


@dataclass(frozen=True)
class Texture:
    """An image of H x W texels, row by row from the top, in its own encoding."""

    texels: np.ndarray  # (H * W,) uint32: four bytes each, RGBA
    shape: tuple[int, int]  # H, W
    interpolation: Interpolation
    extension: Extension

    def sample(self, uv: np.ndarray) -> np.ndarray:
        """(N, 4) float32 RGBA in 0..1 at (N, 2) float32 places; the image covers 0..1, v upward."""
        place = uv * np.array(self.shape[::-1], np.float32)
        if self.interpolation == "Closest":
            x, y = np.floor(place).astype(np.int64).T
            return self._at(self._column(x), self._row(y)) / np.float32(255)
        place -= np.float32(0.5)
        low = np.floor(place)
        right, up = (place - low).T
        x, y = low.astype(np.int64).T
        columns, rows = (self._column(x), self._column(x + 1)), (self._row(y), self._row(y + 1))
        around = [self._at(column, row) for row in rows for column in columns]
        result = np.empty((len(uv), 4), np.float32)
        for channel in range(4):  # one by one, since numpy is slow where rows are short
            lower, lower_next, upper, upper_next = (texel[:, channel].astype(np.float32) for texel in around)
            bottom = lower * (1 - right) + lower_next * right
            top = upper * (1 - right) + upper_next * right
            result[:, channel] = (bottom * (1 - up) + top * up) / np.float32(255)
        return result

    def _at(self, column: np.ndarray, row: np.ndarray) -> np.ndarray:
        """(N, 4) uint8: texels by column and row (N,) from the upper left."""
        return self.texels.take(row * self.shape[1] + column).view(np.uint8).reshape(-1, 4)

    def _column(self, x: np.ndarray) -> np.ndarray:
        return self._inside(x, self.shape[1])

    def _row(self, y: np.ndarray) -> np.ndarray:
        """From the top; `y` (N,) is from below."""
        return self.shape[0] - 1 - self._inside(y, self.shape[0])

    def _inside(self, index: np.ndarray, size: int) -> np.ndarray:
        if self.extension == "REPEAT":
            return index % size
        if self.extension == "EXTEND":
            return index.clip(0, size - 1)
        folded = index % (2 * size)
        return np.where(folded < size, folded, 2 * size - 1 - folded)
