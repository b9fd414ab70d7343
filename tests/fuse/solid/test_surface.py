"""What parts of a surface measure, against trimesh, with more faces than a block has."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from fuse.solid.surface import BLOCK, Surface, face_areas, joined, measures, thickness


def two_balls() -> tuple[trimesh.Trimesh, np.ndarray]:
    """Balls of radius 1 and 0.1, beside each other; and the part of each face, in no order."""
    large, small = (trimesh.creation.icosphere(subdivisions=6, radius=radius) for radius in (1, 0.1))
    small.apply_translation([3, 2, 1])
    vertices = np.concatenate([large.vertices, small.vertices])
    faces = np.concatenate([large.faces, small.faces + len(large.vertices)])
    order = np.random.default_rng(0).permutation(len(faces))
    assert len(order) > 2 * BLOCK
    return trimesh.Trimesh(vertices, faces[order], process=False), (order >= len(large.faces)) * 1


def test_volume_area_and_thickness_of_each_part() -> None:
    mesh, part = two_balls()
    surface = Surface(mesh.faces.astype(np.int32), part)
    volume, area = measures(mesh.vertices, surface)
    for number, found in enumerate(zip(volume, area, strict=True)):
        one = trimesh.Trimesh(mesh.vertices, mesh.faces[part == number], process=False)
        assert found == pytest.approx((one.volume, one.area), rel=1e-9)
    assert thickness(mesh.vertices, surface, volume, area) == pytest.approx([2, 0.2], rel=0.05)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_areas_of_all_faces(kind: type) -> None:
    mesh, _ = two_balls()
    rounded = trimesh.Trimesh(mesh.vertices.astype(kind), mesh.faces, process=False)
    assert face_areas(mesh.vertices.astype(kind), mesh.faces) == pytest.approx(rounded.area_faces, rel=1e-6)


def test_joined_surfaces_keep_their_order_and_number_their_parts_on() -> None:
    faces = np.arange(18, dtype=np.int32).reshape(6, 3)
    none = Surface(faces[:0], np.zeros(0, np.int64))
    one, two = Surface(faces[:3], np.array([4, 1, 4])), Surface(faces[3:], np.array([0, 0, 7]))
    for surfaces in ((one, two), (one, none, two), (none, one, two)):
        both = joined(*surfaces)
        assert both.faces.tolist() == faces.tolist() and both.part.tolist() == [1, 0, 1, 2, 2, 3]
    assert joined(none, two).part.tolist() == [0, 0, 1] and joined(none, none).parts == 0
