"""The inside of shapes whose truth is known, by the commands; judged by a ray caster of the tests' own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import open3d as o3d
import pytest

from fuse.dataset.manifest import read_manifest
from fuse.dataset.shard import Row, decode, read_rows
from tests.helpers import shapes
from tests.helpers.commands import insideout
from tests.helpers.shapes import Shape

SEEN, UNSEEN = (40, 120, 200), (200, 80, 40)
NEAR = 0.05
SHAPES: dict[str, Shape] = {
    "nested spheres": shapes.nested_spheres(),
    "flipped inner shell": shapes.hollow_sphere(),
    "cube in a sphere": shapes.cube_in_sphere(),
    "furnished room": shapes.furnished_room(),
    "bottle": shapes.bottle(),
    "half the faces flipped": shapes.half_flipped(),
    "open bowl": shapes.open_bowl(),
    "intersecting cubes": shapes.intersecting_cubes(),
    "glass with a straw": shapes.glass_with_straw(),
    "leaf before a box": shapes.leaf_before_box(),
}
CONTENTS = ["nested spheres", "flipped inner shell", "cube in a sphere", "furnished room"]
OPEN = ["half the faces flipped", "open bowl", "leaf before a box"]


@dataclass(frozen=True)
class Judge:
    """Rays against the shape as it was written, in its own frame; shares nothing with the labels' code."""

    scene: Any

    def openness(self, points: np.ndarray, directions: int = 1000) -> np.ndarray:
        """(N,) share of random directions in which a ray from just off each (N, 3) point escapes."""
        way = np.random.default_rng(1).normal(size=(directions, 3))
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        free = np.zeros(len(points))
        for block in np.array_split(np.arange(directions), 20):
            start = points[:, None] + 2e-3 * way[block]
            rays = np.concatenate([start, np.broadcast_to(way[block], start.shape)], -1).astype(np.float32)
            free += (~self.scene.test_occlusions(o3d.core.Tensor.from_numpy(rays)).numpy()).sum(1)
        return free / directions


@cache
def judge(name: str) -> Judge:
    scene = o3d.t.geometry.RaycastingScene()
    mesh = SHAPES[name].mesh
    scene.add_triangles(
        o3d.core.Tensor.from_numpy(mesh.vertices), o3d.core.Tensor.from_numpy(mesh.faces.astype(np.uint32))
    )
    return Judge(scene)


def write_ply(path: Path, shape: Shape) -> None:
    """The shape with colored vertices: UNSEEN where a hidden face has them, else SEEN."""
    colors = np.tile(np.array(SEEN, np.uint8), (len(shape.mesh.vertices), 1))
    colors[shape.mesh.faces[shape.hidden]] = UNSEEN
    corners = np.zeros(len(colors), [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    corners["xyz"], corners["rgb"] = shape.mesh.vertices, colors
    faces = np.zeros(len(shape.mesh.faces), [("n", "u1"), ("corners", "<i4", 3)])
    faces["n"], faces["corners"] = 3, shape.mesh.faces
    names = [f"property float {axis}" for axis in "xyz"] + [
        f"property uchar {c}" for c in ("red", "green", "blue")
    ]
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(corners)}", *names]
    head += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    path.write_bytes("\n".join(head).encode() + corners.tobytes() + faces.tobytes())


def samples(shape: Shape, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) points uniform by area and the (N,) faces that they lie on."""
    corners = shape.mesh.vertices[shape.mesh.faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    rng = np.random.default_rng(2)
    face = rng.choice(len(area), count, p=area / area.sum())
    return np.einsum("ni,nij->nj", rng.dirichlet((1, 1, 1), count), corners[face]), face


@dataclass(frozen=True)
class Truth:
    """Points of a shape's surface, uniform by area."""

    place: np.ndarray  # (N, 3)
    openness: np.ndarray  # (N,), as the judge finds it
    unseen: np.ndarray  # (N,) bool, as the shape says


@cache
def truth(name: str) -> Truth:
    place, face = samples(SHAPES[name], 1500)
    return Truth(place, judge(name).openness(place), SHAPES[name].hidden[face])


def reached(points: np.ndarray, by: np.ndarray, near: float = NEAR) -> float:
    """The share of (N, 3) points that have one of `by` (M, 3) near them; 1 for no points."""
    if not len(points) or not len(by):
        return float(not len(points))
    search = o3d.core.nns.NearestNeighborSearch(o3d.core.Tensor.from_numpy(by.astype(np.float32)))
    search.knn_index()
    _, squared = search.knn_search(o3d.core.Tensor.from_numpy(points.astype(np.float32)), 1)
    return float((squared.numpy() < near**2).mean())


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    base = tmp_path_factory.mktemp("inside")
    (base / "models").mkdir()
    for name, shape in SHAPES.items():
        write_ply(base / "models" / f"{name}.ply", shape)
    small = ["--resolution", 128, "--samples", 1]
    for verb in (["render", base / "models", base / "out", *small], ["fuse", base / "out"]):
        done = insideout(*verb, "--workers", 2)
        assert done.returncode == 0, done.stdout + done.stderr
    clouds = base / "out" / "clouds"
    found = [row for part in read_manifest(clouds) for row in read_rows(clouds / part.file)]
    return {Path(row["source"]).stem: row for row in found}


def points(row: Row, name: str) -> np.ndarray:
    """(N, 3) float64: a column's points in the shape's own frame."""
    return decode(row, name).astype(np.float64) / row["scale"] + np.array(row["center"])


@pytest.mark.parametrize("name", SHAPES)
def test_hidden_points_are_hidden_and_none_is_missing(rows: dict[str, Row], name: str) -> None:
    hidden, known = points(rows[name], "hidden_xyz"), truth(name)
    assert (known.openness[known.unseen] == 0).all(), "the shape says what the judge says"
    missing = known.place[known.openness == 0]
    assert reached(missing, hidden) >= 0.99
    if len(hidden):
        assert (judge(name).openness(hidden[:500]) <= 0.002).mean() >= 0.99
    if len(missing) > 150:
        assert len(hidden) == 4096
    if name in OPEN:
        assert len(hidden) <= 10


@pytest.mark.parametrize("name", SHAPES)
def test_outside_points_are_the_outside_and_none_is_missing(rows: dict[str, Row], name: str) -> None:
    outside, known = points(rows[name], "outside_xyz"), truth(name)
    assert reached(known.place[known.openness > 0.02], outside, 2 * NEAR) == 1
    doubtful = outside[:500][judge(name).openness(outside[:500]) == 0]  # if at all, seen through a chink
    assert (judge(name).openness(doubtful, 20_000) == 0).sum() <= 5


@pytest.mark.parametrize("name", CONTENTS)
def test_the_hidden_have_their_own_color(rows: dict[str, Row], name: str) -> None:
    row = rows[name]
    assert np.abs(decode(row, "hidden_albedo").astype(int) - UNSEEN).max() <= 3
    assert np.abs(decode(row, "outside_albedo").astype(int) - SEEN).max() <= 3
    assert decode(row, "hidden_layer").min() >= 1


@pytest.mark.parametrize("name", CONTENTS)
def test_the_hidden_share_of_the_area(rows: dict[str, Row], name: str) -> None:
    _, face = samples(SHAPES[name], 20_000)
    assert rows[name]["quality"]["hidden_fraction"] == pytest.approx(
        SHAPES[name].hidden[face].mean(), abs=0.02
    )


def test_normals_of_the_hidden_are_the_surfaces(rows: dict[str, Row]) -> None:
    """Balls about the center: every normal is along the radius, to one side or the other."""
    row = rows["nested spheres"]
    radial = decode(row, "hidden_xyz") / np.linalg.norm(decode(row, "hidden_xyz"), axis=1, keepdims=True)
    normal = decode(row, "hidden_normal") / 127.0
    assert np.abs((radial * normal).sum(1)).min() > 0.99


def test_every_prefix_of_the_hidden_is_even(rows: dict[str, Row]) -> None:
    xyz = decode(rows["nested spheres"], "hidden_xyz")
    for count in (64, 512):
        gaps = np.linalg.norm(xyz[:count, None] - xyz[None, :count], axis=-1) + 9 * np.eye(count)
        assert gaps.min() > 0.5 * np.median(gaps.min(1))
