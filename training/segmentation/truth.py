"""The masks of views as what a segmenter learns: shares and means over its cells."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from training.conditioning.masks import Masks, square_means
from training.segmentation.head import SIDE


class Truths:
    """Masks decoded and averaged over cells; the most recently used `limit_mib` are kept."""

    def __init__(self, limit_mib: float = 64):
        self._limit = int(limit_mib * 2**20 / (2 * 4 * SIDE * SIDE))
        self._kept: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def read(self, masks: Sequence[Sequence[Masks]]) -> Tensor:
        """The masks of B objects with V views each: (B, V, 2, S, S) float32, S = SIDE.

        Each cell's share of interior, 0 to 1, and its mean number of surfaces.
        """
        return torch.from_numpy(np.stack([np.stack([self._one(one) for one in views]) for views in masks]))

    def _one(self, masks: Masks) -> np.ndarray:
        key = hashlib.sha256(masks.interior + masks.layers).digest()
        if key not in self._kept:
            interior, layers = masks.decode()
            self._kept[key] = np.stack([square_means(one, SIDE) for one in (interior, layers)])
        self._kept.move_to_end(key)
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return self._kept[key]
