"""A scene's rays cross each wall of each part once, even where parts touch and share vertices."""

from __future__ import annotations

import numpy as np
import pytest

from fuse.solid.closed_shells import find_shells
from fuse.solid.ray_lattice import PIECES, Scene, lattice_of, scene_of
from fuse.solid.surface import Surface
from tests.helpers import shapes

SIDES = (9, 8, 5)  # boxes along each axis


def blocks() -> tuple[np.ndarray, Surface]:
    """Boxes that fill a grid of unit cells: neighbors share a wall, its vertices too."""
    assert np.prod(SIDES) > PIECES
    corners = np.stack(np.meshgrid(*(np.arange(side + 1.0) for side in SIDES), indexing="ij"), -1)
    number = np.arange(len(corners.reshape(-1, 3))).reshape(corners.shape[:3])
    unit = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = [triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))]
    cells = np.stack(np.meshgrid(*map(np.arange, SIDES), indexing="ij"), -1).reshape(-1, 3)
    faces = np.concatenate([number[tuple((cell + unit).T)][np.array(triangles)] for cell in cells])
    return corners.reshape(-1, 3), Surface(faces.astype(np.int32), np.arange(len(cells)).repeat(12))


@pytest.mark.parametrize("shared", [True, False])
def test_every_ray_enters_and_leaves_every_box_in_its_way(shared: bool) -> None:
    vertices, surface = blocks()
    if not shared:
        faces = np.arange(surface.faces.size, dtype=np.int32).reshape(-1, 3)
        vertices, surface = vertices[surface.faces].reshape(-1, 3), Surface(faces, surface.part)
    lattice = lattice_of(np.zeros(3), np.array(SIDES, float), 0.37, 0)
    hits = Scene(vertices, surface).crossings(lattice)
    axis = lattice.axis(np.arange(sum(lattice.rays)))
    assert (np.bincount(hits.ray, minlength=len(axis)) == 2 * np.array(SIDES)[axis]).all()
    middle = lattice.at(hits.ray, hits.t) - 0.5 * hits.sign[:, None] * np.eye(3)[axis[hits.ray]]
    assert (hits.part == np.ravel_multi_index(tuple(np.floor(middle).astype(int).T), SIDES)).all()


def test_a_known_scene_serves_for_the_same_triangles_alone() -> None:
    shells = find_shells(shapes.two_rooms().mesh)
    known = Scene(shells.vertices, shells.sheets)
    faces, part = shells.sheets.faces, shells.sheets.part
    assert scene_of(shells.vertices, Surface(faces.copy(), part.copy()), known) is known
    for other in (Surface(faces[:, ::-1], part), Surface(faces, part + 1), Surface(faces[1:], part[1:])):
        assert scene_of(shells.vertices, other, known).surface is other
