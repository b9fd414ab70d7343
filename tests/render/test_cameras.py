"""Cameras: evenly spread, seeded, in OpenGL axes, and far enough away to see the whole bounding sphere."""

from __future__ import annotations

import numpy as np
import pytest

from render.cameras import (
    directions,
    enclosing_points,
    fibonacci_sphere,
    image_box,
    look_at_origin,
    place_cameras,
    random_rotation,
)
from render.config import RenderConfig


def test_directions_are_spread_evenly() -> None:
    points = fibonacci_sphere(20)
    assert np.allclose(np.linalg.norm(points, axis=1), 1)
    cosines = points @ points.T - 2 * np.eye(20)
    nearest = np.degrees(np.arccos(cosines.max(1)))
    assert nearest.min() > 30  # 20 perfectly packed points are 47.4 degrees apart
    assert np.linalg.norm(points.mean(0)) < 0.05


@pytest.mark.parametrize("kind", ["fibonacci", "random", "orbit"])
def test_seed_and_uid_decide(kind: str) -> None:
    config = RenderConfig(cameras=kind)  # type: ignore[arg-type]
    first, again, other = (
        np.array([c.camera_to_world for c in place_cameras(config, uid, 1.5)]) for uid in "aab"
    )
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) == (kind == "orbit")


def test_rotations_are_rotations() -> None:
    rotation = random_rotation(np.random.default_rng(3))
    assert np.allclose(rotation @ rotation.T, np.eye(3))
    assert np.linalg.det(rotation) == pytest.approx(1)


@pytest.mark.parametrize("direction", [(1, 0, 0), (0.3, -0.5, 0.8), (0, 0, 1), (0, 0, -1)])
def test_a_camera_looks_at_the_origin_with_up_up(direction: tuple[float, float, float]) -> None:
    matrix = look_at_origin(np.array(direction, float), 4.0)
    assert np.allclose(matrix[:3, :3].T @ matrix[:3, :3], np.eye(3))
    assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1)
    assert np.allclose(np.linalg.inv(matrix) @ [0, 0, 0, 1], [0, 0, -4, 1])  # straight ahead, along -z
    assert matrix[2, 1] >= 0


@pytest.mark.parametrize("fov", [10.0, 39.6, 90.0])
def test_the_bounding_sphere_fits_inside_the_border(fov: float) -> None:
    config = RenderConfig(fov=fov, resolution=100, border=5)
    camera = place_cameras(config, "x", radius=1.7)[0]
    distance = np.linalg.norm(camera.camera_to_world[:3, 3])
    rim = np.tan(np.arcsin(1.7 / distance))  # the sphere's outline in the image plane
    assert rim / np.tan(np.radians(fov) / 2) == pytest.approx(0.9)


def test_fields_of_view_vary_and_every_one_fits_the_sphere() -> None:
    config = RenderConfig(fov=20, fov_most=70, resolution=100, border=5, views=200)
    cameras = place_cameras(config, "x", radius=1.7)
    fovs = np.degrees([camera.fov for camera in cameras])
    assert 20 <= fovs.min() < 21 and 66 < fovs.max() <= 70
    focal = np.log(np.tan(np.radians(fovs) / 2))
    assert focal.mean() == pytest.approx(np.log(np.tan(np.radians([10, 35]))).mean(), abs=0.1)
    for camera in cameras:
        rim = np.tan(np.arcsin(1.7 / np.linalg.norm(camera.camera_to_world[:3, 3])))
        assert rim / np.tan(camera.fov / 2) == pytest.approx(0.9)
    same = place_cameras(RenderConfig(views=200), "x", radius=1.7)
    turned = [
        a.camera_to_world[:3, :3] - b.camera_to_world[:3, :3] for a, b in zip(cameras, same, strict=True)
    ]
    assert np.abs(turned).max() < 1e-12


def test_random_directions_cover_the_sphere() -> None:
    points = directions("random", 4000, np.random.default_rng(0))
    assert np.abs(points.mean(0)).max() < 0.05
    assert np.allclose((points**2).mean(0), 1 / 3, atol=0.03)


def test_the_image_box_tightly_contains_every_vertex() -> None:
    vertices = np.random.default_rng(1).uniform(-1, 1, (5000, 3)) * (1, 0.2, 0.4)
    few = enclosing_points(vertices)
    assert len(few) < len(vertices)
    for camera in place_cameras(RenderConfig(resolution=200), "x", radius=1.2):
        for box, exact in zip(image_box(camera, few, 200), image_box(camera, vertices, 200), strict=True):
            assert 0 <= box.start <= exact.start and exact.stop <= box.stop <= 200
            assert exact.start - box.start < 10 and box.stop - exact.stop < 10
