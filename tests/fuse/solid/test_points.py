"""Solid points lie in the matter, fill it evenly, and do not exist where there is none."""

from __future__ import annotations

import os
import subprocess
import sys

import igl
import numpy as np
import pytest
import trimesh

from fuse import openness
from fuse.solid.closed_shells import find_shells
from fuse.solid.points import solid_of, solid_points
from render.bundle import Mesh
from tests.helpers import shapes
from tests.helpers.places import MODELS, ROOT

COUNT = 2048


def matter(shape: shapes.Shape, count: int = 40_000) -> tuple[np.ndarray, float]:
    """Places (M, 3) even at random in the shape's matter, and its volume."""
    low, high = shape.mesh.vertices.min(0), shape.mesh.vertices.max(0)
    places = np.random.default_rng(1).uniform(low, high, (count, 3))
    inside = shape.inside(places)
    return places[inside], float(inside.mean() * np.prod(high - low))


def nearest(places: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N,) distance of each place to the nearest point."""
    blocks = np.array_split(places, max(1, len(places) // 1000))
    squared = (points.astype(np.float64) ** 2).sum(1)
    found = [((b**2).sum(1)[:, None] - 2 * b @ points.T.astype(np.float64) + squared).min(1) for b in blocks]
    return np.sqrt(np.concatenate(found).clip(0))


@pytest.mark.parametrize("name", shapes.SOLIDS)
def test_points_fill_the_matter_and_nothing_else(name: str) -> None:
    shape = shapes.SOLIDS[name]()
    found = solid_points(shape.mesh, COUNT)
    assert found.xyz.shape == (COUNT, 3) and found.xyz.dtype == np.float32
    assert shape.inside(found.xyz.astype(np.float64)).mean() >= 0.99
    truth, size = matter(shape)
    for count in (COUNT, COUNT // 4):  # a prefix is even, too
        pitch = (size / count) ** (1 / 3)
        assert (nearest(truth, found.xyz[:count]) < 1.2 * pitch).mean() >= 0.99
    assert abs(found.volume / size - 1) < 0.05


@pytest.mark.parametrize(("size", "wall"), [((2, 2, 2), 0.035), ((2, 1.2, 0.6), 0.02)])
def test_walls_along_the_axes_and_thinner_than_the_rays_are_apart_keep_their_volume(
    size: tuple[float, ...], wall: float
) -> None:
    outer, inner = trimesh.creation.box(size), trimesh.creation.box(np.array(size) - 2 * wall)
    inner.invert()
    mesh = mesh_of(outer, inner)
    for seed in range(3):
        found = solid_points(mesh, COUNT, seed)
        assert found.volume == pytest.approx(outer.volume + inner.volume, rel=0.04)


@pytest.mark.parametrize(
    ("hole", "one_sheet", "two_sheets"), [(0.05, 4.19, 0.48), (0.12, 4.19, 0.48), (0.2, 0, 0.48), (0.7, 0, 0)]
)
def test_a_ball_with_a_hole_is_matter_up_to_a_seventh_of_its_radius_and_its_wall_alone_if_it_has_two_sides(
    hole: float, one_sheet: float, two_sheets: float
) -> None:
    ball = trimesh.creation.icosphere(5)
    centers = ball.triangles_center
    ball.update_faces((np.hypot(*centers.T[:2]) > hole) | (centers[:, 2] < 0))
    inner = ball.copy().apply_scale(0.96)
    inner.invert()
    assert solid_points(mesh_of(ball), 512).volume == pytest.approx(one_sheet, rel=0.03)
    assert solid_points(mesh_of(ball, inner), 512).volume == pytest.approx(two_sheets, rel=0.05)


def mesh_of(*parts: trimesh.Trimesh) -> Mesh:
    first = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = [part.faces + offset for part, offset in zip(parts, first, strict=False)]
    vertices = np.concatenate([part.vertices for part in parts])
    return Mesh(vertices.astype(np.float32), np.concatenate(faces).astype(np.int32))


@pytest.mark.parametrize("name", shapes.SHEETS)
def test_what_encloses_nothing_has_no_points(name: str) -> None:
    found = solid_points(shapes.SHEETS[name]().mesh, COUNT)
    assert (len(found.xyz), found.method, found.volume) == (0, "none", 0.0)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("hollow sphere", "winding"),
        ("half the faces flipped", "winding"),  # reoriented across the edges
        ("torn ball", "winding"),  # parts that are closed only together
        ("torn ball, half the faces flipped", "stabbing"),
        ("two rooms", "flood"),
        ("ball with a hole", "winding"),
    ],
)
def test_the_method_is_the_most_certain_that_applies(name: str, method: str) -> None:
    assert solid_points(shapes.SOLIDS[name]().mesh, COUNT).method == method


@pytest.mark.parametrize("sheet", ["open bowl", "moebius strip", "open box", "plane"])
@pytest.mark.parametrize("solid", ["bottle", "two rooms", "torn ball, half the faces flipped"])
def test_open_sheets_do_not_spoil_the_solid_beside_them(sheet: str, solid: str) -> None:
    one, other = shapes.SOLIDS[solid](), shapes.SHEETS[sheet]()
    aside = other.mesh.vertices * np.float32(0.3) + np.array([1.4, 0.1, -0.2], np.float32)
    vertices = np.concatenate([one.mesh.vertices, aside])
    faces = np.concatenate([one.mesh.faces, other.mesh.faces + len(one.mesh.vertices)])
    found = solid_points(Mesh(vertices, faces.astype(np.int32)), COUNT)
    truth, size = matter(one)
    assert one.inside(found.xyz.astype(np.float64)).mean() >= 0.99
    assert (nearest(truth, found.xyz) < 1.2 * (size / COUNT) ** (1 / 3)).mean() >= 0.99


def test_quality_says_how_closed_and_how_thick_a_mesh_is() -> None:
    shell = solid_points(shapes.hollow_sphere().mesh, COUNT)
    assert shell.watertight and shell.shells == 2 and shell.closed_share == pytest.approx(1)
    assert shell.volume_fraction == pytest.approx(shell.volume / 8, rel=0.01)
    assert np.isclose(shell.thickness[1], 0.2, rtol=0.1)
    bottle = solid_points(shapes.bottle().mesh, COUNT)
    assert np.isclose(bottle.thickness[1], 0.05, rtol=0.1)
    straw = solid_points(shapes.glass_with_straw().mesh, COUNT)
    assert not straw.watertight and straw.shells == 1 and 0.5 < straw.closed_share < 0.95
    bowl = solid_points(shapes.open_bowl().mesh, COUNT)
    assert not bowl.watertight and bowl.shells == 0 and bowl.closed_share == 0


def test_no_faces_and_no_area_have_no_points() -> None:
    nothing = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    needle = Mesh(np.zeros((3, 3), np.float32), np.array([[0, 1, 2], [0, 0, 1]], np.int32))
    for mesh in (nothing, needle):
        assert solid_points(mesh, COUNT).method == "none"


def test_many_points_are_even_as_well() -> None:
    shape = shapes.furnished_room()
    found = solid_points(shape.mesh, 16_384)
    truth, size = matter(shape)
    assert len(found.xyz) == 16_384 and shape.inside(found.xyz.astype(np.float64)).mean() >= 0.99
    assert (nearest(truth, found.xyz) < 1.2 * (size / 16_384) ** (1 / 3)).mean() >= 0.99


def test_the_seed_alone_decides() -> None:
    mesh = shapes.furnished_room().mesh
    one, same, other = (solid_points(mesh, COUNT, seed).xyz for seed in (3, 3, 4))
    assert one.tobytes() == same.tobytes() != other.tobytes()


def test_the_number_of_threads_does_not_matter() -> None:
    code = (
        "import hashlib; from tests.helpers import shapes; from fuse.solid.points import solid_points\n"
        "names = ['furnished room', 'intersecting cubes, one inside out', 'touching boxes', 'two rooms']\n"
        "found = [solid_points(shapes.SOLIDS[name]().mesh, 1024).xyz.tobytes() for name in names]\n"
        "print(hashlib.sha256(b''.join(found)).hexdigest())"
    )
    digests = set()
    for threads in ("1", "4"):
        limits = {name: threads for name in ("OMP_NUM_THREADS", "IGL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        environment = os.environ | limits | {"PYTHONPATH": str(ROOT)}
        ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
        digests.add(ran.stdout)
    assert len(digests) == 1


@pytest.mark.parametrize(
    "name",
    [
        "odedstein-meshes/spot/spot.obj",
        "trimesh/featuretype.STL",
        "trimesh/cycloidal.ply",
        "manifold/samples/models/mengerSponge3.glb",
    ],
)
def test_real_solids_agree_with_the_exact_winding_number(name: str) -> None:
    """Against libigl's exact sum over solid angles, at the points and at random places."""
    mesh = real_mesh(name)
    found = solid_points(mesh, COUNT)
    assert found.watertight and found.method == "winding"
    assert (exact(mesh, found.xyz[:400]) > 0.5).mean() >= 0.99
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    places = np.random.default_rng(2).uniform(low, high, (1500, 3))
    inside = exact(mesh, places) > 0.5
    assert found.volume_fraction == pytest.approx(inside.mean(), abs=0.04)
    pitch = (found.volume / COUNT) ** (1 / 3)
    assert (nearest(places[inside], found.xyz) < 1.2 * pitch).mean() >= 0.99


def test_a_real_terrain_is_no_solid() -> None:
    assert solid_points(real_mesh("odedstein-meshes/mountain/mountain.obj"), COUNT).method == "none"


def real_mesh(name: str) -> Mesh:
    if not MODELS.is_dir():
        pytest.skip(f"{MODELS} is not here: no real models to test on")
    loaded = trimesh.load(MODELS / name, force="mesh", process=False)
    assert isinstance(loaded, trimesh.Trimesh)
    low, high = loaded.vertices.min(0), loaded.vertices.max(0)
    vertices = (loaded.vertices - (low + high) / 2) * 2 / (high - low).max()
    return Mesh(vertices.astype(np.float32), loaded.faces.astype(np.int32))


def exact(mesh: Mesh, places: np.ndarray) -> np.ndarray:
    vertices, faces = mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)
    return np.asarray(igl.winding_number(vertices, faces, np.ascontiguousarray(places, np.float64)))


@pytest.mark.parametrize(
    ("shape", "whole"),
    [
        (shapes.hollow_sphere(), True),  # closed shells
        (shapes.half_flipped(), True),  # a repaired one
        (shapes.holed_ball(), True),  # a sheet, judged by the winding number
        (shapes.open_bowl(), True),  # a sheet that is none of them
        (shapes.leaf_on_box(), False),  # a shell and a sheet, in scenes of their own
        (shapes.klein_bottle(), False),  # nothing that bounds a volume
    ],
)
def test_what_finds_the_solid_serves_for_other_rays_if_it_has_all_triangles(
    shape: shapes.Shape, whole: bool
) -> None:
    shells = find_shells(shape.mesh)
    caster = solid_of(shells, COUNT, 0)[1]
    assert (caster is not None) == whole
    rays = np.random.default_rng(0).normal(size=(20_000, 6)).astype(np.float32)
    met = openness.caster_of(shape.mesh).blocked(rays)
    assert 0 < met.mean() < 1 and (met == (caster or openness.caster_of(shells.mesh())).blocked(rays)).all()
