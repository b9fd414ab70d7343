"""Depths and normals as the integers that images store."""

from __future__ import annotations

import numpy as np

_AXIS = (np.arange(256) / 127.5 - 1).astype(np.float32)  # (256,): of each byte of a normal


def encode_depth(depth: np.ndarray) -> tuple[np.ndarray, float, float]:
    """(N,) float32 planar z -> (N,) uint16, near, far: their own range."""
    if not len(depth):
        return np.zeros(0, np.uint16), 0.0, 1.0
    found = depth.astype(np.float64)
    near, far = float(found.min()), float(found.max())
    far = max(far, near + 1e-6)
    return (np.rint((found - near) / (far - near) * 65534) + 1).astype(np.uint16), near, far


def decode_depth(code: np.ndarray, near: float, far: float) -> np.ndarray:
    """uint16 of any shape, (H, W) or (N,) -> float32 planar z, off by at most half a step, (far - near) /
    131068; 0 where the code is 0."""
    depth = (near + (code.astype(np.float64) - 1) / 65534 * (far - near)).astype(np.float32)
    depth[code == 0] = 0
    return depth


def encode_normal(normal: np.ndarray) -> np.ndarray:
    """(N, 3) float32 unit or zero vectors -> (N, 3) uint8; zero becomes 0,0,0."""
    code = np.rint((normal + 1) * 127.5).clip(0, 255).astype(np.uint8)
    code[~normal.any(1)] = 0
    return code


def decode_normal(code: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (H, W, 3) float32, unit length, 0 where the code is 0,0,0."""
    flat = code.reshape(-1, 3)
    there = np.flatnonzero(_any(flat))
    normal = np.zeros(flat.shape, np.float32)
    normal[there] = unit_normals(flat[there])
    return normal.reshape(code.shape)


def unit_normals(code: np.ndarray) -> np.ndarray:
    """(N, 3) uint8 -> (N, 3) float32, unit length, 0 where the code is 0,0,0."""
    unit = _AXIS[code]
    length = np.sqrt(np.einsum("ij,ij->i", unit, unit))
    length[_any(code) == 0] = np.inf
    return unit / length.clip(1e-6)[:, None]


def _any(code: np.ndarray) -> np.ndarray:
    """(N,) uint8: not 0 where one of the three bytes of (N, 3) is not."""
    return code[:, 0] | code[:, 1] | code[:, 2]
