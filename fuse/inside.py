"""The layers behind the first: which of their points are hidden, and which belong to the outside.

A point behind the first surface of its own ray is often seen in another view, or visible from a direction
without a camera. Rays against `mesh.npz` decide (`fuse.openness`). Open points that no view sees fill the
outside's cracks: grooves, gaps, the depth between leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import open3d as o3d

from fuse import openness
from fuse.cloud import Cloud
from fuse.fusion import Fused, best_of_cells, near
from fuse.projection import project_layer
from fuse.sampling import farthest_points, spacing
from render.bundle import Mesh, View
from render.shading.raycaster import Raycaster
from render.srgb import linear_to_srgb, srgb_to_linear

CELLS = (0.5, 1.0)  # footprints: one point is kept per cell; the larger cells if MANY are left
LOOKS = (6, 30)  # directions tried before cells may grow, and before points are thinned to SURPLUS
MANY = 16  # points left by the first look, per point wanted, above which cells grow
SURPLUS = 2  # candidates per hidden point wanted
CRACK = 1.5  # footprints: an open point without a seen one nearer than that is in a crack
NEIGHBORS = 8  # seen points that estimate the light in a crack
AREA_SAMPLES = 4096  # points of the mesh that measure the hidden share of its area


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
        names = ("xyz", "albedo", "normal", "layer", "facing", "openness")
        return Points(*(getattr(self, name)[index] for name in names))


_NO_POINTS = Points(
    *(np.zeros((0, 3), kind) for kind in ("f4", "u1", "f4")),
    *(np.zeros(0, kind) for kind in ("u1", "f4", "f8")),
)
_NO_INDEX = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Inside:
    """What the layers behind the first of a model hold."""

    hidden: Points  # more than wanted: sample them
    cracks: Cloud  # outside points that no view sees
    shaded: np.ndarray  # (N,) bool: seen points that are hidden all the same, as their neighbors are
    hidden_share: float  # of the mesh's area
    limit: float = 0.0  # what the hidden points' openness is at most


def look_inside(
    views: Sequence[View], mesh: Mesh, caster: Raycaster, seen: Fused, wanted: int, seed: int
) -> Inside:
    """Label the points behind the first surfaces of `views`; `seen` is what the first surfaces gave.

    With `wanted` 0 there are none, and the outside keeps its cracks.
    """
    if not wanted:
        return Inside(_NO_POINTS, seen.cloud.take(_NO_INDEX), np.zeros(len(seen.cloud), bool), 0.0)
    further = further_points(views, seen.footprint)
    hidden, candidates, limit = label(further, caster, seen.footprint, wanted)
    gaps = cracks(seen.cloud, candidates, seen.footprint)
    dark = shaded(seen.cloud.xyz, hidden.xyz, limit, caster, seen.footprint)
    return Inside(hidden, gaps, dark, hidden_share(mesh, limit, caster, seed), limit)


def further_points(views: Sequence[View], footprint: float) -> Points:
    """The points of all layers behind the first, of all views, merged: the one seen most head-on per cell."""
    parts = [
        (*project_layer(view.camera, layer), np.full(np.count_nonzero(layer.depth), rank, np.uint8))
        for view in views
        for rank, layer in enumerate(view.hidden, start=1)
    ]
    if not parts:
        return _NO_POINTS
    xyz, albedo, normal, facing, layer = (np.concatenate(column) for column in zip(*parts, strict=True))
    best = best_of_cells(xyz, facing, 0, CELLS[0] * footprint)
    return Points(xyz, albedo, normal, layer, facing, np.ones(len(xyz))).take(best)


def label(points: Points, caster: Raycaster, footprint: float, wanted: int) -> tuple[Points, Points, float]:
    """Split into hidden points, evenly thinned to about SURPLUS times `wanted`, and open ones; and what the
    openness of hidden ones is at most.

    The more directions a point has been tested in without escaping, the fewer of its neighbors are needed.
    """
    index, count = np.arange(len(points)), np.zeros(len(points), np.int64)
    open_ones, start = [], 0
    for end in (*LOOKS, openness.DIRECTIONS):
        count[index] = openness.tally(caster, points.xyz[index], start, end, count[index])
        closed = count[index] < openness.DIRECTIONS
        open_ones.append(index[~closed])
        index, start = index[closed], end
        # apart, so that neither crowds out the other
        apart = index[count[index] == 0], index[count[index] > 0]
        if end == LOOKS[0]:
            index = np.concatenate([_coarser(points, some, footprint, MANY * wanted) for some in apart])
        elif end == LOOKS[1]:
            kept = zip(apart, (SURPLUS * wanted, wanted), strict=True)
            index = np.concatenate([some[farthest_points(points.xyz[some], most)] for some, most in kept])
    share = count[index] / openness.DIRECTIONS
    limit = openness.steadiest(points.xyz[index], share)
    if limit:
        share = openness.refined(caster, points.xyz[index], count[index])
        limit = openness.steadiest(points.xyz[index], share)
    found = share <= limit
    hidden = replace(points.take(index), openness=share).take(found)
    return hidden, points.take(np.sort(np.concatenate([*open_ones, index[~found]]))), limit


def _coarser(points: Points, index: np.ndarray, footprint: float, most: int) -> np.ndarray:
    """The points at (M,) `index`, or one per larger cell where there are more than `most`."""
    if len(index) <= most:
        return index
    return index[best_of_cells(points.xyz[index], points.facing[index], 0, CELLS[1] * footprint)]


def shaded(
    seen: np.ndarray, hidden: np.ndarray, limit: float, caster: Raycaster, footprint: float
) -> np.ndarray:
    """(N,) bool: which of the (N, 3) seen points lie among (M, 3) hidden ones, their openness within `limit`.

    A view that happens to look through a gap would leave a stripe of outside on what is hidden around it. A
    seen point that no ray leaves was seen through holes of a texture, which the mesh does not have: it stays
    outside. So does everything where otherwise nothing would.
    """
    result = np.zeros(len(seen), bool)
    if len(hidden) and len(seen):
        asked = np.flatnonzero(near(seen, hidden, CRACK * max(footprint, spacing(hidden))))
        share = openness.refined(caster, seen[asked], openness.tally(caster, seen[asked]))
        result[asked] = (share > 0) & (share <= limit)
    return result & (not result.all())


def cracks(seen: Cloud, candidates: Points, footprint: float) -> Cloud:
    """The open points farther than CRACK footprints from all `seen` ones, lit as those are.

    No view shows their lit color. It is their albedo times the median, over the NEIGHBORS nearest seen
    points, of the ratio of lit to unlit luminance (linear Rec. 709).
    """
    if not len(candidates) or not len(seen):
        return seen.take(_NO_INDEX)
    far = candidates.take(~near(candidates.xyz, seen.xyz, CRACK * footprint))
    if not len(far):
        return seen.take(_NO_INDEX)
    search = o3d.core.nns.NearestNeighborSearch(o3d.core.Tensor.from_numpy(seen.xyz))
    search.knn_index()
    neighbors, _ = search.knn_search(o3d.core.Tensor.from_numpy(far.xyz), min(NEIGHBORS, len(seen)))
    light = np.median(_light(seen)[neighbors.numpy()], axis=1)
    return Cloud(far.xyz, _lit(far.albedo, light), far.albedo, far.normal)


def hidden_share(mesh: Mesh, limit: float, caster: Raycaster, seed: int) -> float:
    """The share of the mesh's area whose openness is at most `limit`, from AREA_SAMPLES points spread evenly
    by area."""
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    rng = np.random.default_rng(seed)
    place = (np.arange(AREA_SAMPLES) + rng.random(AREA_SAMPLES)) / AREA_SAMPLES * area.sum()
    face = np.searchsorted(np.cumsum(area), place).clip(max=len(area) - 1)
    root, along = np.sqrt(rng.random(AREA_SAMPLES)), rng.random(AREA_SAMPLES)
    weights = np.stack([1 - root, root * (1 - along), root * along], 1)  # uniform in a triangle
    points = np.einsum("ni,nij->nj", weights, corners[face]).astype(np.float32)
    return float((openness.tally(caster, points) <= limit * openness.DIRECTIONS).mean())


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
