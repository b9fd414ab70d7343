"""All of ../shared/models as the pipeline imports them, against trimesh and assimp: box, area, parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import assimp_py
import numpy as np
import pytest
import trimesh

from pipeline.engine.supervisor import Supervisor
from pipeline.sandbox.process import Limits
from render.job import Job, Placement
from tests.helpers.places import MODELS

Y_UP = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)
WITH_TRIMESH = {".glb": True, ".gltf": True, ".obj": True, ".ply": False, ".stl": False, ".off": False}
"""Suffix -> whether y is up. trimesh reads Collada with pycollada too, so assimp is asked about that."""
WITH_ASSIMP = {".fbx", ".dae"}
CONCAVE = "trimesh cuts concave polygons into fans that leave them; Newell's area of the polygons is ours"
BENT = "its polygons are not flat: each way to cut them has another area"
POSED = "skins stand in their pose here and in their bind shape there"
SHAPED = "the file sets weights of blend shapes, which the other library does not apply"
DRACO = "trimesh has no Draco decoder"
POINTS = "only points, no faces, in both"
EXPLAINED = {
    "assimp/OBJ/concave_polygon.obj": CONCAVE,
    "assimp/OBJ/point_cloud.obj": POINTS,
    "assimp/glTF2/MorphPrimitivesTest/glTF/MorphPrimitivesTest.gltf": SHAPED,
    "assimp/glTF2/simple_skin/simple_skin.gltf": POSED,
    "draco/Box/glTF_Binary/Box_Draco.glb": DRACO,
    "kaykit/Character-Pack-Adventures-1.0/Characters/gltf/Knight.glb": POSED,
    "playcanvas/chess-board.glb": DRACO,
    "playcanvas/jet-fighter.glb": DRACO,
    "sweethome3d/blendswap-cc0/peterbilt/peterbilt.obj": CONCAVE,
    "sweethome3d/blendswap-cc0/refrigerator/refrigerator.obj": CONCAVE,
    "sweethome3d/blendswap-cc0/showerStall/showerStall.obj": CONCAVE,
    "sweethome3d/blendswap-cc0/spiralStaircase/spiralStaircase.obj": BENT,
    "trimesh/points_bin.ply": POINTS,
    "ufbx/maya_blend_shape_cube_7700_binary.fbx": SHAPED,
    "ufbx/maya_kenney_character_7700_binary.fbx": POSED,
    "ufbx/maya_nurbs_surface_sphere_7500_ascii.fbx": "NURBS surfaces, which Blender does not read from FBX",
}
"""Path below ../shared/models -> why the two disagree; ours is right, or refuses with a reason."""


@dataclass(frozen=True)
class Measures:
    low: np.ndarray  # (3,) float64, world, z up
    high: np.ndarray  # (3,) float64
    area: float
    parts: int | None = None  # None where the library splits parts by material

    def difference(self, other: Measures, scaled: bool) -> str:
        """What differs by more than 0.5 %; `scaled` ignores place, unit of length and axes."""
        ours, theirs = self.high - self.low, other.high - other.low
        unit, their_unit = (ours.max(), theirs.max() or 1.0) if scaled else (1.0, 1.0)
        said = []
        if scaled:
            box = np.abs(np.sort(ours / unit) - np.sort(theirs / their_unit)).max()
        else:
            box = max(np.abs(self.low - other.low).max(), np.abs(self.high - other.high).max()) / ours.max()
        if box > 0.005:
            said.append(f"box {self.low} {self.high}, not {other.low} {other.high}")
        area, their_area = self.area / unit**2, other.area / their_unit**2
        if abs(area - their_area) > 0.005 * max(area, their_area):
            said.append(f"area {area:.6g}, not {their_area:.6g}")
        if other.parts is not None and other.parts != self.parts:
            said.append(f"{self.parts} parts, not {other.parts}")
        return "; ".join(said)


@pytest.fixture(scope="module")
def child() -> Iterator[Supervisor]:
    supervisor = Supervisor("tests.helpers.measure_stage", Limits(timeout=240, memory_mib=6000))
    yield supervisor
    supervisor.close()


def _models() -> list[Path]:
    suffixes = WITH_TRIMESH.keys() | WITH_ASSIMP
    return sorted(p for p in MODELS.rglob("*") if p.suffix.lower() in suffixes) if MODELS.is_dir() else []


@pytest.mark.soak
@pytest.mark.skipif(not MODELS.is_dir(), reason="../shared/models is not here")
def test_models_measure_what_other_libraries_read(child: Supervisor, tmp_path: Path) -> None:
    found = {}
    for path in _models():
        name, output = path.relative_to(MODELS).as_posix(), tmp_path / "measures"
        place = Placement(input=path, output=output, scratch=tmp_path, input_sha256="0" * 64)
        outcome = child.run(Job(uid="test", config_hash="test"), place)
        try:
            theirs = _assimp(path) if path.suffix.lower() in WITH_ASSIMP else _trimesh(path)
        except Exception as error:  # the other library's troubles are no business of this test
            theirs = str(error)
        if not outcome.ok:
            found[name] = f"{outcome.kind}: {outcome.message}"
        elif isinstance(theirs, Measures):
            ours = json.loads(output.read_text())
            measures = Measures(np.array(ours["low"]), np.array(ours["high"]), ours["area"], ours["parts"])
            found[name] = measures.difference(theirs, path.suffix.lower() in WITH_ASSIMP)
    differing = {name: said for name, said in found.items() if said}
    assert len(found) > 60
    assert differing.keys() == EXPLAINED.keys(), json.dumps(differing, indent=1)


def _trimesh(path: Path) -> Measures:
    scene = trimesh.load_scene(path, process=False)
    turn = Y_UP if WITH_TRIMESH[path.suffix.lower()] else np.eye(3)
    corners = []
    for node in scene.graph.nodes_geometry:
        matrix, name = scene.graph[node]
        mesh: Any = scene.geometry[name]
        if isinstance(mesh, trimesh.Trimesh):
            places = mesh.vertices @ matrix[:3, :3].T + matrix[:3, 3]
            corners.append((places @ turn.T)[mesh.faces])
    return _measured(np.concatenate(corners), None)


def _assimp(path: Path) -> Measures:
    scene = assimp_py.import_file(str(path), assimp_py.Process_Triangulate)
    corners: list[np.ndarray] = []
    parts = _collect(scene, scene.root_node, np.eye(4), corners)
    return _measured(np.concatenate(corners), parts)


def _collect(scene: Any, node: Any, parent: np.ndarray, corners: list[np.ndarray]) -> int:
    """Append the triangles below a node, (F, 3, 3) each; how many nodes have any."""
    matrix = parent @ np.array(node.transformation, float)
    before = len(corners)
    for mesh in (scene.meshes[i] for i in node.mesh_indices):
        if mesh.num_faces and mesh.num_indices == 3 * mesh.num_faces:
            vertices = np.array(mesh.vertices, float).reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
            corners.append(vertices[np.array(mesh.indices).reshape(-1, 3)])
    own = int(len(corners) > before)
    return own + sum(_collect(scene, child, matrix, corners) for child in node.children)


def _measured(corners: np.ndarray, parts: int | None) -> Measures:
    """`corners` (F, 3, 3) float64: the triangles; duplicates count once, as in a frozen scene."""
    step = np.ptp(corners, axis=(0, 1)).max() * 1e-6 or 1.0
    middles = np.round(corners.mean(1) / step)
    corners = corners[np.unique(middles, axis=0, return_index=True)[1]]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = float(np.linalg.norm(cross, axis=1).sum() / 2)
    return Measures(corners.min((0, 1)), corners.max((0, 1)), area, parts)
