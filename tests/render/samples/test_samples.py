"""The sample models: every format imports again, and their insides are enclosed."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open3d as o3d
import pytest

from render.samples import LICENSE
from tests.helpers.places import ROOT

FORMATS = {"glb", "gltf", "obj", "ply", "stl", "fbx", "usdc", "usda", "usdz", "blend", "dae", "abc"}
TEXTURES = {
    "house/house.gltf": 3,
    "village.blend": 2,
    "fridge/fridge.obj": 1,
    "chest.glb": 1,
    "chair/chair.dae": 2,
    "watermelon.usdz": 1,
    "bottle.glb": 1,
    "mushroom/mushroom.obj": 1,
    "tree.glb": 1,
    "globe.glb": 1,
}
FULL = (
    "car.glb",
    "bus.fbx",
    "house/house.gltf",
    "fridge/fridge.obj",
    "chest.glb",
    "nested_shells.glb",
    "cube_in_sphere.usdc",
    "matryoshka.glb",
    "walnut.ply",
    "watermelon.usdz",
    "bottle.glb",
)
"""Models with objects inside that cannot be seen from outside."""


@dataclass(frozen=True)
class Part:
    name: str
    triangles: np.ndarray  # (T, 3, 3) world
    color: np.ndarray | None  # (3,) linear
    is_instance: bool
    root: bool

    @property
    def inside(self) -> bool:
        return self.name.startswith("Inside")


@dataclass(frozen=True)
class Model:
    parts: list[Part]
    images: dict[str, list[int]]

    def triangles(self) -> np.ndarray:
        return np.concatenate([part.triangles for part in self.parts])


def _blender(*arguments: str) -> None:
    """Run Python with bpy in its own process, so that a Blender crash fails only one test."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, timeout=240, capture_output=True, text=True
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "set"
    _blender("-m", "render.samples", str(path))
    return path


@pytest.fixture(scope="session")
def models(folder: Path) -> dict[str, Model]:
    found = folder.parent / "contents.npz"
    _blender("-m", "tests.helpers.contents", str(folder), str(found))
    with np.load(found) as arrays:
        records = json.loads(str(arrays["models"]))
        return {
            path: Model(
                [
                    Part(
                        name=part["name"],
                        triangles=arrays[f"{path}:{n}"],
                        color=None if part["color"] is None else np.array(part["color"]),
                        is_instance=part["is_instance"],
                        root=part["root"],
                    )
                    for n, part in enumerate(record["objects"])
                ],
                record["images"],
            )
            for path, record in records.items()
        }


def _list(folder: Path) -> list[dict[str, str]]:
    with (folder / "samples.csv").open() as file:
        return list(csv.DictReader(file))


def _glb_json(path: Path) -> dict:
    data = path.read_bytes()
    return json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])


def test_list_names_every_file_with_caption_and_license(folder: Path) -> None:
    rows = _list(folder)
    assert len(rows) >= 16
    assert len({row["caption"] for row in rows}) == len(rows)
    assert all((folder / row["path"]).is_file() and row["caption"] and row["category"] for row in rows)
    assert {row["license"] for row in rows} == {LICENSE}
    models = [p for p in folder.rglob("*") if p.suffix.lstrip(".") in FORMATS]
    assert sorted(p.relative_to(folder).as_posix() for p in models) == sorted(row["path"] for row in rows)


def test_every_format_is_there_and_small(folder: Path) -> None:
    assert {Path(row["path"]).suffix.lstrip(".") for row in _list(folder)} == FORMATS
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 8e6
    stl = (folder / "gear.stl").read_bytes()
    assert len(stl) == 84 + 50 * int.from_bytes(stl[80:84], "little"), "not a binary STL"


def test_each_model_comes_back_with_faces_and_a_box(models: dict[str, Model]) -> None:
    for path, model in models.items():
        corners = model.triangles().reshape(-1, 3)
        assert len(corners) >= 3 * 100, path
        extent = np.ptp(corners, axis=0)
        assert np.isfinite(corners).all() and extent.min() > 0.3 and extent.max() < 10, (path, extent)


def test_z_is_up_in_every_format(models: dict[str, Model]) -> None:
    """Heights are as modeled: a forgotten axis swap in an importer or exporter would change them."""
    tall = {
        "bottle.glb": 2.08,
        "house/house.gltf": 3.91,
        "fridge/fridge.obj": 1.85,
        "robot.fbx": 2.56,
        "snowman.ply": 3.3,
        "gear.stl": 0.51,
        "toy_blocks.usda": 1.6,
        "chair/chair.dae": 1.0,
        "sailboat.abc": 2.75,
        "village.blend": 2.32,
    }
    for path, height in tall.items():
        assert np.ptp(models[path].triangles()[..., 2]) == pytest.approx(height, abs=0.02), path


def test_textures_resolve(models: dict[str, Model]) -> None:
    for path, model in models.items():
        assert len(model.images) == TEXTURES.get(path, 0), (path, model.images)
        assert all(min(size) >= 128 for size in model.images.values()), (path, model.images)


def test_vertex_colors_survive(models: dict[str, Model]) -> None:
    """The boat's hull: red 0xB8 in sRGB is 0.479 linear."""
    hull = next(part for part in models["sailboat.abc"].parts if part.name == "Hull")
    assert hull.color == pytest.approx([0.479, 0.034, 0.025], abs=0.01)
    for path in ("nested_shells.glb", "snowman.ply", "walnut.ply"):
        assert all(part.color is not None for part in models[path].parts), path


def test_instances_linked_meshes_and_roots(folder: Path, models: dict[str, Model]) -> None:
    village = models["village.blend"].parts
    assert sum(part.is_instance for part in village) == 9  # three huts of three objects
    donut = _glb_json(folder / "donut.glb")
    assert len(donut["meshes"]) == 6 and len(donut["nodes"]) > 80
    assert [part.root for part in models["toy_blocks.usda"].parts] == [True] * 5
    assert sum(part.root for part in models["robot.fbx"].parts) == 1


def test_materials_of_each_kind(folder: Path) -> None:
    def material(path: str, name: str) -> dict:
        return next(m for m in _glb_json(folder / path)["materials"] if m["name"] == name)

    assert material("tree.glb", "Leaf")["alphaMode"] == "MASK"
    assert material("bottle.glb", "Green glass")["extensions"]["KHR_materials_transmission"]
    assert material("desk_lamp.glb", "Bulb")["extensions"]["KHR_materials_emissive_strength"]
    assert material("trophy.glb", "Gold")["pbrMetallicRoughness"].get("metallicFactor", 1.0) == 1.0
    assert "COLOR_0" in _glb_json(folder / "nested_shells.glb")["meshes"][0]["primitives"][0]["attributes"]


@pytest.mark.parametrize("path", FULL)
def test_nothing_inside_is_seen_from_outside(models: dict[str, Model], path: str) -> None:
    model = models[path]
    inside = [p.triangles for p in model.parts if p.inside] or _all_but_the_largest(model.triangles())
    assert inside, f"{path} has nothing inside"
    scene = _scene(model.triangles())
    for triangles in inside:
        points, normals = _surface_points(triangles, 24)
        for side in (1e-4, -1e-4):
            escaped = _escapes(scene, points + side * normals)
            assert not escaped.any(), f"{path}: {escaped.sum()} of {escaped.size} rays leave"


def test_the_escape_test_sees_a_way_out(models: dict[str, Model]) -> None:
    """The control: without its walls the house is open, and half of the rays leave a sphere's surface."""
    house = models["house/house.gltf"]
    open_house = np.concatenate(
        [p.triangles for p in house.parts if p.name not in ("Walls", "Inside plaster")]
    )
    bed = next(p.triangles for p in house.parts if p.name == "Inside bed")
    assert _escapes(_scene(open_house), _surface_points(bed, 24)[0]).any()
    ball = models["cube_in_sphere.usdc"].triangles()
    points, normals = _surface_points(ball[np.linalg.norm(ball, axis=2).min(axis=1) > 0.9], 24)
    assert _escapes(_scene(ball), points + 1e-3 * normals).mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("path", [p for p in FULL if p != "walnut.ply"])
def test_the_inside_has_colors_of_its_own(models: dict[str, Model], path: str) -> None:
    parts = models[path].parts
    outside = np.array([p.color for p in parts if not p.inside and p.color is not None])
    inside = np.array([p.color for p in parts if p.inside and p.color is not None])
    nearest = np.linalg.norm(inside[:, None] - outside[None], axis=2).min(axis=1)
    assert nearest.max() > 0.2, (path, nearest)


def test_the_same_bytes_again(folder: Path, tmp_path: Path) -> None:
    """The exporters whose output depends only on the scene; the others write dates and addresses."""
    _blender("-m", "render.samples", str(tmp_path))
    steady = {".glb", ".gltf", ".bin", ".png", ".obj", ".mtl", ".ply", ".stl", ".dae", ".csv"}
    files = [p.relative_to(folder) for p in folder.rglob("*") if p.suffix in steady]
    assert len(files) > 20
    assert [str(p) for p in files if (folder / p).read_bytes() != (tmp_path / p).read_bytes()] == []


def _scene(triangles: np.ndarray) -> Any:
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    vertices = triangles.reshape(-1, 3).astype(np.float32)
    faces = np.arange(len(vertices), dtype=np.uint32).reshape(-1, 3)
    scene.add_triangles(o3d.core.Tensor.from_numpy(vertices), o3d.core.Tensor.from_numpy(faces))
    return scene


def _escapes(scene: Any, points: np.ndarray) -> np.ndarray:
    """(N, 200) bool: for each point, which of 200 evenly spread directions leave the model."""
    z = 1 - (2 * np.arange(200) + 1) / 200
    turn = np.arange(200) * np.pi * (3 - np.sqrt(5))
    directions = np.column_stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z])
    rays = np.concatenate(np.broadcast_arrays(points[:, None], directions[None]), axis=2).astype(np.float32)
    return np.isinf(scene.cast_rays(rays)["t_hit"].numpy())


def _surface_points(triangles: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random points, uniform over the area, and their unit normals, each (N, 3)."""
    rng = np.random.default_rng(0)
    cross = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    area = np.linalg.norm(cross, axis=1)
    chosen = rng.choice(len(triangles), count, p=area / area.sum())
    weights = rng.dirichlet(np.ones(3), count)
    return np.einsum("nc,ncd->nd", weights, triangles[chosen]), cross[chosen] / area[chosen, None]


def _all_but_the_largest(triangles: np.ndarray) -> list[np.ndarray]:
    """The connected components of a mesh except the largest, for formats without object names."""
    keys = np.round(triangles.reshape(-1, 3) * 1e6).astype(np.int64)
    vertices, numbers = np.unique(keys, axis=0, return_inverse=True)
    mesh = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(vertices.astype(float)), o3d.utility.Vector3iVector(numbers.reshape(-1, 3))
    )
    piece = np.asarray(mesh.cluster_connected_triangles()[0])
    pieces = [triangles[piece == n] for n in range(piece.max() + 1)]
    return sorted(pieces, key=lambda t: np.ptp(t.reshape(-1, 3), axis=0).max())[:-1]
