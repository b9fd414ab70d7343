"""The torus that large models are measured with, against its closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from pipeline.bench.torus import RADII, write_torus


@pytest.mark.parametrize("faces", [18, 1000, 20_000])
def test_a_closed_torus_of_so_many_faces(tmp_path: Path, faces: int) -> None:
    scene = trimesh.load_scene(write_torus(tmp_path / "torus.glb", faces), process=False)
    mesh = scene.to_geometry()
    assert isinstance(mesh, trimesh.Trimesh)
    assert len(mesh.faces) == pytest.approx(faces, rel=0.05)
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.euler_number == 0
    if faces > 1000:
        ring, tube = RADII
        assert mesh.volume == pytest.approx(2 * np.pi**2 * ring * tube**2, rel=0.01)
        across = (
            mesh.triangles_center - mesh.vertices[mesh.faces[:, 0]] + mesh.vertex_normals[mesh.faces[:, 0]]
        )
        assert (np.einsum("ij,ij->i", across, mesh.face_normals) > 0).all()
