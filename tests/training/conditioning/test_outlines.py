"""The way from points to silhouettes, against discs in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from training.conditioning.cameras import camera_numbers, project, rotation
from training.conditioning.outlines import interior_outline, outline_map, toward_outlines

SIDE, PIXEL = 64, 2 / 64
CENTER, RADIUS = np.array([0.3, -0.25]), 0.4  # to the right and down, in units of half a picture


def picture(solid: np.ndarray) -> np.ndarray:
    """(S, S, 4) uint8."""
    return np.stack([np.zeros_like(solid, np.uint8)] * 3 + [255 * solid.astype(np.uint8)], -1)


def disc() -> np.ndarray:
    at = (np.stack(np.meshgrid(*[np.arange(SIDE)] * 2), -1) + 0.5) * PIXEL - 1
    return picture(np.linalg.norm(at - CENTER, axis=-1) < RADIUS)


def outlines_of(rgba: np.ndarray) -> Tensor:
    return torch.from_numpy(outline_map(rgba))[None, None]


def camera(turn: tuple[float, float, float], fov: float, center: tuple[float, float] = (0, 0)) -> Tensor:
    """(1, 1, 19): 4 from the origin, toward which it looks; the picture is cut around `center`."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", turn).as_matrix()
    pose[:3, 3] = 4 * pose[:3, 2]
    numbers = camera_numbers(pose, fov)
    numbers[17:] = center
    return torch.from_numpy(numbers)[None, None]


CAMERAS = [
    camera((0, 0, 0), 0.7),
    camera((0.5, -1.2, 2.0), 0.7, (0.1, -0.05)),
    camera((1.0, 2.5, -0.4), 1.2),
    camera((0.2, 0.1, 0.7), 0.01, (0.001, 0)),  # almost orthographic
]


@pytest.mark.parametrize("view", CAMERAS)
def test_moved_points_fall_on_a_disc_and_no_farther_than_its_border(view: Tensor) -> None:
    size = float(view[0, 0, 16]) * 4  # of half the picture, where the object is
    points = size * torch.randn(1, 3, 400, generator=torch.Generator().manual_seed(0))
    found = toward_outlines(project(points, view), view, outlines_of(disc()))[0, 0]
    way, within = found[:, :3], found[:, 3].numpy()
    axis = rotation(view)[0, 0, :, 2]
    assert (way @ axis).abs().max() < 1e-5 * size  # parallel to the picture
    (places, depth), (moved, _) = project(points, view), project(points + way.T[None], view)
    gaps, after = (np.linalg.norm(at[0, 0].numpy() - CENTER, axis=-1) - RADIUS for at in (places, moved))
    assert after.max() < PIXEL
    half = view[0, 0, 16].item() * depth[0, 0].numpy()
    seen = (places[0, 0].abs() < 1).all(-1).numpy()
    assert (seen & (gaps > 0)).sum() > 50 and (~seen).sum() > 50
    shortest = way.norm(dim=-1).numpy() / half
    np.testing.assert_allclose(shortest[seen], gaps[seen].clip(min=0), atol=1.5 * PIXEL)
    np.testing.assert_allclose(within / half, (-gaps).clip(min=0), atol=1.5 * PIXEL)
    assert not found[gaps < -1.5 * PIXEL, :3].any()


def test_a_point_beyond_the_picture_goes_to_its_edge_and_on_by_hand() -> None:
    """The camera looks along -z from (0, 0, 4): up in the picture is +y."""
    solid = np.zeros((SIDE, SIDE), bool)
    solid[:8, -8:] = True  # the upper right corner
    points = torch.tensor([[0.0, -5, 1], [2, 2, -2]]).T[None]
    view = camera((0, 0, 0), 2 * np.arctan(0.5))  # half the picture is 1.5 at z = 1, 3 at z = -2
    way = toward_outlines(project(points, view), view, outlines_of(picture(solid)))[0, 0, :, :3]
    near = torch.tensor([1 - 7.5 / 32, 1 - 7.5 / 32])  # its lower left pixel
    expected = torch.stack([1.5 * near - points[0, :2, 0], 3 * near - points[0, :2, 1]])
    torch.testing.assert_close(way[:, :2], expected, atol=1e-2, rtol=0)
    assert not way[:, 2].any()


@pytest.mark.parametrize("solid", [False, True])
def test_a_picture_without_an_outline_says_no_more_than_its_frame(solid: bool) -> None:
    assert not outline_map(picture(np.full((SIDE, SIDE), solid))).any()
    points = torch.tensor([[0.2, 0.3, 0.0], [-3, 0, 0]]).T[None]
    outlines = outlines_of(picture(np.full((SIDE, SIDE), solid)))
    found = toward_outlines(project(points, CAMERAS[0]), CAMERAS[0], outlines)[0, 0]
    assert not found[0].any() and found[1, 0] > 1


def test_the_outline_of_an_inside_is_that_of_its_mask() -> None:
    solid = disc()[..., 3] > 0
    np.testing.assert_array_equal(interior_outline(0.4 * solid.astype(np.float32)), outline_map(disc()))
    assert not interior_outline(0.1 * solid.astype(np.float32)).any()  # hardly any of a pixel


def test_every_view_has_its_own_silhouette() -> None:
    points = torch.randn(1, 3, 20, generator=torch.Generator().manual_seed(1))
    pictures = [disc(), disc()[::-1], disc()[:, ::-1], disc()]
    outlines = torch.cat([outlines_of(np.ascontiguousarray(one)) for one in pictures], 1)
    views = torch.cat(CAMERAS, 1)
    together = toward_outlines(project(points, views), views, outlines)
    for i, one in enumerate(CAMERAS):
        alone = toward_outlines(project(points, one), one, outlines[:, i : i + 1])
        torch.testing.assert_close(alone[:, 0], together[:, i])
