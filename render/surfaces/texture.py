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
        size = np.array(self.shape[::-1], np.float32)
        place = uv * size
        if self.interpolation == "Closest":
            return self._at(*np.floor(place).astype(np.int64).T) / np.float32(255)
        place -= np.float32(0.5)
        low = np.floor(place)
        right, up = (place - low).T[..., None]
        x, y = low.astype(np.int64).T
        bottom = self._at(x, y) * (1 - right) + self._at(x + 1, y) * right
        top = self._at(x, y + 1) * (1 - right) + self._at(x + 1, y + 1) * right
        return (bottom * (1 - up) + top * up) / np.float32(255)

    def _at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(N, 4) float32, 0..255: texels by column and row (N,) int64 from the lower left, even outside."""
        height, width = self.shape
        row = height - 1 - self._inside(y, height)
        texel = self.texels[row * width + self._inside(x, width)]
        return texel.view(np.uint8).reshape(-1, 4).astype(np.float32)

    def _inside(self, index: np.ndarray, size: int) -> np.ndarray:
        if self.extension == "REPEAT":
            return index % size
        if self.extension == "EXTEND":
            return index.clip(0, size - 1)
        folded = index % (2 * size)
        return np.where(folded < size, folded, 2 * size - 1 - folded)
