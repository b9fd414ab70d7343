"""Meshes are taken apart into oriented shells and sheets as their triangles are connected."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from fuse.solid.closed_shells import find_shells, is_cycle, winding_numbers
from fuse.solid.edges import edges
from fuse.solid.surface import measures
from render.bundle import Mesh
from tests.helpers import shapes


def shell_volumes(shape: shapes.Shape) -> list[float]:
    shells = find_shells(shape.mesh)
    return sorted(measures(shells.vertices, shells.closed)[0].round(3).tolist())


@pytest.mark.parametrize("flipped", [False, True])
def test_a_cavity_stays_one_however_both_were_drawn(flipped: bool) -> None:
    cavity, matter = shell_volumes(shapes.hollow_sphere(flipped))
    assert matter == pytest.approx(4 / 3 * np.pi, rel=0.005)
    assert cavity == pytest.approx(-4 / 3 * np.pi * 0.8**3, rel=0.005)


def test_a_ball_in_a_cavity_and_a_part_drawn_inside_out_are_matter() -> None:
    assert [volume > 0 for volume in shell_volumes(shapes.russian_dolls())] == [False, True, True]
    assert all(volume > 0 for volume in shell_volumes(shapes.intersecting_cubes(flipped=True)))
    assert [volume > 0 for volume in shell_volumes(shapes.furnished_room())] == [
        False,
        True,
        True,
        True,
        True,
    ]


def test_nearly_all_faces_inside_out_mean_a_cavity_within_another_shell() -> None:
    """A few careless faces do not hide how a shell was drawn."""
    shape = shapes.hollow_sphere()
    faces = shape.mesh.faces.copy()
    careless = np.random.default_rng(3).random(len(faces)) < 0.2
    faces[careless] = faces[careless][:, ::-1]
    cavity, matter = shell_volumes(shapes.Shape(Mesh(shape.mesh.vertices, faces), shape.inside, shape.hidden))
    assert matter > 0 > cavity


@pytest.mark.parametrize("make", [shapes.half_flipped, shapes.seamed_ball])
def test_flipped_faces_and_seams_are_mended(make: type) -> None:
    shells = find_shells(make().mesh)
    assert shells.closed.parts == 1 and len(shells.sheets.faces) == 0 and shells.closed_share == 1
    assert is_cycle(edges(shells.closed.faces), shells.closed.part).all()
    assert winding_numbers(shells.vertices, shells.closed.faces, np.zeros((1, 3))) == pytest.approx(
        1, abs=0.01
    )


@pytest.mark.parametrize(
    ("sides", "share"), [((1, 1, 1), 0.82), ((1000, 1, 1), 1), ((1000, 10, 1), 1), ((1000, 1000, 1), 1)]
)
def test_a_cube_a_rod_a_strip_and_a_plate_are_paper_by_their_thinnest_side(
    sides: tuple[float, ...], share: float
) -> None:
    turn = trimesh.transformations.random_rotation_matrix(np.array([0.2, 0.7, 0.4]))
    for scale, closed in ((1.9e-3, 0), (2.1e-3 / share, 1)):
        box = trimesh.creation.box(np.array(sides) * scale, turn)
        mesh = Mesh(box.vertices.astype(np.float32), box.faces.astype(np.int32))
        assert find_shells(mesh).closed.parts == closed


@pytest.mark.parametrize("sides", ["all", "some", "both"])
def test_repeated_faces_count_once(sides: str) -> None:
    shells = find_shells(shapes.doubled_box(sides).mesh)
    assert len(shells.closed.faces) == 12 and shells.closed_share == 1


def test_a_fin_is_taken_off() -> None:
    shells = find_shells(shapes.leaf_on_box().mesh)
    assert len(shells.closed.faces) == 12 and len(shells.sheets.faces) == 2
    box, fin = 4 * 2 * (0.6 * 0.5 + 0.5 * 0.7 + 0.7 * 0.6), 1.4 * np.hypot(0.4, 0.4)
    assert shells.closed_share == pytest.approx(box / (box + fin), rel=1e-5)


@pytest.mark.parametrize("name", shapes.SHEETS)
def test_sheets_have_no_shell(name: str) -> None:
    assert find_shells(shapes.SHEETS[name]().mesh).closed.parts == 0
