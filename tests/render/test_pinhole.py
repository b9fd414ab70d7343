"""Back-projection in closed form: known pixels of a known camera."""

from __future__ import annotations

import numpy as np
import pytest

from render.bundle import Camera
from render.cameras import look_at_origin
from render.pinhole import pixel_rays, pixel_size, world_points


def test_rays_go_through_the_pixel_centers() -> None:
    rays = pixel_rays(4, np.pi / 2)  # the image spans -1..1 at depth 1, a pixel is 0.5 wide
    assert rays.shape == (4, 4, 3)
    assert np.allclose(rays[0, 0], (-0.75, 0.75, -1))  # row 0 is the top
    assert np.allclose(rays[3, 1], (-0.25, -0.75, -1))


def test_a_depth_image_of_a_plane_is_that_plane() -> None:
    camera = Camera(look_at_origin(np.array([1.0, 0, 0]), 5.0), np.pi / 2)  # at x = 5; z up, y right
    depth = np.full((4, 4), 3, np.float32)
    for dtype in (np.float32, np.float64):
        points = world_points(camera, depth, np.array([0, 7]), dtype)
        assert points.dtype == dtype
        assert np.allclose(points, [(2, -2.25, 2.25), (2, 2.25, 0.75)], atol=1e-6)
    assert pixel_size(camera, 4) == pytest.approx(2.5)
