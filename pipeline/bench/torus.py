"""A model of as many faces as asked for, a torus.

    insideout bench --faces 2000000

Scans and subdivided meshes are as large.
"""

from __future__ import annotations

from pathlib import Path

RADII = (1.0, 0.4)  # of the ring and of the tube


def write_torus(path: Path, faces: int) -> Path:
    """Write a torus of about `faces` triangles to `path`, binary glTF."""
    import trimesh

    side = max(3, round((faces / 2) ** 0.5))
    torus = trimesh.creation.torus(*RADII, major_sections=side, minor_sections=side)
    torus.export(path, file_type="glb", include_normals=True)
    return path
