"""A colored, oriented point cloud: the type that fusion makes and everything after it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cloud:
    """N surface points in the normalized frame."""

    xyz: np.ndarray  # (N, 3) float32
    rgb: np.ndarray  # (N, 3) uint8, lit color, sRGB
    albedo: np.ndarray  # (N, 3) uint8, unlit base color, sRGB
    normal: np.ndarray  # (N, 3) float32, unit length, toward the camera that saw the point

    def __len__(self) -> int:
        return len(self.xyz)

    def take(self, index: np.ndarray) -> Cloud:
        """The points at `index`, (M,) integers or an (N,) boolean mask, in that order."""
        return Cloud(self.xyz[index], self.rgb[index], self.albedo[index], self.normal[index])

    def check(self) -> None:
        """Raise ValueError unless shapes, dtypes, finiteness and unit length are as declared."""
        kinds = {"xyz": np.float32, "rgb": np.uint8, "albedo": np.uint8, "normal": np.float32}
        for name, dtype in kinds.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != (len(self), 3):
                wanted = f"{np.dtype(dtype)} ({len(self)}, 3)"
                raise ValueError(f"{name} is {array.dtype} {array.shape}, not {wanted}")
        if not np.isfinite(self.xyz).all():
            raise ValueError(f"{(~np.isfinite(self.xyz).all(1)).sum()} points are not finite")
        length = np.linalg.norm(self.normal, axis=1)
        if len(self) and np.abs(length - 1).max() > 1e-3:
            raise ValueError(f"normals of length {length.min():.4f} to {length.max():.4f}, not 1")


def concatenate(clouds: Sequence[Cloud]) -> Cloud:
    """One cloud of all points, in order."""
    empty = Cloud(*(np.zeros((0, 3), dtype) for dtype in (np.float32, np.uint8, np.uint8, np.float32)))
    names = ("xyz", "rgb", "albedo", "normal")
    return Cloud(*(np.concatenate([getattr(cloud, name) for cloud in (empty, *clouds)]) for name in names))
