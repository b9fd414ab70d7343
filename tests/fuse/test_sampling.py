"""Farthest points are exactly those of the plain algorithm, whatever the order of the input."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from fuse.sampling import distinct, farthest_points, lexicographic, spacing


def surface(count: int, seed: int = 0) -> np.ndarray:
    """Points on three touching ellipsoids, unevenly dense as fused clouds are."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(count, 3)) * rng.choice([1.0, 3.0], (count, 1)) * [1, 0.6, 1.4]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return (direction * [0.3, 0.5, 0.2] + rng.integers(-1, 2, (count, 1)) * [0.6, 0, 0.1]).astype(np.float32)


def plain(xyz: np.ndarray, first: int, count: int) -> list[int]:
    """Farthest point sampling as it is defined, in float64."""
    picked, nearest = [first], np.full(len(xyz), np.inf)
    while len(picked) < count:
        nearest = np.minimum(nearest, ((xyz.astype(np.float64) - xyz[picked[-1]]) ** 2).sum(1))
        picked.append(int(nearest.argmax()))
    return picked


@pytest.mark.parametrize("count", [300, 5000, 60_000])
def test_every_pick_is_the_farthest_from_all_before_it(count: int) -> None:
    xyz = surface(count)
    picked = farthest_points(xyz, 256)
    nearest = np.full(len(xyz), np.inf)
    for before, pick in pairwise(picked):
        nearest = np.minimum(nearest, ((xyz.astype(np.float64) - xyz[before]) ** 2).sum(1))
        assert np.sqrt(nearest[pick]) >= np.sqrt(nearest.max()) * (1 - 1e-5)


def test_same_picks_as_the_plain_algorithm() -> None:
    xyz = surface(20_000)
    picked = farthest_points(xyz, 1000)
    assert picked.tolist() == plain(xyz, int(picked[0]), 1000)


def test_a_prefix_is_a_sample() -> None:
    xyz = surface(30_000)
    assert farthest_points(xyz, 4096)[:1024].tolist() == farthest_points(xyz, 1024).tolist()


def test_order_of_the_input_does_not_matter() -> None:
    xyz = surface(20_000)
    shuffled = np.random.default_rng(1).permutation(len(xyz))
    assert (xyz[farthest_points(xyz, 2000)] == xyz[shuffled][farthest_points(xyz[shuffled], 2000)]).all()


def test_the_start_is_the_point_farthest_from_the_corner() -> None:
    xyz = surface(5000)
    low = xyz.min(0)
    corner = low - 2 * (xyz.max(0) - low).max()
    distance = np.linalg.norm(xyz - corner, axis=1)
    assert distance[farthest_points(xyz, 10)[0]] >= distance.max() - 1e-5


def test_coincident_points_count_once() -> None:
    xyz = np.repeat(surface(50), 10, 0)
    picked = farthest_points(xyz, 200)
    assert len(picked) == 50 and len(np.unique(xyz[picked], axis=0)) == 50


@pytest.mark.parametrize("count", [0, 1, 2, 3, 17])
def test_fewer_points_than_asked_come_all(count: int) -> None:
    picked = farthest_points(surface(count), 4096)
    assert picked.dtype == np.int64 and sorted(picked) == list(range(count))


@pytest.mark.parametrize("scale", [[1, 0, 0], [1, 1, 0], [1e-6, 1e-6, 1e-6]])
def test_flat_thin_and_tiny_clouds(scale: list[float]) -> None:
    xyz = (surface(3000) * np.array(scale)).astype(np.float32)
    picked = farthest_points(xyz, 100)
    assert len(np.unique(xyz[picked], axis=0)) == 100


def test_sixteen_thousand_points_and_more() -> None:
    picked = farthest_points(surface(100_000), 20_000)
    assert len(np.unique(picked)) == 20_000


def test_distinct_is_sorted_and_knows_one_zero() -> None:
    xyz = np.array([[0.0, 1, 2], [-0.0, 1, 2], [-5, 1, 2], [0, 1, -2], [0, 1, 2]], np.float32)
    assert distinct(xyz).tolist() == [2, 3, 0]


def test_spacing_of_a_lattice() -> None:
    lattice = np.stack(np.meshgrid(*[np.arange(10.0)] * 3), -1).reshape(-1, 3).astype(np.float32) * 0.1
    assert spacing(lattice) == pytest.approx(0.1, rel=1e-5)
    assert spacing(lattice[:1]) == 0


@pytest.mark.parametrize("most", [2, 30, 2**32])
def test_rows_are_sorted_by_their_columns_equal_ones_as_they_came(most: int) -> None:
    rows = np.random.default_rng(0).integers(0, most, (3000, 3)).astype(np.uint32)
    order, first = lexicographic(rows)
    assert order.tolist() == np.lexsort(rows.T[::-1]).tolist()
    assert first.tolist() == [True, *(rows[order[1:]] != rows[order[:-1]]).any(1).tolist()]
    assert [len(found) for found in lexicographic(rows[:0])] == [0, 0]
