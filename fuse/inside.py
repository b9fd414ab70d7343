"""The layers behind the first: which of their points are hidden, and which belong to the outside.

A point behind the first surface of its own ray is often seen in another view, or visible from a direction
without a camera. Rays against `mesh.npz` decide (`fuse.openness`). Open points that no view sees fill the
outside's cracks: grooves, gaps, the depth between leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.spatial import KDTree

from fuse import openness
from fuse.cloud import Cloud
from fuse.fusion import MANY, Fused, best_of_cells, cell_keys, near
from fuse.projection import project_surface
from fuse.sampling import farthest_points
from fuse.solid.surface import face_areas
from render.bundle import Bundle, Mesh, Surface
from render.shading.raycaster import Raycaster
from render.srgb import linear_to_srgb, srgb_to_linear

VIEWS = 6  # views whose further layers are read; all are if these show fewer hidden points than wanted
CELLS = (0.5, 1.0)  # footprints: one point is kept per cell; of larger cells if MANY per wanted one are left
LOOK = 14  # directions tried before points are thinned
SURPLUS = 1.03  # candidates per hidden point wanted; more where too many of them are open
SPARE = 1 / 16  # more outside points than wanted, where some may turn out to be hidden
CRACK = 1.5  # footprints: an open point without a seen one nearer than that is in a crack
NEIGHBORS = 8  # seen points that estimate the light in a crack
AREA_SAMPLES = 1024  # points that measure the hidden share of a mesh's area


@dataclass(frozen=True)
class Points:
    """N points of the layers behind the first."""

    xyz: np.ndarray  # (N, 3) float32
    albedo: np.ndarray  # (N, 3) uint8 sRGB
    normal: np.ndarray  # (N, 3) float32, unit length, toward the camera whose ray found the point
    layer: np.ndarray  # (N,) uint8, index along its ray: surfaces that the ray hit before this one
    facing: np.ndarray  # (N,) float32, cosine between the normal and the ray
    openness: np.ndarray  # (N,) float64 in 0..1; 1 until it is known

    def __len__(self) -> int:
        return len(self.xyz)

    def take(self, index: np.ndarray) -> Points:
        """The points at `index`, (M,) integers or an (N,) boolean mask, in that order."""
        return Points(*(getattr(self, field.name)[index] for field in fields(self)))


_NO_POINTS = Points(
    *(np.zeros((0, 3), kind) for kind in ("f4", "u1", "f4")),
    *(np.zeros(0, kind) for kind in ("u1", "f4", "f8")),
)
_NO_INDEX = np.zeros(0, np.int64)


def joined(parts: Sequence[Points]) -> Points:
    """All points, in order."""
    some = (_NO_POINTS, *parts)
    return Points(*(np.concatenate([getattr(part, field.name) for part in some]) for field in fields(Points)))


@dataclass(frozen=True)
class Inside:
    """What the layers behind the first of a model hold."""

    hidden: Points  # more than wanted: sample them
    cracks: Cloud  # outside points that no view sees
    hidden_share: float  # of the mesh's area
    limit: float = 0.0  # what the hidden points' openness is at most


def look_inside(bundle: Bundle, even: np.ndarray, caster: Raycaster, seen: Fused, wanted: int) -> Inside:
    """Label the points behind the first surfaces of a bundle's views; `seen` is what those surfaces gave, and
    `even` (N, 3) float32 what `area_points` finds.

    With `wanted` 0 there are none, and the outside keeps its cracks.
    """
    if not wanted:
        return Inside(_NO_POINTS, seen.cloud.take(_NO_INDEX), 0.0)
    for views in (spread_views(bundle), range(len(bundle))):
        further = further_points(bundle, views, seen, wanted)
        count = openness.tally(caster, further.xyz, 0, LOOK)
        if not 0 < np.count_nonzero(count == 0) < wanted:
            break
    hidden, further, limit = label(further, count, caster, wanted)
    gaps = cracks(seen, further)
    return Inside(hidden, gaps, hidden_share(even, limit, caster), limit)


def further_points(bundle: Bundle, views: Iterable[int], seen: Fused, wanted: int) -> Points:
    """The points of all layers behind the first in some views, but those on surfaces that are seen; merged:
    the one seen most head-on per cell."""
    parts = [
        _projected(bundle, index, rank, surface)
        for index in views
        for rank, surface in enumerate(bundle.surfaces(index), start=1)
    ]
    points = joined(parts)
    index = best_of_cells(points.xyz, points.facing, 0, CELLS[0] * seen.footprint)
    index = index[~on_seen(points.xyz[index], seen.cloud, seen.footprint)]
    if len(index) > MANY * wanted:
        xyz, facing = points.xyz[index], points.facing[index]
        index = index[best_of_cells(xyz, facing, 0, CELLS[1] * seen.footprint)]
    return points.take(index)


def spread_views(bundle: Bundle) -> list[int]:
    """At most VIEWS views, each as far as can be from the lines of sight of those before it, either way.

    Rays cross every surface in their way, so a few views show all but the smallest, within 50 degrees of
    head-on.
    """
    sight = np.array([bundle.camera(index).camera_to_world[:3, 2] for index in range(len(bundle))])
    chosen, nearest = [0], abs(sight @ sight[0])
    while len(chosen) < min(VIEWS, len(sight)):
        nearest[chosen] = np.inf
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, abs(sight @ sight[chosen[-1]]))
    return sorted(chosen)


def _projected(bundle: Bundle, index: int, rank: int, surface: Surface) -> Points:
    xyz, normal, facing = project_surface(bundle.camera(index), bundle.resolution, surface)
    layer = np.full(len(xyz), rank, np.uint8)
    return Points(xyz, surface.albedo, normal, layer, facing, np.ones(len(xyz)))


def on_seen(xyz: np.ndarray, seen: Cloud, footprint: float) -> np.ndarray:
    """(N,) bool: which of (N, 3) float32 points lie on a surface that a view sees, by the seen points of
    their cells: in the tangent plane, or less than half a skin beside it. They need no rays."""
    if not len(xyz) or not len(seen):
        return np.zeros(len(xyz), bool)
    keys = cell_keys(np.concatenate([xyz, seen.xyz]), CELLS[0] * footprint)
    known, first = np.unique(keys[len(xyz) :], return_index=True)
    at = np.searchsorted(known, keys[: len(xyz)]).clip(max=len(known) - 1)
    beside = first[at]
    off = np.einsum("ij,ij->i", xyz - seen.xyz[beside], seen.normal[beside])
    return (known[at] == keys[: len(xyz)]) & (abs(off) < openness.SKIN / 2)


def label(points: Points, count: np.ndarray, caster: Raycaster, wanted: int) -> tuple[Points, Points, float]:
    """Split N points, of whose rays (N,) `count` escape in LOOK directions, into hidden ones, evenly thinned
    to about SURPLUS times `wanted`, and open ones; and what the openness of hidden ones is at most."""
    closed = np.flatnonzero(count < openness.DIRECTIONS)
    dark, dim = closed[count[closed] == 0], closed[count[closed] > 0]
    index, share, limit, most = _NO_INDEX, np.zeros(0), None, int(SURPLUS * wanted)
    while True:
        more = np.setdiff1d(_thinned(points.xyz, dark, dim, most), index)
        tried = openness.tally_spread(caster, points.xyz[more], LOOK, count[more])
        new, limit = openness.judged(caster, points.xyz[more], tried, limit)
        index, share = np.concatenate([index, more]), np.concatenate([share, new])
        found = share <= limit
        if np.count_nonzero(found) >= wanted or most >= len(dark):
            break
        most = min(4 * most, int(SURPLUS * most * wanted / max(1, np.count_nonzero(found))))
    hidden = replace(points.take(index), openness=share).take(found)
    is_open = np.ones(len(points), bool)
    is_open[closed] = False
    is_open[index[~found]] = True
    return hidden, points.take(is_open), limit


def _thinned(xyz: np.ndarray, dark: np.ndarray, dim: np.ndarray, most: int) -> np.ndarray:
    """Evenly spread ones of the (N, 3) points: at most `most` of those at `dark`, which no ray has left, and
    of those at `dim`, which few have, as dense. More are the same and others."""
    share = min(1.0, most / max(len(dark), 1))
    counts = (most, min(most, int(share * len(dim))))
    return np.concatenate(
        [some[farthest_points(xyz[some], n)] for some, n in zip((dark, dim), counts, strict=True)]
    )


def cracks(seen: Fused, candidates: Points) -> Cloud:
    """The open points farther than CRACK footprints from all seen ones, lit as those are.

    No view shows their lit color. It is their albedo times the median, over the NEIGHBORS nearest seen
    points, of the ratio of lit to unlit luminance (linear Rec. 709).
    """
    if not len(candidates) or not len(seen.cloud):
        return seen.cloud.take(_NO_INDEX)
    far = candidates.take(~near(candidates.xyz, seen.cloud.xyz, CRACK * seen.footprint))
    if not len(far):
        return seen.cloud.take(_NO_INDEX)
    lights = seen.cloud.take(seen.sampled)
    _, neighbors = KDTree(lights.xyz).query(far.xyz, min(NEIGHBORS, len(lights)))
    light = np.median(_light(lights)[neighbors.reshape(len(far), -1)], axis=1)
    return Cloud(far.xyz, _lit(far.albedo, light), far.albedo, far.normal)


def outside_of(
    dense: Cloud, wanted: int, limit: float, caster: Raycaster
) -> tuple[Cloud, np.ndarray, Points]:
    """The `wanted` outside points of a dense cloud in farthest-point order, their (M,) float64 openness, and
    points that are hidden all the same: rays leave them, but no more than `limit` allows.

    A view that happens to look through a gap would leave a stripe of outside on what is hidden around it. A
    seen point that no ray leaves was seen through holes of a texture, which the mesh does not have: it stays
    outside. So does everything where otherwise nothing would.
    """
    count = wanted + int(SPARE * wanted * bool(limit))
    while True:
        cloud = dense.take(farthest_points(dense.xyz, count))
        share = openness.measure(caster, cloud.xyz)
        dark = (share > 0) & (share <= limit)
        if dark.all():
            dark[:] = False
        missing = min(wanted, len(dense)) - np.count_nonzero(~dark)
        if missing <= 0 or len(cloud) < count:
            break
        count = len(cloud) + 2 * missing
    keep = np.flatnonzero(~dark)
    if dark.any():
        keep = keep[farthest_points(cloud.xyz[keep], wanted)]
    keep = keep[:wanted]  # in farthest-point order already
    return cloud.take(keep), share[keep], _of_first(cloud.take(dark), share[dark])


def _of_first(cloud: Cloud, share: np.ndarray) -> Points:
    """Points of first layers, with their (N,) openness."""
    none = np.zeros(len(cloud), np.uint8)
    return Points(cloud.xyz, cloud.albedo, cloud.normal, none, none.astype(np.float32), share)


def area_points(mesh: Mesh, seed: int) -> np.ndarray:
    """(AREA_SAMPLES, 3) float32 points of a mesh, spread evenly by area; none if it has no faces."""
    if len(mesh.faces) == 0:
        return np.zeros((0, 3), np.float32)
    area = face_areas(mesh.vertices, mesh.faces)
    rng = np.random.default_rng(seed)
    place = (np.arange(AREA_SAMPLES) + rng.random(AREA_SAMPLES)) / AREA_SAMPLES * area.sum()
    face = np.searchsorted(np.cumsum(area), place).clip(max=len(area) - 1)
    root, along = np.sqrt(rng.random(AREA_SAMPLES)), rng.random(AREA_SAMPLES)
    weights = np.stack([1 - root, root * (1 - along), root * along], 1)  # uniform in a triangle
    corners = mesh.vertices[mesh.faces[face]].astype(np.float64)
    return np.einsum("ni,nij->nj", weights, corners).astype(np.float32)


def hidden_share(points: np.ndarray, limit: float, caster: Raycaster) -> float:
    """The share of (N, 3) float32 points whose openness is at most `limit`; 0 of none."""
    count = openness.tally(caster, points, 0, LOOK)
    count = openness.tally_spread(caster, points, LOOK, count)
    return float((count <= limit * openness.DIRECTIONS).sum() / max(len(points), 1))


def _light(cloud: Cloud) -> np.ndarray:
    """(N,) float32: lit over unlit luminance; the cloud's median where the material is too dark to
    measure."""
    unlit = _luminance(cloud.albedo)
    ratio = _luminance(cloud.rgb) / unlit.clip(1e-6)
    dark = unlit < 0.01
    ratio[dark] = np.median(ratio[~dark]) if not dark.all() else 1
    return ratio


def _lit(albedo: np.ndarray, light: np.ndarray) -> np.ndarray:
    """(N, 3) uint8 sRGB albedo times (N,) light, as sRGB bytes."""
    linear = (_LINEAR[albedo] * light[:, None]).clip(0, 1)
    return np.rint(linear_to_srgb(linear) * 255).astype(np.uint8)


def _luminance(rgb: np.ndarray) -> np.ndarray:
    return _LINEAR[rgb] @ np.array([0.2126, 0.7152, 0.0722], np.float32)


_LINEAR = srgb_to_linear(np.arange(256) / 255).astype(np.float32)  # (256,): of each sRGB byte
