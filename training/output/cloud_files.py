"""Generated clouds as files that other tools open.

Labels are kept: as a PLY property `label`, an npz array `label` (1 is hidden), or two nodes of a GLB. A PLY
and an npz also say which points the pictures could have shown (`seen`, 1 or 0).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fuse.export.model import write_ply, write_point_e
from training.data.channels import from_network, hidden_of

FORMATS = (".ply", ".npz", ".glb")


def write_points(path: Path, points: np.ndarray, seen: np.ndarray | None = None) -> None:
    """Write (C, N) in the network's frame, and (N,) bool `seen`, as .ply, .npz or .glb."""
    (xyz, rgb), hidden = from_network(points), hidden_of(points)
    match path.suffix.lower():
        case ".ply":
            write_ply(path, xyz, rgb, label=hidden, seen=seen)
        case ".npz":
            write_point_e(path, xyz, rgb, hidden, seen)
        case _:
            write_glb(path, xyz, rgb, hidden)


def write_glb(path: Path, xyz: np.ndarray, rgb: np.ndarray, hidden: np.ndarray | None = None) -> None:
    """Write xyz (N, 3) float32 and rgb (N, 3) uint8 as a binary glTF, which has Y up.

    With `hidden`, (N,) bool, there are two nodes, `outside` and `hidden`.
    """
    import trimesh

    upright = xyz[:, [0, 2, 1]] * np.array([1, 1, -1], np.float32)
    kinds = {"outside": np.ones(len(xyz), bool)} if hidden is None else {"outside": ~hidden, "hidden": hidden}
    scene = trimesh.Scene()
    for name, some in kinds.items():
        if some.any():
            scene.add_geometry(trimesh.PointCloud(upright[some], rgb[some]), name, name)
    path.write_bytes(scene.export(file_type="glb"))  # pyright: ignore[reportArgumentType]
