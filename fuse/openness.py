"""Openness: from how many directions a surface point can be seen from outside, by rays against the mesh.

A point's openness is the share of 512 evenly spread directions in which a ray leaves the model without
hitting it. Shards store it as a byte (`encode`). What the openness of hidden points is at most depends on the
model (`steadiest`); where that is above 0, up to 2,048 directions decide about points in doubt, as a few of
512 depend on luck.

Nearly every open point escapes within a few directions, so `tally` asks in rounds and stops at a point that
is surely open; of hidden points, neighbors share the directions (`tally_spread`). Rays start SKIN away from
their point: clear of the surface that it lies on, and of a skin so thin that what lies under it is not an
inside.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy.spatial import KDTree

from render.bundle import Mesh
from render.cameras import fibonacci_sphere
from render.shading.raycaster import Raycaster

DIRECTIONS = 512
COARSE = 128  # directions that measure an openness above WIDE, to 0.01 root mean square
WIDE = 1 / 16
FINER = ((DIRECTIONS, 3, 10, 512), (1024, 8, 16, 1024))
"""(directions asked, escapes of a point in doubt, at least and at most, directions asked then)"""
LIMITS = (0, 1 / 255, 2 / 255, 3 / 255)  # what the openness of a model's hidden points may be at most
ALIKE = 0.03  # points beside each other whose openness differs by more are on two sides of a true edge
STEADY = 0.005  # share of neighbors that a limit may part, at most, for no higher one to be tried
NEIGHBORS = 6
PARTS = 4  # of the directions, that neighbors share
STEPS = 4  # in which a part is asked: many points drop out in the first
REACH = 2  # spacings: how near neighbors are
SKIN = 2e-3  # normalized units
_STRIDE = 317  # coprime to DIRECTIONS and near its golden section: every prefix of the order is spread out
_ROUNDS = ((2, 2), (6, 2), (14, 3), (30, 3), (62, 4), (126, 6), (254, 9), (DIRECTIONS, 16))
"""(directions, escapes): after that many directions, that many escapes are surely above all LIMITS."""
_MOST_RAYS = 1 << 16  # traced at once: they stay in the processor's cache


def caster_of(mesh: Mesh) -> Raycaster:
    """The triangles of a mesh, which may have none."""
    return Raycaster([(mesh.vertices, mesh.faces)] if len(mesh.faces) else [])


def measure(caster: Raycaster, xyz: np.ndarray) -> np.ndarray:
    """(N,) float64 openness of (N, 3) float32 points: by all DIRECTIONS, or by COARSE ones where these find
    more than WIDE."""
    openness = _escapes(caster, xyz, fibonacci_sphere(COARSE).astype(np.float32)) / COARSE
    narrow = openness <= WIDE
    openness[narrow] = _escapes(caster, xyz[narrow], spread_directions()) / DIRECTIONS
    return openness


def encode(openness: np.ndarray) -> np.ndarray:
    """(N,) openness in 0..1 -> (N,) uint8, the next higher 255th: 0 where no ray escapes, and only there."""
    return np.ceil(openness * 255 - 1e-9).astype(np.uint8)


def tally(
    caster: Raycaster,
    xyz: np.ndarray,
    first: int = 0,
    last: int = DIRECTIONS,
    count: np.ndarray | None = None,
) -> np.ndarray:
    """(N,) int64: how many rays escape from the (N, 3) float32 points in the directions numbered first..last,
    both ends of rounds, and before (`count`). A point that is surely open is not followed further: it counts
    as DIRECTIONS."""
    count = np.zeros(len(xyz), np.int64) if count is None else count.copy()
    left = np.arange(len(xyz))
    for end, enough in _ROUNDS:
        if first < end <= last and len(left):
            count[left] += _escapes(caster, xyz[left], spread_directions()[first:end])
            first = end
            sure = count[left] >= enough
            count[left[sure]] = DIRECTIONS
            left = left[~sure]
    return count


def tally_spread(caster: Raycaster, xyz: np.ndarray, first: int, count: np.ndarray) -> np.ndarray:
    """As `tally` from the direction numbered `first` on, for evenly spread (N, 3) points, of whose rays (N,)
    `count` have escaped before. They share the work.

    A point that no ray has left is asked in a PARTS-th of the directions, its neighbors in others. All of
    them are asked only where one of those finds a way out, or where a neighbor that is much alike is open.
    """
    if not len(xyz):
        return count
    count = count.copy()
    asked = count > 0
    directions = spread_directions()[first:]
    for part, own in itertools.product(range(STEPS), range(PARTS)):
        left = np.flatnonzero(~asked[own::PARTS]) * PARTS + own
        some = directions[own::PARTS][part::STEPS]
        asked[left] = _escapes(caster, xyz[left], some) > 0
    neighbor = KDTree(xyz).query(xyz, min(len(xyz), NEIGHBORS + 1))[1].reshape(len(xyz), -1)
    more = asked & (count < DIRECTIONS)
    while more.any():
        count[more] = tally(caster, xyz[more], first, count=count[more])
        doubtful = (count > 0) & (count < ALIKE * DIRECTIONS)
        more = doubtful[neighbor].any(1) & ~asked
        asked |= more
    return count


def judged(
    caster: Raycaster, xyz: np.ndarray, count: np.ndarray, limit: float | None
) -> tuple[np.ndarray, float]:
    """(N,) float64 openness of evenly spread (N, 3) points from their (N,) escapes in all DIRECTIONS, refined
    where it matters; and the limit, the steadiest unless one is given."""
    openness = count / DIRECTIONS
    if limit is None and _is_steady(*_parted(xyz, openness)):
        limit = LIMITS[0]
    if limit != LIMITS[0]:
        openness = refined(caster, xyz, count)
    return openness, steadiest(xyz, openness) if limit is None else limit


def refined(caster: Raycaster, xyz: np.ndarray, count: np.ndarray) -> np.ndarray:
    """(N,) float64 openness of (N, 3) points from their (N,) escapes in all DIRECTIONS; those in doubt are
    asked in others, up to 2,048 in all."""
    openness, count = count / DIRECTIONS, count.copy()
    left = np.arange(len(xyz))
    for tried, least, most, more in FINER:
        left = left[(count[left] >= least) & (count[left] <= most)]
        count[left] += _escapes(caster, xyz[left], fibonacci_sphere(more).astype(np.float32))
        openness[left] = count[left] / (tried + more)
    return openness


def steadiest(xyz: np.ndarray, openness: np.ndarray) -> float:
    """The lowest limit of openness that parts few neighbors which are much alike, else the one that parts the
    fewest; for evenly spread (N, 3) points, with (N,) openness.

    A limit of 0 speckles a deep inside that a few rays reach through a gap; one of a hundredth does not, but
    may cut through what is evenly shaded elsewhere. Compare Matas et al., "Robust wide baseline stereo from
    maximally stable extremal regions" (2002).
    """
    parted, alike = _parted(xyz, openness)
    bearable = max(STEADY * alike, min(parted))
    return next(limit for limit, count in zip(LIMITS, parted, strict=True) if count <= bearable)


def _parted(xyz: np.ndarray, openness: np.ndarray) -> tuple[list[int], int]:
    """How many pairs of neighbors that are much alike each of LIMITS parts, and how many there are."""
    if len(xyz) <= NEIGHBORS:
        return [0] * len(LIMITS), 0
    distance, neighbor = KDTree(xyz).query(xyz, NEIGHBORS + 1)
    other, own = openness[neighbor], openness[:, None]
    alike = (distance <= REACH * np.median(distance[:, 1])) & (abs(other - own) < ALIKE)
    parted = [np.count_nonzero(alike & ((other <= limit) != (own <= limit))) for limit in LIMITS]
    return parted, np.count_nonzero(alike)


def _is_steady(parted: list[int], alike: int) -> bool:
    """Whether the lowest limit parts few."""
    return parted[0] <= STEADY * alike


def spread_directions() -> np.ndarray:
    """(512, 3) float32 unit vectors, evenly spread, in an order whose every prefix is spread as well."""
    order = np.arange(DIRECTIONS) * _STRIDE % DIRECTIONS
    return fibonacci_sphere(DIRECTIONS)[order].astype(np.float32)


def _escapes(caster: Raycaster, xyz: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(N,) int64: in how many of the (D, 3) directions the ray from each (N, 3) point hits nothing."""
    size = min(len(xyz), max(1, _MOST_RAYS // len(directions)))
    rays = np.empty((size, len(directions), 6), np.float32)
    rays[..., 3:] = directions
    skin = SKIN * directions
    count = np.empty(len(xyz), np.int64)
    for start in range(0, len(xyz), max(1, size)):
        block = xyz[start : start + size]
        np.add(block[:, None], skin, out=rays[: len(block), :, :3])
        blocked = caster.blocked(rays[: len(block)])
        count[start : start + size] = len(directions) - np.count_nonzero(blocked, axis=1)
    return count
