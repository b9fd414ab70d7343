"""Polygons that name a vertex twice keep their shape: a plate with a hole, cut by an edge there and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from render.bundle import Bundle
from render.importing.polygons import simple

PLATE = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
KEYHOLE = [0, 1, 2, 3, 0, 4, 7, 6, 5, 4]
BESIDE = [[8, 9, 10, 10], [8, 10, 11, 8]]  # triangles of four corners, one of which is too many
PLACES = np.concatenate([np.pad(PLATE, ((0, 0), (0, 1))), [[1, -1, 0], [3, -1, 0], [3, 1, 0], [1, 1, 0]]])
FACES = [KEYHOLE, *BESIDE]
AREA = 4 - 1 + 4


def _rows(separator: str = "\n") -> str:
    return separator.join("{:g} {:g} {:g}".format(*place) for place in PLACES)


def _numbers(end: str) -> str:
    return end.join(" ".join(map(str, face)) for face in FACES)


def _ply() -> str:
    head = "ply\nformat ascii 1.0\nelement vertex 12\n" + "".join(
        f"property float {axis}\n" for axis in "xyz"
    )
    head += "element face 3\nproperty list uchar int vertex_indices\nend_header\n"
    return f"{head}{_rows()}\n" + "".join(f"{len(face)} {' '.join(map(str, face))}\n" for face in FACES)


def _off() -> str:
    return f"OFF\n12 3 0\n{_rows()}\n" + "".join(
        f"{len(face)} {' '.join(map(str, face))}\n" for face in FACES
    )


def _obj() -> str:
    faces = "".join("f " + " ".join(str(i + 1) for i in face) + "\n" for face in FACES)
    return "".join("v {:g} {:g} {:g}\n".format(*place) for place in PLACES) + faces


def _x3d() -> str:
    return (
        f'<X3D version="3.0"><Scene><Shape><IndexedFaceSet convex="false" coordIndex="{_numbers(" -1 ")} -1">'
        f'<Coordinate point="{_rows(" ")}"/></IndexedFaceSet></Shape></Scene></X3D>'
    )


def _usda() -> str:
    sizes, corners = [len(face) for face in FACES], [i for face in FACES for i in face]
    places = ", ".join("({:g}, {:g}, {:g})".format(*place) for place in PLACES)
    colors = "(1, 0, 0), (0, 1, 0), (0, 1, 0)"
    return f"""#usda 1.0
(
    upAxis = "Z"
    metersPerUnit = 1
)
def Mesh "M" {{
    uniform token subdivisionScheme = "none"
    int[] faceVertexCounts = {sizes}
    int[] faceVertexIndices = {corners}
    point3f[] points = [{places}]
    color3f[] primvars:displayColor = [{colors}] (interpolation = "uniform")
    texCoord2f[] primvars:st = [{", ".join(f"({i}, 0)" for i in range(12))}] (interpolation = "vertex")
}}
"""


TEXTS = {"ply": _ply, "off": _off, "obj": _obj, "x3d": _x3d, "usda": _usda}


@pytest.mark.parametrize("kind", TEXTS)
def test_area(kind: str, render: Callable[..., Bundle], tmp_path: Path) -> None:
    (tmp_path / f"a.{kind}").write_text(TEXTS[kind]())
    bundle = render(tmp_path / f"a.{kind}")
    mesh, scale = bundle.mesh(), bundle.meta["scale"]
    a, b, c = mesh.vertices[mesh.faces].astype(float).swapaxes(0, 1) / scale
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2 == pytest.approx(AREA, rel=1e-5)
    assert not any("area" in note for note in bundle.meta["notes"])
    if kind == "usda":
        albedo = np.concatenate([view.albedo[view.depth > 0] for view in bundle.views()]).astype(int)
        for color, share in (((255, 0, 0), 3 / 7), ((0, 255, 0), 4 / 7)):
            assert (np.abs(albedo - color).max(1) <= 2).mean() == pytest.approx(share, abs=0.05)


def test_only_what_must_change_does() -> None:
    assert simple(np.array([0, 1, 2, 0, 2, 3]), np.array([3, 3]), 4) is None
    corners, sizes = np.array([5, 5, 6, 0, 1, 1, 2, *KEYHOLE, 0, 1, 2]), np.array([3, 4, 10, 3])
    found = simple(corners, sizes, 8)
    assert found is not None
    assert found.sizes.tolist() == [3, 10, 3] and found.kept_faces.tolist() == [1, 2, 3]
    assert found.copied.tolist() == [0, 4]
    assert found.corners.tolist() == [0, 1, 2, 0, 1, 2, 3, 8, 4, 7, 6, 5, 9, 0, 1, 2]
    assert corners[found.kept_corners].tolist() == [0, 1, 2, *KEYHOLE, 0, 1, 2]
