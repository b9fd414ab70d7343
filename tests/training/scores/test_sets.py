"""Scores of sets of clouds, and of features of them, against closed forms and independent implementations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from render.failures import UserError
from tests.helpers.places import SHARED
from training.scores.features import frechet_distance, kernel_distance
from training.scores.pointnet import as_input, features, load_pointnet
from training.scores.sets import (
    coverage,
    distance_matrix,
    minimum_matching_distance,
    nearest_neighbor_accuracy,
    set_scores,
)

WEIGHTS = SHARED / "weights" / "pointnet_modelnet40.t7"


def places(*x: float) -> np.ndarray:
    """Clouds of two points each, at x on a line: their distances are the differences of x."""
    return np.array([[[value, 0, 0], [value, 0, 0]] for value in x], float)


def test_sets_on_a_line():
    true = places(0, 10, 20, 30)
    cross = distance_matrix(places(1, 2, 11), true)
    np.testing.assert_allclose(cross[0], [1, 9, 19, 29])
    assert coverage(cross) == 0.5
    assert minimum_matching_distance(cross) == pytest.approx((1 + 1 + 9 + 19) / 4)
    assert set_scores(true, true) == {"coverage": 1, "MMD": 0, "1-NNA": 0}
    far = set_scores(places(100, 101, 102, 103), true)
    assert far["1-NNA"] == 1 and far["coverage"] == 0.25
    emds = distance_matrix(places(1, 2, 11), true, "emd")
    np.testing.assert_allclose(emds, cross)


def test_one_nearest_neighbor_accuracy_is_a_leave_one_out_classifier():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 2)), rng.normal(size=(40, 2)) + 0.5
    both, kinds = np.concatenate([a, b]), np.repeat([0, 1], 40)
    right = 0
    for i in range(80):
        gaps = [np.inf if j == i else float(np.linalg.norm(both[i] - both[j])) for j in range(80)]
        right += kinds[int(np.argmin(gaps))] == kinds[i]

    def gaps_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.linalg.norm(x[:, None] - y[None], axis=2)

    assert nearest_neighbor_accuracy(gaps_of(a, a), gaps_of(a, b), gaps_of(b, b)) == right / 80


def test_frechet_distance_of_normal_distributions_and_of_matrix_square_roots():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, (200_000, 2)), rng.normal(0.5, 2, (200_000, 2))
    assert frechet_distance(a, b) == pytest.approx(2 * 0.25 + 2 * (2 - 1) ** 2, rel=0.02)
    a, b = rng.normal(size=(50, 8)) @ rng.normal(size=(8, 8)), rng.normal(size=(50, 8))
    first, second = np.cov(a.T), np.cov(b.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(
        first + second - 2 * np.real(sqrtm(first @ second))
    )
    assert frechet_distance(a, b) == pytest.approx(expected)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_kernel_distance_is_its_double_sum_and_unbiased():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(7, 4)), rng.normal(size=(9, 4)) + 0.3

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 4 + 1) ** 3)

    within = [
        np.mean([kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]) for x in (a, b)
    ]
    across = np.mean([kernel(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(sum(within) - 2 * across)
    same = [kernel_distance(rng.normal(size=(20, 4)), rng.normal(size=(20, 4))) for _ in range(400)]
    assert abs(np.mean(same)) < 4 * np.std(same) / 20
    assert kernel_distance(rng.normal(size=(50, 4)), rng.normal(size=(50, 4)) + 2) > max(same)


def test_pointnet_is_the_network_of_its_file():
    if not WEIGHTS.is_file():
        pytest.skip("../shared/weights/pointnet_modelnet40.t7 is not beside this checkout")
    weights = {k: v.numpy() for k, v in torch.load(WEIGHTS, map_location="cpu", weights_only=True).items()}
    clouds = np.random.default_rng(3).uniform(-1, 1, (3, 200, 3))

    def layer(x: np.ndarray, linear: str, norm: str) -> np.ndarray:
        x = x @ weights[f"{linear}.weight"].reshape(-1, x.shape[-1]).T + weights[f"{linear}.bias"]
        x = (x - weights[f"{norm}.running_mean"]) / np.sqrt(weights[f"{norm}.running_var"] + 1e-5)
        return np.maximum(x * weights[f"{norm}.weight"] + weights[f"{norm}.bias"], 0)

    x = as_input(clouds).numpy().astype(float)
    for i in range(1, 6):
        x = layer(x, f"feature_model.conv{i}", f"feature_model.bn{i}")
    expected = layer(layer(x.max(1), "linear1", "bn1"), "linear2", "bn2")
    np.testing.assert_allclose(features(load_pointnet(WEIGHTS), clouds), expected, rtol=1e-3, atol=1e-3)


def test_features_do_not_depend_on_size_or_place():
    cloud = np.random.default_rng(4).uniform(-1, 1, (1, 50, 3))
    moved = as_input(cloud * 3 + [5, -2, 1])
    torch.testing.assert_close(moved, as_input(cloud), atol=1e-5, rtol=0)
    assert moved.norm(dim=2).max() == pytest.approx(1)
    top = int(cloud[0, :, 2].argmax())
    assert int(moved[0, :, 1].argmax()) == top  # y is up


def test_other_weights_are_refused(tmp_path: Path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.t7")
    with pytest.raises(UserError, match=r"other\.t7: not the weights"):
        load_pointnet(tmp_path / "other.t7")
