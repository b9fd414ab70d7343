"""Openness: from how many directions a surface point can be seen from outside, by rays against the mesh.

A point's openness is the share of 512 evenly spread directions in which a ray leaves the model without
hitting it. A point with openness 0 is hidden. Nearly every open point escapes within a few directions, so
`hidden` asks in rounds and drops a point at its first escape; only hidden points cost all 512 rays.

Rays start SKIN away from their point: clear of the surface that it lies on, and of a skin so thin that what
lies under it is not an inside.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from render.bundle import Mesh
from render.cameras import fibonacci_sphere
from render.shading.raycaster import Raycaster

DIRECTIONS = 512
SKIN = 2e-3  # normalized units
_STRIDE = 317  # coprime to DIRECTIONS and near its golden section: every prefix of the order is spread out
_FIRST = 2  # directions of the first round
_MOST_RAYS = 1 << 20  # traced at once


def caster_of(mesh: Mesh) -> Raycaster:
    """The triangles of a mesh, which may have none."""
    return Raycaster([(mesh.vertices, mesh.faces)] if len(mesh.faces) else [])


def hidden(caster: Raycaster, xyz: np.ndarray, first: int = 0, last: int = DIRECTIONS) -> np.ndarray:
    """(N,) bool: no ray escapes from the (N, 3) float32 points in the directions numbered first..last."""
    left = np.arange(len(xyz))
    for directions in _rounds(first, last):
        if not len(left):
            break
        blocks = np.array_split(left, 1 + len(left) * len(directions) // _MOST_RAYS)
        left = np.concatenate([b[~_escapes(caster, xyz[b], directions).any(1)] for b in blocks])
    result = np.zeros(len(xyz), bool)
    result[left] = True
    return result


def spread_directions() -> np.ndarray:
    """(512, 3) float32 unit vectors, evenly spread, in an order whose every prefix is spread as well."""
    order = np.arange(DIRECTIONS) * _STRIDE % DIRECTIONS
    return fibonacci_sphere(DIRECTIONS)[order].astype(np.float32)


def _escapes(caster: Raycaster, xyz: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(N, D) bool: whether the ray from each (N, 3) point in each (D, 3) direction hits nothing."""
    rays = np.empty((len(xyz), len(directions), 6), np.float32)
    rays[..., :3] = xyz[:, None] + SKIN * directions
    rays[..., 3:] = directions
    return ~caster.blocked(rays)


def _rounds(first: int, last: int) -> Iterator[np.ndarray]:
    """The directions numbered first..last in rounds that double."""
    directions, size = spread_directions(), _FIRST
    while first < last:
        yield directions[first : min(first + size, last)]
        first, size = first + size, 2 * size
