"""Fused points lie on analytic surfaces with true colors and normals, keep thin things, leave no cracks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import KDTree

from fuse.cloud import Cloud, concatenate
from fuse.fusion import Fused, fuse, fuse_samples, mean_footprint, near, needless
from fuse.projection import CLEAN, FILM, MIXED, Samples, grade_pixels, project, project_view
from render.bundle import Bundle, View
from render.pinhole import pixel_rays
from tests.helpers import fuse_scenes as scenes
from tests.helpers.fuse_dataset import CUBE_COLORS

WIRES, WIDTH = 7, 0.006


def views_of(scene: scenes.Scene, count: int = 20, size: int = 128) -> list[View]:
    return [scenes.render(scene, camera, size) for camera in scenes.cameras(count)]


def box_distance(points: np.ndarray, low: object, high: object) -> np.ndarray:
    """(N,) distance of points to the surface of an axis-aligned box, in closed form."""
    beyond = np.maximum(np.asarray(low) - points, points - np.asarray(high))
    outside = np.linalg.norm(beyond.clip(0), axis=1)
    return np.where(outside > 0, outside, -beyond.max(1))


def wires_distance(points: np.ndarray) -> np.ndarray:
    distance = np.full(len(points), np.inf)
    half = WIDTH / 2
    for at in np.linspace(-1 + WIDTH, 1 - WIDTH, WIRES):
        for low, high in (
            ([-1, at - half, -half], [1, at + half, half]),
            ([at - half, -1, -half], [at + half, 1, half]),
        ):
            distance = np.minimum(distance, box_distance(points.astype(np.float64), low, high))
    return distance


def nearest(points: np.ndarray, cloud: np.ndarray) -> np.ndarray:
    """(N,) distance from each of `points` to the nearest of `cloud`."""
    blocks = np.array_split(points.astype(np.float64), 1 + len(points) * len(cloud) // 2**23)
    squares = (cloud.astype(np.float64) ** 2).sum(1)
    found = [((b**2).sum(1)[:, None] - 2 * b @ cloud.T + squares).min(1) for b in blocks]
    return np.sqrt(np.concatenate(found).clip(0))


def ball_view(camera: scenes.Camera, size: int) -> View:
    """The unit ball in closed form: no tessellation between the test and the truth."""
    rays = pixel_rays(size, camera.fov) @ camera.camera_to_world[:3, :3].T
    origin = camera.camera_to_world[:3, 3]
    a, b, c = (rays**2).sum(-1), rays @ origin, origin @ origin - 1
    root = b * b - a * c
    hit = root > 0
    depth = np.where(hit, (-b - np.sqrt(root.clip(0))) / a, 0).astype(np.float32)
    normal = np.where(hit[..., None], origin + rays * depth[..., None], 0).astype(np.float32)
    rgba = np.where(hit[..., None], [200, 100, 50, 255], 0).astype(np.uint8)
    return View(camera, rgba, depth, rgba[..., :3].copy(), normal)


@pytest.fixture(scope="module")
def ball() -> Fused:
    fused = fuse([ball_view(camera, 192) for camera in scenes.cameras(20)], 0.25)
    fused.cloud.check()
    return fused


def test_points_of_a_ball_lie_on_it(ball: Fused) -> None:
    error = np.abs(np.linalg.norm(ball.cloud.xyz.astype(np.float64), axis=1) - 1)
    assert np.quantile(error, 0.99) < 2e-6
    assert error.max() < 1e-5


def test_normals_point_out(ball: Fused) -> None:
    assert (ball.cloud.normal * ball.cloud.xyz).sum(1).min() > 0.9999


def test_ball_has_no_cracks(ball: Fused) -> None:
    direction = np.random.default_rng(0).normal(size=(3000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    assert nearest(direction, ball.cloud.xyz).max() < 1.5 * ball.footprint


def test_merging_leaves_one_point_a_cell(ball: Fused) -> None:
    seen = len(project([ball_view(camera, 192) for camera in scenes.cameras(20)]).cloud)
    assert len(ball.cloud) < seen
    cells = np.floor((ball.cloud.xyz - ball.cloud.xyz.min(0)) / (0.25 * ball.footprint))
    assert len(np.unique(cells, axis=0)) > 0.99 * len(ball.cloud)
    assert len(np.unique(ball.cloud.xyz, axis=0)) == len(ball.cloud)


def test_order_of_the_views_does_not_change_the_ball() -> None:
    views = [ball_view(camera, 64) for camera in scenes.cameras(8)]
    forth, back = fuse(views, 0.25).cloud, fuse(views[::-1], 0.25).cloud
    assert abs(len(forth) - len(back)) < 0.01 * len(forth)
    assert np.quantile(nearest(back.xyz, forth.xyz), 0.99) < 0.25 * mean_footprint(views)


def test_a_shift_of_one_pixel_would_be_seen() -> None:
    view = ball_view(scenes.cameras(20)[4], 128)
    shifted = replace(view, depth=np.roll(view.depth, 1, 1))
    error = np.abs(np.linalg.norm(project_view(shifted).cloud.xyz, axis=1) - 1)
    assert np.median(error) > 1e-3


def test_cube_through_a_bundle(tmp_path) -> None:
    scene = scenes.Scene().box([-1, -1, -1], [1, 1, 1], CUBE_COLORS)
    scenes.bundle(tmp_path / "cube.zip", scene, size=128)
    with Bundle(tmp_path / "cube.zip") as bundle:
        cloud = fuse(list(bundle.views()), 0.25).cloud
    error = box_distance(cloud.xyz.astype(np.float64), [-1] * 3, [1] * 3)
    assert np.quantile(error, 0.99) < 1e-4 and error.max() < 2e-4
    # away from the edges, color and normal are those of the face that the point lies on
    axis = np.abs(cloud.xyz).argmax(1)
    others = np.sort(np.abs(cloud.xyz), axis=1)[:, 1]
    inner = others < 0.95
    side = (cloud.xyz[np.arange(len(axis)), axis] > 0).astype(int)
    want = np.array(CUBE_COLORS)[axis * 2 + side]
    assert (cloud.albedo[inner] == want[inner]).all()
    assert (cloud.rgb[inner] == want[inner]).all(1).mean() > 0.998
    along = cloud.normal[np.arange(len(axis)), axis] * np.where(side, 1, -1)
    assert along[inner].min() > 0.999


def test_wires_thinner_than_a_pixel_survive() -> None:
    fused = fuse(views_of(scenes.wire_grid(WIRES, WIDTH)), 0.25)
    assert fused.footprint / 4 > WIDTH
    assert wires_distance(fused.cloud.xyz).max() < 1e-4
    assert fused.mixed_kept > 0
    lines = np.linspace(-1 + WIDTH, 1 - WIDTH, WIRES)
    along = np.linspace(-0.98, 0.98, 200)
    spots = np.array([spot for at in lines for s in along for spot in ([s, at, 0], [at, s, 0])])
    assert nearest(spots, fused.cloud.xyz).max() < 3 * fused.footprint


def test_wires_before_a_wall_keep_their_color_and_the_wall_gets_none() -> None:
    scene = scenes.wire_grid(WIRES, 0.012).box([-1, -1, -0.5], [1, 1, -0.45], (10, 10, 250))
    fused = fuse(views_of(scene), 0.25)
    cloud = fused.cloud
    wires, wall = cloud.xyz[:, 2] > -0.1, cloud.xyz[:, 2] < -0.4
    assert (wires | wall).all(), "a point flies between the wires and the wall"
    assert wires.sum() > 1000
    wrong = np.abs(cloud.rgb.astype(int) - cloud.albedo).max(1) > 8
    assert wrong[wall].mean() < 0.01
    assert wrong[wires].mean() < 0.15
    # without the grades the colors would be far worse
    samples = project(views_of(scene))
    careless = fuse_samples(replace(samples, grade=np.zeros_like(samples.grade)), fused.footprint, 0.25).cloud
    wrong_careless = np.abs(careless.rgb.astype(int) - careless.albedo).max(1) > 8
    assert wrong_careless.mean() > 4 * wrong.mean()


def test_translucent_pane_survives_whole() -> None:
    pane = scenes.Scene(alpha=0.55).box([-1, -1, -0.01], [1, 1, 0.01], (20, 220, 240))
    fused = fuse(views_of(pane), 0.25)
    grid = np.linspace(-0.95, 0.95, 30)
    spots = np.stack([*np.meshgrid(grid, grid), np.full((30, 30), 0.01)], -1).reshape(-1, 3)
    assert nearest(spots, fused.cloud.xyz).max() < 1.5 * fused.footprint
    assert (np.abs(fused.cloud.rgb.astype(int) - [20, 220, 240]) <= 1).all()


def test_grades_of_pixels() -> None:
    scene = scenes.Scene().box([-1, -1, -1], [1, 1, -0.9], (0, 0, 255))
    scene = scene.box([-0.3, -0.3, 0.5], [0.3, 0.3, 0.6], (255, 0, 0))
    view = scenes.render(scene, scenes.look_from(np.array([0.0, 0.01, 6.0])), 128)
    grade = grade_pixels(view)
    red = view.albedo[..., 0] > 0
    inside = red & np.roll(red, 2, 0) & np.roll(red, -2, 0) & np.roll(red, 2, 1) & np.roll(red, -2, 1)
    assert (grade[inside] == CLEAN).all()
    border = red & ~(np.roll(red, 1, 0) & np.roll(red, -1, 0) & np.roll(red, 1, 1) & np.roll(red, -1, 1))
    assert (grade[border] == MIXED).all()
    partial = (view.depth > 0) & (view.rgba[..., 3] < 255)
    assert partial.any() and (grade[partial] == FILM).all()
    assert (grade[view.depth == 0] == CLEAN).all()


def test_color_of_a_pixel_that_no_sample_met_is_the_albedo() -> None:
    view = scenes.render(scenes.sphere(20), scenes.cameras(20)[0], 32)
    dark = replace(view, rgba=np.zeros_like(view.rgba))
    assert (project_view(dark).cloud.rgb == (200, 100, 50)).all()


def samples_at(points: list[list[float]], grades: list[int], facing: list[float] | None = None) -> Samples:
    xyz = np.array(points, np.float32)
    zero = np.zeros((len(xyz), 3), np.uint8)
    normal = np.tile(np.array([0, 0, 1], np.float32), (len(xyz), 1))
    shade = np.ones(len(xyz)) if facing is None else np.array(facing)
    return Samples(Cloud(xyz, zero, zero, normal), np.array(grades, np.uint8), shade.astype(np.float32))


def test_a_mixed_sample_goes_only_where_a_better_one_is_near() -> None:
    points = [[0, 0, 0], [0.5, 0, 0], [5, 0, 0], [9, 0, 0], [9.3, 0, 0]]
    samples = samples_at(points, [CLEAN, MIXED, MIXED, FILM, MIXED])
    assert needless(samples, 1.0).tolist() == [False, True, False, False, True]


def test_dropped_samples_come_back_where_too_few_points_are_left() -> None:
    samples = samples_at([[0, 0, 0], [0.5, 0, 0], [0, 0.6, 0]], [CLEAN, FILM, MIXED])
    assert [len(fuse_samples(samples, 1.0, 0.1, wanted).cloud) for wanted in (1, 2, 3, 99)] == [1, 2, 3, 3]


def test_best_of_a_cell_is_clean_then_head_on() -> None:
    points = [[0, 0, 0], [0.01, 0, 0], [0.02, 0, 0], [3, 3, 3]]
    fused = fuse_samples(samples_at(points, [MIXED, CLEAN, CLEAN, CLEAN], [1, 0.4, 0.8, 1]), 1.0, 0.25)
    assert fused.cloud.xyz[:, 0].tolist() == pytest.approx([0.02, 3])


def test_a_mirrored_world_at_grazing_angles_is_left_out() -> None:
    """A glossy ball whose rim is white in every view, as Fresnel's law has it."""
    views = []
    for camera in scenes.cameras(20):
        view = ball_view(camera, 96)
        toward = camera.camera_to_world[:3, 3] / np.linalg.norm(camera.camera_to_world[:3, 3])
        rim = (view.depth > 0) & (view.normal @ toward < 0.35)
        views.append(replace(view, rgba=np.where(rim[..., None], 255, view.rgba).astype(np.uint8)))
    fused = fuse(views, 0.25)
    assert (fused.cloud.rgb == (200, 100, 50)).all()
    direction = np.random.default_rng(0).normal(size=(2000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    assert nearest(direction, fused.cloud.xyz).max() < 2 * fused.footprint  # and no hole is left


def test_nothing_seen_is_an_empty_cloud() -> None:
    view = scenes.render(scenes.sphere(10), scenes.look_from(np.array([0.0, 0.0, 6.0])), 32)
    blank = replace(view, depth=np.zeros_like(view.depth), rgba=np.zeros_like(view.rgba))
    assert len(fuse([blank, blank], 0.25).cloud) == 0


def test_cloud_checks_itself(ball: Fused) -> None:
    cloud = ball.cloud.take(np.arange(10))
    concatenate([cloud, cloud]).check()
    assert len(concatenate([])) == 0
    with pytest.raises(ValueError, match="normals of length"):
        replace(cloud, normal=cloud.normal * 2).check()
    with pytest.raises(ValueError, match="not finite"):
        replace(cloud, xyz=cloud.xyz * np.float32(np.nan)).check()
    with pytest.raises(ValueError, match="rgb is float32"):
        replace(cloud, rgb=cloud.xyz).check()


@pytest.mark.parametrize("reach", [0.1, 0.004])  # the second grid has too many cells for a table
def test_near_finds_what_is_within_about_its_reach(reach: float) -> None:
    rng = np.random.default_rng(0)
    asked, known = (rng.uniform(-1, 1, (3000, 3)).astype(np.float32) * [1, 1, 0.01] for _ in range(2))
    distance = KDTree(known).query(asked)[0]
    found = near(asked.astype(np.float32), known.astype(np.float32), reach)
    assert found[distance < 0.5 * reach].all() and not found[distance > 3**0.5 * reach].any()
    assert found.any() and (reach > 0.01 or not found.all())
