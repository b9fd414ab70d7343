"""Rays and projections against the depth images and back-projection of bundles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fuse.projection import project as back_project
from render.bundle import Bundle, View
from tests.helpers import fuse_scenes as scenes  # pyright: ignore[reportMissingImports]
from training.conditioning.cameras import camera_numbers, project, rays

SIZE = 32


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> list[View]:
    """Views of a box, as a bundle gives them back."""
    path = tmp_path_factory.mktemp("cameras") / "box.zip"
    scenes.bundle(path, scenes.Scene().box([-1, -0.6, -0.3], [1, 0.6, 0.3], (200, 90, 30)), 4, SIZE)
    with Bundle(path) as bundle:
        return list(bundle.views())


def camera_of(view: View) -> Tensor:
    """(1, 1, 19)."""
    return torch.from_numpy(camera_numbers(view.camera.camera_to_world, view.camera.fov))[None, None]


def surface(view: View) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that hit the box, row by row, (N,), and their points by `fuse`, (N, 3)."""
    return np.flatnonzero(view.depth > 0), back_project([view]).cloud.xyz


def test_a_pixels_ray_goes_through_its_surface_point(views: list[View]) -> None:
    for view in views:
        pixels, points = surface(view)
        direction, moment = rays(camera_of(view), SIZE)[0, 0, pixels].double().chunk(2, dim=-1)
        off = torch.linalg.cross(torch.from_numpy(points).double(), direction) - moment
        assert off.norm(dim=-1).max() < 1e-5  # the distance of the point from the ray


def test_points_fall_on_the_pixels_that_show_them(views: list[View]) -> None:
    for view in views:
        pixels, points = surface(view)
        places, depth = project(torch.from_numpy(points.T.copy())[None], camera_of(view))
        column_and_row = (places[0, 0].numpy() + 1) / 2 * SIZE - 0.5
        np.testing.assert_allclose(column_and_row[:, 0], pixels % SIZE, atol=1e-3)
        np.testing.assert_allclose(column_and_row[:, 1], pixels // SIZE, atol=1e-3)
        np.testing.assert_allclose(depth[0, 0].numpy(), view.depth.ravel()[pixels], atol=1e-4)


def test_a_picture_cut_from_a_larger_one_has_the_same_rays(views: list[View]) -> None:
    """The cut is the upper right quarter: its cells are that quarter's pixels."""
    whole = camera_of(views[0])
    cut, half = whole.clone(), float(whole[0, 0, 16]) / 2
    cut[..., 16:] = torch.tensor([half, half, half])
    quarter = rays(whole, SIZE).view(SIZE, SIZE, 6)[: SIZE // 2, SIZE // 2 :].reshape(-1, 6)
    torch.testing.assert_close(rays(cut, SIZE // 2)[0, 0], quarter)
    point = torch.rand(1, 3, 5) * 0.2
    places, cut_places = (project(point, camera)[0][0, 0] for camera in (whole, cut))
    torch.testing.assert_close(cut_places, 2 * places + torch.tensor([-1.0, 1.0]), atol=1e-5, rtol=0)
