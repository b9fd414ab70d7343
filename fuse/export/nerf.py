"""An unzipped view bundle as the dataset that NeRF and splatting tools expect.

    transforms.json        nerfstudio and instant-ngp: intrinsics, splits, depth in thousandths, the cloud
    transforms_train.json, transforms_test.json     the layout of NeRF's synthetic scenes, read by 3DGS
    points3d.ply           the outside points with colors and normals: where splats start

A bundle codes each depth image over its own near..far, which those tools do not know and would misread
without a word. So `depth_file_path` leads to images in one unit here, nerfstudio's default of a thousandth
(`depth_unit_scale_factor`), and the finer ones are under `coded_depth_file_path`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from render.bundle import Bundle

POINTS = "points3d.ply"
_UNIT = 1e-3  # normalized units per step of a depth image
_TEST_EVERY = 8  # the usual share of held-out views (mip-NeRF 360)


def write_nerf(folder: Path, bundle: Bundle, has_points: bool) -> None:
    """Rewrite an extracted bundle's transforms.json, and add the files that it names.

    With `has_points`, the folder has POINTS, or will have it.
    """
    (folder / "depth_thousandths").mkdir(exist_ok=True)
    frames = [_frame(folder, bundle, i) for i in range(len(bundle))]
    names = [frame["file_path"] for frame in frames]
    test = names[::_TEST_EVERY]
    _write(
        folder / "transforms.json",
        {
            "camera_angle_x": frames[0]["camera_angle_x"],
            "w": bundle.resolution,
            "h": bundle.resolution,
            "frames": frames,
            "orientation_override": "none",  # nerfstudio would turn the model by the cameras' mean up
            "train_filenames": [name for name in names if name not in test] or names,
            "val_filenames": test,
            "test_filenames": test,
            "aabb_scale": 1,  # instant-ngp: the model's box -1..1 becomes its unit cube
            "scale": 0.5,
            "offset": [0.5, 0.5, 0.5],
        }
        | ({"ply_file_path": POINTS} if has_points else {}),
    )
    _write_synthetic(folder, frames, set(test))


def _frame(folder: Path, bundle: Bundle, index: int) -> dict[str, Any]:
    """A frame with pixel intrinsics and its depth image in thousandths."""
    values = bundle.frames[index].model_dump(mode="json")
    depth = bundle.view(index, hidden=False).depth
    name = f"depth_thousandths/{index:03d}.png"
    code = np.rint(depth / _UNIT).clip(0, 65535).astype(np.uint16)
    Image.fromarray(code).save(folder / name)
    size = bundle.resolution
    focal = size / 2 / math.tan(values["camera_angle_x"] / 2)
    intrinsics = {"fl_x": focal, "fl_y": focal, "cx": size / 2, "cy": size / 2}
    coded = {"coded_depth_file_path": values["depth_file_path"]}
    return values | intrinsics | coded | {"depth_file_path": name}


def _write_synthetic(folder: Path, frames: list[dict[str, Any]], test: set[str]) -> None:
    """The two files of NeRF's synthetic scenes, whose readers add `.png` to each name themselves."""
    for split in ("train", "test"):
        chosen = [frame for frame in frames if (frame["file_path"] in test) == (split == "test")]
        short = [
            {
                "file_path": frame["file_path"].removesuffix(".png"),
                "transform_matrix": frame["transform_matrix"],
            }
            for frame in chosen or frames
        ]
        values = {"camera_angle_x": frames[0]["camera_angle_x"], "frames": short}
        _write(folder / f"transforms_{split}.json", values)


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1) + "\n")
