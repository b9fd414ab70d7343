"""Cameras of pictures in a file: `transforms.json`, as NeRF tools and view bundles have it.

A frame names its picture (`file_path`) and has the camera's pose (`transform_matrix`, camera to world, OpenGL
axes). `camera_angle_x`, the field of view in radians, is the file's or the frame's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from render.failures import DAMAGE, UserError
from training.conditioning.cameras import camera_numbers


def read_poses(path: Path) -> dict[str, np.ndarray]:
    """The cameras, (19,) float32, by the pictures' paths in the file. UserError if the file is none."""
    try:
        whole = json.loads(path.read_text())
        frames = {str(frame["file_path"]): _camera(frame, whole) for frame in whole["frames"]}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file of cameras.") from None
    except (OSError, *DAMAGE) as error:
        raise UserError(
            f"{path}: not a file of cameras ({type(error).__name__}: {error}). Give a transforms.json with "
            "camera_angle_x and, for each frame, file_path and transform_matrix."
        ) from error
    return frames


def pose_of(image: Path, poses: Mapping[str, np.ndarray], path: Path) -> np.ndarray:
    """The camera of a picture, (19,), by the end of its path. UserError if there is none, or several."""
    names = [name for name in poses if image.as_posix().endswith(name.removeprefix("./"))]
    names = names or [name for name in poses if Path(name).stem == image.stem]
    if len(names) != 1:
        raise UserError(f"{path}: {len(names)} frames have the picture {image}. Give one frame for each.")
    return poses[names[0]]


def write_poses(path: Path, cameras: Mapping[str, np.ndarray]) -> None:
    """Write cameras (19,) by their pictures' paths."""
    frames = [
        {
            "file_path": name,
            "transform_matrix": camera[:16].reshape(4, 4).tolist(),
            "camera_angle_x": 2 * float(np.arctan(camera[16])),
        }
        for name, camera in cameras.items()
    ]
    path.write_text(json.dumps({"frames": frames}, indent=1))


def _camera(frame: Mapping[str, Any], whole: Mapping[str, Any]) -> np.ndarray:
    pose = np.array(frame["transform_matrix"], np.float64)
    fov = float(frame.get("camera_angle_x", whole.get("camera_angle_x", np.nan)))
    if pose.shape != (4, 4) or not np.isfinite(pose).all() or not 0 < fov < np.pi:
        raise ValueError(f"{frame['file_path']}: its pose must be 4 x 4 numbers, camera_angle_x in radians")
    return camera_numbers(pose, fov)
