"""Rays and projections against the depth images and back-projection of bundles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fuse.projection import project as back_project
from render.bundle import Bundle, View
from tests.helpers import fuse_scenes as scenes  # pyright: ignore[reportMissingImports]
from training.conditioning.cameras import camera_numbers, nowhere, project, rays
from training.conditioning.frames import frame_of

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


def test_the_first_views_frame_is_known_from_the_picture_alone(views: list[View]) -> None:
    """Its camera is that of a picture without a pose; points turn there and back, and fall where they did."""
    cameras = torch.cat([camera_of(view) for view in views], dim=1)
    cameras[..., 16:] = cameras[..., 16:] * 0.7 + torch.tensor([0, 0.05, -0.1])  # cut from the picture
    frame = frame_of(cameras[:, 0])
    unposed = torch.from_numpy(nowhere())[None, None].clone()
    unposed[..., 16:] = cameras[:, :1, 16:]
    alone = frame_of(unposed[:, 0]).cameras(unposed)
    torch.testing.assert_close(frame.cameras(cameras)[:, :1], alone, atol=1e-5, rtol=1e-5)
    points = torch.cat([torch.from_numpy(surface(views[1])[1].T.copy()), torch.rand(3, 300)], dim=1)[None]
    points = torch.cat([points, torch.rand(1, 4, points.shape[2])], dim=1)
    entered = frame.enter(points)
    torch.testing.assert_close(frame.leave(entered), points, atol=1e-5, rtol=1e-5)
    places, _ = project(points[:, :3], cameras)
    again, _ = project(entered[:, :3], frame.cameras(cameras))
    torch.testing.assert_close(again, places, atol=1e-4, rtol=1e-4)


def test_a_whole_picture_holds_the_whole_cloud_upright() -> None:
    """A camera on the horizon: z stays up, and what is nearer to the camera is in front, at negative y."""
    pose = np.eye(4)
    pose[:3] = [[0, 0, 1, 4], [1, 0, 0, 0], [0, 1, 0, 0]]  # looks along -x
    frame = frame_of(torch.from_numpy(camera_numbers(pose, 0.7))[None])
    points = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]).T[None]
    unit = 4 * np.tan(0.35)
    expected = torch.tensor([[0, 0, 1.0], [0, -1, 0], [1, 0, 0]]).T[None] / unit
    torch.testing.assert_close(frame.enter(points), expected, atol=1e-6, rtol=1e-5)
