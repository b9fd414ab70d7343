"""Shard rows of small colored shapes, each with pictures of its own."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from fuse.dataset.shard import image_column, interior_column, layers_column

SHAPES = ("ball", "box", "rod", "plate")


def make_row(
    index: int, views: int, points: int, split: str = "train", hidden: int = 0, solid: int = 0
) -> dict[str, Any]:
    """A shard row: one of four shapes in its own color, seen as a disc or square of that color.

    Its hidden points are the same shape at half the size, in the complementary color; its solid ones too.
    """
    rng = np.random.default_rng(index)
    shape = SHAPES[index % 4]
    rgb = rng.integers(0, 256, 3).astype(np.uint8)
    xyz = _surface(shape, rng, points)
    row: dict[str, Any] = {
        "uid": f"{shape}-{index:03d}",
        "source": f"{shape}.glb",
        "source_sha256": "0" * 64,
        "format": "glb",
        "split": split,
        "caption": None,
        "category": shape,
        "license": None,
        "center": np.zeros(3, np.float32),
        "scale": 1.0,
        "n_outside": points,
        "n_hidden": hidden,
        "n_solid": solid,
        "outside_xyz": xyz,
        "outside_rgb": np.tile(rgb, (points, 1)),
        "outside_albedo": np.tile(255 - rgb, (points, 1)),
        "outside_normal": np.zeros((points, 3), np.int8),
        "outside_openness": np.full(points, 128, np.uint8),
        "hidden_xyz": _surface(shape, rng, hidden) / 2,
        "hidden_albedo": np.tile(rgb, (hidden, 1)),
        "hidden_normal": np.zeros((hidden, 3), np.int8),
        "hidden_layer": np.ones(hidden, np.uint8),
        "hidden_openness": np.zeros(hidden, np.uint8),
        "solid_xyz": _surface(shape, rng, solid) / 2,
        "solid_method": "winding" if solid else "none",
        "cameras": [{"camera_to_world": _around(view), "fov": 0.7} for view in range(views)],
        "quality": _quality(points, hidden),
        "cluster": None,
        "weight": 1.0,
        "seed": index,
    }
    for view in range(views):
        row[image_column(view)] = _picture(shape, rgb, view)
        row[interior_column(view)] = _mask(255 * (shape == "ball"))
        row[layers_column(view)] = _mask(4 if shape == "ball" else 2)
    return row


def _quality(points: int, hidden: int) -> dict[str, Any]:
    """Measures of as many points; those that no test asks for are constant."""
    return {
        "singular_values": np.ones(3, np.float32),
        "dense_outside": points,
        "dense_hidden": hidden,
        "dense_cracks": 0,
        "hidden_fraction": 0.0,
        "spacing": 0.1,
        "footprint": 0.01,
        "mixed_dropped": 0,
        "mixed_kept": 0,
        "watertight": False,
        **dict.fromkeys(("closed_share", "volume", "volume_fraction"), 0.0),
        **dict.fromkeys(("thickness_low", "thickness_median", "thickness_high"), 0.0),
        "shells": 0,
    }


def _around(view: int) -> np.ndarray:
    """(16,) float32: camera-to-world of a camera on the horizon, 4 from the origin, which it looks at."""
    turn = 1.3 * view
    away = np.array([np.cos(turn), np.sin(turn), 0])
    pose = np.eye(4)
    pose[:3] = np.stack([np.cross([0, 0, 1], away), [0, 0, 1], away, 4 * away], axis=1)
    return pose.astype(np.float32).ravel()


def _surface(shape: str, rng: np.random.Generator, points: int) -> np.ndarray:
    unit = rng.normal(size=(points, 3))
    if shape == "ball":
        xyz = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    else:
        xyz = unit / np.abs(unit).max(axis=1, keepdims=True)
        xyz *= {"box": (1, 1, 1), "rod": (0.15, 0.15, 1), "plate": (1, 1, 0.1)}[shape]
    return xyz.astype(np.float32)


def _mask(value: int) -> bytes:
    """A PNG of that value within a square in the middle."""
    image = Image.new("L", (64, 64))
    ImageDraw.Draw(image).rectangle((16, 16, 48, 48), fill=value)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _picture(shape: str, rgb: np.ndarray, view: int) -> bytes:
    image = Image.new("RGBA", (64, 64))
    box = {"ball": (8, 8, 56, 56), "box": (12, 12, 52, 52), "rod": (28, 4, 36, 60), "plate": (4, 28, 60, 36)}[
        shape
    ]
    draw = ImageDraw.Draw(image)
    (draw.ellipse if shape == "ball" else draw.rectangle)(box, fill=(*map(int, rgb), 255))
    draw.point((0, view), fill=(255, 255, 255, 1))  # every view has its own bytes
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
