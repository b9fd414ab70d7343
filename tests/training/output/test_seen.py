"""Seen or invented, on scenes whose answer is known."""

from __future__ import annotations

import numpy as np

from fuse.sampling import farthest_points
from training.conditioning.cameras import USUAL_FOV, camera_numbers
from training.output.seen import seen_by

FAR = 4.0


def looking(toward: np.ndarray) -> np.ndarray:
    """(1, 19): a camera `FAR` from the origin, which it looks at."""
    away = toward / np.linalg.norm(toward)
    right = np.cross([0, 0, 1], away)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(away, right), away, FAR * away], axis=1)
    return camera_numbers(pose, USUAL_FOV)[None]


def ball(radius: float, count: int) -> np.ndarray:
    """(N, 3) float32: an even sample of a sphere."""
    rng = np.random.default_rng(0)
    many = rng.normal(size=(8 * count, 3))
    many = (radius * many / np.linalg.norm(many, axis=1, keepdims=True)).astype(np.float32)
    return many[farthest_points(many, count)]


def test_a_camera_sees_the_near_cap_of_a_ball_and_nothing_within() -> None:
    outer, inner = ball(0.9, 1024), ball(0.4, 200)
    toward = np.array([1.0, 0.3, 0.2])
    camera = looking(toward)
    seen = seen_by(np.concatenate([outer, inner]), camera)
    assert not seen[1024:].any()
    away = camera[0, [3, 7, 11]] - outer
    cosine = (away * outer).sum(1) / np.linalg.norm(away, axis=1) / 0.9  # above 0 before the horizon
    assert seen[:1024][cosine > 0.5].all()
    assert not seen[:1024][cosine < -0.3].any()
    other = looking(-toward)
    both = seen_by(np.concatenate([outer, inner]), np.concatenate([camera, other]))
    assert both[:1024].mean() > 1.7 * seen[:1024].mean() and not both[1024:].any()


def test_a_wall_hides_what_stands_behind_it_and_the_frame_cuts_the_rest() -> None:
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41)), -1).reshape(-1, 2)
    wall = np.column_stack([np.full(len(grid), 0.3), 0.5 * grid]).astype(np.float32)
    back = np.column_stack([np.full(len(grid), -0.3), grid]).astype(np.float32)
    camera = looking(np.array([1.0, 0, 1e-9]))
    seen = seen_by(np.concatenate([wall, back]), camera)
    shadow = 0.5 * (FAR + 0.3) / (FAR - 0.3)
    widest = np.abs(grid).max(1)
    assert seen[: len(wall)].all()
    assert not seen[len(wall) :][widest < shadow - 0.06].any()
    assert seen[len(wall) :][widest > shadow + 0.06].all()
    narrow = camera.copy()
    narrow[:, 16] = 0.4 / (FAR - 0.3)  # the picture shows 0.4 to each side of the wall
    some = seen_by(wall, narrow)
    np.testing.assert_array_equal(some, np.abs(0.5 * grid).max(1) < 0.4)
