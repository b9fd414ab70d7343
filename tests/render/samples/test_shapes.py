"""The shapes that sample models are built from: closed, facing outward, with the right volume."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from render.samples import paint
from render.samples.shapes import (
    Shape,
    ball,
    box,
    cylinder,
    lathe,
    loft,
    prism,
    rounded_ring,
    sheet,
    torus,
    tube,
)

ROUND_BOX = 0.8 * 0.8 * 0.8 + 6 * 0.8 * 0.8 * 0.1 + 3 * 0.8 * np.pi * 0.1**2 + 4 / 3 * np.pi * 0.1**3
CLOSED = {
    "box": (box(1, 2, 3), 6.0),
    "rounded box": (box(1, 1, 1, 0.1, 16), ROUND_BOX),
    "ball": (ball(1.0, 128, 64), 4 / 3 * np.pi),
    "cylinder": (cylinder(0.5, 2.0, 256), np.pi / 2),
    "cone": (cylinder(0.5, 3.0, 256, top=0), np.pi / 4),
    "pipe": (lathe([(0.5, 0), (1, 0), (1, 1), (0.5, 1), (0.5, 0)], 256), 0.75 * np.pi),
    "torus": (torus(1.0, 0.25, 128, 64), 2 * np.pi**2 * 0.25**2),
    "tube": (tube([(0, 0, 0), (0, 0, 1), (0, 0, 3)], 0.5, 256), 0.75 * np.pi),
    "prism": (prism([(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)], 0.5), 1.5),
    "loft": (loft(np.array([rounded_ring((0, 2), (0, 1), z, 1e-3) for z in (0.0, 2.0)])), 4.0),
}


def _volume(shape: Shape) -> float:
    """Signed volume by the divergence theorem, from each planar polygon's area vector."""
    total = 0.0
    for face in shape.faces:
        corners = shape.vertices[list(face)]
        total += corners[0] @ np.cross(corners, np.roll(corners, -1, axis=0)).sum(axis=0) / 6
    return total


@pytest.mark.parametrize("name", CLOSED)
def test_closed_outward_and_with_the_right_volume(name: str) -> None:
    shape, volume = CLOSED[name]
    edges = Counter((a, b) for face in shape.faces for a, b in zip(face, (*face[1:], face[0]), strict=True))
    assert max(edges.values()) == 1, "an edge is used twice in the same direction"
    assert all((b, a) in edges for a, b in edges), "an edge has only one face"
    assert _volume(shape) == pytest.approx(volume, rel=3e-3)
    assert len(shape.uv) == sum(map(len, shape.faces))


def test_turning_and_inverting_keep_and_flip_the_volume() -> None:
    shape = torus(1.0, 0.3).rotated("x", 30).rotated("z", 77).moved(1, 2, 3).scaled(2, 1, 1)
    assert _volume(shape.inverted()) == pytest.approx(-_volume(shape))
    assert _volume(shape + shape.moved(x=5)) == pytest.approx(2 * _volume(shape))
    assert np.allclose(box(1, 1, 1).moved(x=2).rotated("z", 90).centers().mean(axis=0), [0, 2, 0])


def test_texture_coordinates_of_a_sheet_run_once_across() -> None:
    grid = np.stack(np.meshgrid(np.arange(4.0), np.arange(3.0), [0.0]), axis=-1).reshape(3, 4, 3)
    flat = sheet(grid, wrap=False)
    corners = flat.vertices[[i for face in flat.faces for i in face]]
    assert np.allclose(flat.uv, corners[:, :2] / [3, 2])


def test_textures_tile_and_the_leaf_is_cut_out() -> None:
    for image in (paint.masonry(0xB5523B, 0x8E3B2B, 0xD8CFC2, 8), paint.globe(), paint.checks(0, 0xFFFFFF)):
        assert image.dtype == np.uint8 and image.shape[2] == 4 and (image[..., 3] == 255).all()
    u = np.array([0.25, 1.25, -0.75])
    assert np.ptp(paint.clouds(u, u, 4, 1)) < 1e-12
    alpha = paint.leaf()[..., 3]
    assert set(np.unique(alpha)) == {0, 255} and 0.2 < (alpha == 255).mean() < 0.7
