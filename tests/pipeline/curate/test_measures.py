"""Measures of one model, against shapes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from fuse.sampling import farthest_points
from pipeline.curate.measures import coverage, one_color, symmetry

rng = np.random.default_rng(0)


def fps(points: np.ndarray) -> np.ndarray:
    return points[farthest_points(points, 512)]


def box(low: tuple[float, float, float], high: tuple[float, float, float], count: int) -> np.ndarray:
    """Points on a box's surface, evenly by area."""
    size = np.subtract(high, low)
    areas = np.array([size[1] * size[2], size[0] * size[2], size[0] * size[1]])
    axis = rng.choice(3, count, p=areas / areas.sum())
    points = rng.random((count, 3))
    points[np.arange(count), axis] = rng.integers(0, 2, count)
    return (points * size + low).astype(np.float32)


def test_a_box_is_symmetric_and_two_boxes_askew_are_not():
    whole = box((-1, -0.5, -0.4), (1, 0.5, 0.4), 20_000)
    # An S seen from above: neither left and right nor front and back agree
    s = np.concatenate([box((-1, 0, -0.4), (0, 0.5, 0.4), 10_000), box((0, -0.5, -0.4), (1, 0, 0.4), 10_000)])
    assert symmetry(fps(whole)) > 0.97
    assert symmetry(fps(s)) < 0.6


def test_a_chair_is_symmetric_in_one_plane_which_is_enough():
    seat, back = box((-1, -1, -0.1), (1, 1, 0), 8_000), box((-1, 0.9, 0), (1, 1, 1), 8_000)
    assert symmetry(fps(np.concatenate([seat, back]))) > 0.97


@pytest.mark.parametrize(("share", "noise"), [(1.0, 0), (0.75, 3), (0.5 + 1e-3, 8)])
def test_the_share_of_one_color(share: float, noise: int):
    count = 1000
    rgb = np.full((count, 3), (200, 40, 90), np.int16) + rng.integers(-noise, noise + 1, (count, 1)) // 2
    rgb[: round(count * (1 - share))] = (0, 255, 0)
    assert one_color(rgb.astype(np.uint8)) == pytest.approx(share, abs=0.01)


def test_coverage_is_the_mean_share_of_opaque_pixels():
    full, quarter = np.full((8, 8, 4), 255, np.uint8), np.zeros((8, 8, 4), np.uint8)
    quarter[:4, :4] = 255
    assert coverage([full, quarter]) == pytest.approx(0.625)
