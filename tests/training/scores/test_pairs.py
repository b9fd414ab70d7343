"""Scores of a pair of clouds against closed forms and independent implementations."""

from __future__ import annotations

import itertools

import numpy as np
import open3d
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance_nd

from training.scores.alignment import align, best_azimuth, icp, turn
from training.scores.bootstrap import (
    mean_interval,
    paired_difference,
    ratio_difference,
    ratio_interval,
    relative_difference,
)
from training.scores.distances import (
    chamfer,
    chamfer_matrix,
    density_aware_chamfer,
    f_score,
    squared_chamfer,
)
from training.scores.transport import emd, exact_emd, sinkhorn_emd


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 3)), rng.normal(size=(80, 3)) * 1.2


def legacy(points: np.ndarray) -> open3d.geometry.PointCloud:
    return open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))


def test_chamfer_distances_are_those_of_another_library(pair: tuple[np.ndarray, np.ndarray]):
    a, b = pair
    there = np.asarray(legacy(a).compute_point_cloud_distance(legacy(b)))
    back = np.asarray(legacy(b).compute_point_cloud_distance(legacy(a)))
    assert chamfer(a, b) == pytest.approx((there.mean() + back.mean()) / 2)
    assert chamfer_matrix(a[None], b[None])[0, 0] == pytest.approx(chamfer(a, b), rel=1e-5)
    assert squared_chamfer(a, b) == pytest.approx((there**2).mean() + (back**2).mean())
    precision, recall = (there <= 0.5).mean(), (back <= 0.5).mean()
    assert f_score(a, b, 0.5) == pytest.approx(2 / (1 / precision + 1 / recall))
    assert f_score(a, b + 100, 0.5) == 0 and f_score(a, a, 0.0) == 1


def test_two_parallel_lines_have_distances_of_closed_form():
    line = np.stack([np.arange(10.0), np.zeros(10), np.zeros(10)], 1)
    moved = line + np.array([0, 0.3, 0])
    assert chamfer(line, moved) == pytest.approx(0.3)
    assert squared_chamfer(line, moved) == pytest.approx(2 * 0.09)
    assert emd(line, moved) == pytest.approx(0.3)
    assert density_aware_chamfer(line, moved, 10) == pytest.approx(1 - np.exp(-10 * 0.09))


def test_density_aware_chamfer_follows_its_definition(pair: tuple[np.ndarray, np.ndarray]):
    a, b = pair
    gaps, alpha, terms = cdist(a, b), 2.0, []
    for table in (gaps, gaps.T):
        chosen = [int(row.argmin()) for row in table]
        weight = table.shape[0] / table.shape[1]
        terms.append(
            np.mean(
                [
                    1 - weight * np.exp(-alpha * table[i, j] ** 2) / chosen.count(j)
                    for i, j in enumerate(chosen)
                ]
            )
        )
    assert density_aware_chamfer(a, b, alpha) == pytest.approx(np.mean(terms))
    assert density_aware_chamfer(a, a) == 0
    heaped = np.concatenate([a[:1].repeat(59, 0), a[1:2]])  # Chamfer forgives a heap in one direction
    assert density_aware_chamfer(heaped, a) > 0.9


def test_the_assignment_is_the_best_of_all():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
    best = min(
        np.mean([np.linalg.norm(a[i] - b[j]) for i, j in enumerate(order)])
        for order in itertools.permutations(range(6))
    )
    assert exact_emd(a, b) == pytest.approx(best)
    assert exact_emd(a, b) == pytest.approx(wasserstein_distance_nd(a, b), rel=1e-6)
    assert emd(a, a[::-1]) == 0
    with pytest.raises(ValueError, match="equal sizes"):
        emd(a, b[:5])


def test_sinkhorn_is_near_the_exact_distance_and_above():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(80, 3)), rng.normal(size=(80, 3)) * 0.7 + 0.2
    exact = exact_emd(a, b)
    assert exact <= sinkhorn_emd(a, b) < 1.03 * exact
    moved = a + np.array([0.5, 0, 0])
    assert sinkhorn_emd(a, moved) == pytest.approx(0.5, rel=0.03)
    assert sinkhorn_emd(a, a) < 0.01


def test_a_turned_cloud_is_turned_back():
    rng = np.random.default_rng(3)
    b = rng.uniform(-1, 1, (300, 3)) * [1, 0.6, 0.3] + [0, 0.2, 0.1]
    a = turn(b, 137)
    assert best_azimuth(a, b) == 360 - 137
    assert chamfer(align(a, b, "none"), b) > 0.05 > 1e-6 > chamfer(align(a, b, "azimuth"), b)
    np.testing.assert_allclose(turn(np.array([[1.0, 0, 5]]), 90), [[0, 1, 5]], atol=1e-12)


def test_icp_undoes_a_small_motion_as_another_library_does():
    rng = np.random.default_rng(4)
    b = rng.uniform(-1, 1, (300, 3)) * [1, 0.6, 0.3]
    axis = open3d.geometry.get_rotation_matrix_from_xyz((0.05, -0.04, 0.06))
    a = b @ axis.T + [0.02, -0.01, 0.015]
    found = icp(a, b)
    assert chamfer(found, b) < 1e-6
    theirs = open3d.pipelines.registration.registration_icp(legacy(a), legacy(b), 10.0).transformation
    np.testing.assert_allclose(found, a @ theirs[:3, :3].T + theirs[:3, 3], atol=1e-4)
    mirrored = b * [-1, 1, 1]
    assert chamfer(align(mirrored + rng.normal(size=b.shape) * 0.1, b, "icp"), b) > 0.01  # never mirrors


def test_intervals_cover_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(5)
    values = rng.normal(3, 1, (100, 60))
    found = [mean_interval(row) for row in values]
    inside = np.mean([one.low <= 3 <= one.high for one in found])
    assert 0.88 <= inside <= 0.99
    width = np.mean([one.high - one.low for one in found])
    assert width == pytest.approx(2 * 1.96 / np.sqrt(60), rel=0.06)
    assert mean_interval(np.array([1.0, np.nan, 3.0])).count == 2


def test_pairs_show_what_unpaired_means_do_not():
    rng = np.random.default_rng(6)
    hard = rng.uniform(0, 10, 50)
    one, other = hard - 0.1 + rng.normal(size=50) * 0.02, hard
    found = paired_difference(one, other)
    assert found.high < 0 and found.lower == 50
    assert mean_interval(one).high > mean_interval(other).low
    share = relative_difference(2 * hard, hard)
    assert (share.mean, share.low, share.high, share.lower) == (1, 1, 1, 0)


def test_ratios_of_sums_weigh_objects_by_what_they_have():
    over, under = np.array([1.0, 30.0, 5.0]), np.array([10.0, 40.0, 10.0])
    found = ratio_interval(over, under)
    assert found.mean == 36 / 60 and found.low == pytest.approx(0.1) and found.high == pytest.approx(0.75)
    alike = ratio_interval(over, np.full(3, 50.0))
    assert (alike.low, alike.high) == pytest.approx(
        (mean_interval(over).low / 50, mean_interval(over).high / 50), rel=1e-6
    )
    same = ratio_difference((over, under), (over, under))
    assert (same.mean, same.low, same.high) == (0, 0, 0)
    assert ratio_difference((over, under), (over, 2 * under)).mean == pytest.approx(0.3)
