"""Openness against closed form, and the limit of what is hidden against boxes whose lids are ajar."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import KDTree

from fuse import openness
from fuse.cloud import Cloud
from fuse.inside import on_seen, outside_of
from fuse.sampling import farthest_points
from render.bundle import Mesh
from render.shading.raycaster import Raycaster
from tests.helpers.fuse_scenes import Scene

GRAY = (128, 128, 128)
WALL = 0.1


def tub(depth: float) -> Scene:
    """A box of side 2 without a lid, as deep as that; its floor's middle is the origin."""
    scene = Scene().box([-1 - WALL, -1 - WALL, -WALL], [1 + WALL, 1 + WALL, 0], GRAY)
    for side in (-1, 1):
        low, high = sorted((side, side * (1 + WALL)))
        scene = scene.box([low, -1 - WALL, 0], [high, 1 + WALL, depth], GRAY)
        scene = scene.box([-1 - WALL, low, 0], [1 + WALL, high, depth], GRAY)
    return scene


def lidded(gap: float) -> Mesh:
    """The tub with a lid that floats that far above it."""
    low, high = [-1 - WALL, -1 - WALL, 1 + gap], [1 + WALL, 1 + WALL, 1 + gap + WALL]
    return tub(1).box(low, high, GRAY).mesh()


def inner_points(count: int) -> np.ndarray:
    """Evenly spread points of the tub's inner walls, its floor and its lid."""
    rng = np.random.default_rng(0)
    points = rng.uniform([-1, -1, 0], [1, 1, 1], (8 * count, 3))
    face = rng.choice(6, len(points), p=np.array([1, 1, 1, 1, 2, 2]) / 8)
    for number, (axis, place) in enumerate([(0, -1), (0, 1), (1, -1), (1, 1), (2, 0), (2, 1)]):
        points[face == number, axis] = place
    points = points.astype(np.float32)
    return points[farthest_points(points, count)]


def finely(caster: Raycaster, points: np.ndarray) -> np.ndarray:
    """The openness of all points, those in doubt by FINE directions."""
    count = np.rint(openness.measure(caster, points) * openness.DIRECTIONS)
    return openness.refined(caster, points, count)


@pytest.mark.parametrize("depth", [0.5, 1.0, 3.0, 8.0])
def test_openness_at_the_bottom_of_a_tub(depth: float) -> None:
    """The solid angle of a square of side 2 at a distance, over that of the sphere."""
    seen = 4 * np.arctan(4 / (2 * depth * np.sqrt(4 * depth**2 + 8)))
    caster = openness.caster_of(tub(depth).mesh())
    (share,) = openness.measure(caster, np.zeros((1, 3), np.float32))
    true = seen / (4 * np.pi)
    assert share == pytest.approx(true, abs=0.025 if true > openness.WIDE else 0.004)


def test_the_byte_is_0_only_where_no_ray_escapes() -> None:
    code = openness.encode(np.array([0, 1 / 2048, 1 / 512, 2 / 255, 0.5, 1]))
    assert code.tolist() == [0, 1, 1, 2, 128, 255] and code.dtype == np.uint8


def test_what_is_surely_open_is_told_apart_early_and_the_rest_exactly() -> None:
    caster = openness.caster_of(lidded(0.1))
    points = inner_points(1000)
    exact = finely(caster, points)
    count = openness.tally(caster, points)
    sure = count == openness.DIRECTIONS
    assert exact[sure].min() > openness.LIMITS[-1]
    assert np.array_equal(openness.refined(caster, points[~sure], count[~sure]), exact[~sure])


@pytest.mark.parametrize("gap", [0.001, 0.03, 0.1])
def test_points_that_share_directions_miss_next_to_no_way_out(gap: float) -> None:
    caster, points = openness.caster_of(lidded(gap)), inner_points(4000)
    first = openness.tally(caster, points, 0, 14)
    exact, shared = openness.tally(caster, points), openness.tally_spread(caster, points, 14, first)
    differs = shared != exact
    assert not shared[differs].any() and exact[differs].max(initial=0) <= 4 and differs.mean() < 0.015


@pytest.mark.parametrize("gap", [0.03, 0.1])
def test_a_box_whose_lid_is_ajar_is_not_speckled(gap: float) -> None:
    points = inner_points(4000)
    share = finely(openness.caster_of(lidded(gap)), points)
    limit = openness.steadiest(points, share)
    nearest: np.ndarray = np.asarray(KDTree(points).query(points, 2)[1])[:, 1]

    def parted(limit: float) -> float:
        return float(((share <= limit) != (share <= limit)[nearest]).mean())

    assert parted(0) > 0.03 and parted(limit) < 0.4 * parted(0)
    assert share[share <= limit].max() < 0.012


def test_what_lies_on_a_seen_surface_needs_no_rays_but_what_is_behind_a_thin_wall_does() -> None:
    grid = np.stack(np.meshgrid(np.arange(0, 1, 0.004), np.arange(0, 1, 0.004), [0]), -1)
    seen = cloud_of(grid.reshape(-1, 3).astype(np.float32))
    rng = np.random.default_rng(0)
    asked = np.pad(rng.uniform(0, 1, (500, 2)), ((0, 0), (0, 1))).astype(np.float32)
    assert on_seen(asked, seen, 0.01).mean() > 0.95
    for beside in ([0, 0, -1.5e-3], [2, 0, 0]):
        assert not on_seen(asked + np.array(beside, np.float32), seen, 0.01).any()


def cloud_of(points: np.ndarray) -> Cloud:
    gray = np.full(points.shape, 128, np.uint8)
    return Cloud(points, gray, gray, np.tile(np.array([0, 0, 1], np.float32), (len(points), 1)))


def test_seen_points_in_a_gaps_shade_are_hidden_but_none_that_no_ray_leaves() -> None:
    points, caster = inner_points(2000), openness.caster_of(lidded(0.05))
    share, limit = openness.measure(caster, points), 3 / 255
    dark = (share > 0) & (share <= limit)
    assert 0.05 < dark.mean() < 0.95 and (share == 0).any()
    cloud, left, shade = outside_of(cloud_of(points), 1000, limit, caster)
    assert len(cloud) == 1000 and not ((left > 0) & (left <= limit)).any()
    assert len(shade) and shade.openness.min() > 0 and shade.openness.max() <= limit
    cloud, left, shade = outside_of(cloud_of(points), 2000, limit, caster)
    assert len(cloud) == np.count_nonzero(~dark) and len(shade) == np.count_nonzero(dark)
    cloud, _, shade = outside_of(cloud_of(points[dark]), 2000, limit, caster)
    assert len(cloud) == np.count_nonzero(dark) and not len(shade), "the outside would be empty"


def test_what_is_seen_through_holes_of_a_texture_stays_outside() -> None:
    """Of a closed box of wire netting, say: no ray against its mesh leaves it, but views look in."""
    cloud, share, shade = outside_of(cloud_of(inner_points(500)), 500, 3 / 255, openness.caster_of(lidded(0)))
    assert len(cloud) == 500 and not share.any() and not len(shade)


def test_in_a_closed_box_and_an_open_one_the_limit_stays_0() -> None:
    points = inner_points(2000)
    for mesh in (lidded(0), tub(1).mesh()):
        assert openness.steadiest(points, openness.measure(openness.caster_of(mesh), points)) == 0
