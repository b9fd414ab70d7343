"""The contact sheet shows what is there, and says so when nothing is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fuse.config import FuseConfig
from fuse.dataset.layout import Layout
from fuse.dataset.manifest import describe, write_manifest
from fuse.job import FuseJob
from fuse.preview.picture import BACKGROUND
from fuse.preview.sheet import write_sheet
from fuse.worker import process
from render.bundle import Camera, Mesh, View, write_bundle
from render.cameras import directions, look_at_origin
from render.failures import UserError
from render.job import Placement


def disc(camera: Camera, size: int = 48) -> View:
    """A red disc of radius 1 that faces the camera."""
    x = ((np.arange(size) + 0.5) / size * 2 - 1) * np.tan(camera.fov / 2)
    distance = float(np.linalg.norm(camera.camera_to_world[:3, 3]))
    hit = np.hypot(*np.meshgrid(x, x)) * distance < 1
    red = np.where(hit[..., None], (255, 0, 0), 0).astype(np.uint8)
    normal = np.where(hit[..., None], camera.camera_to_world[:3, 2], 0).astype(np.float32)
    alpha = np.where(hit, 255, 0).astype(np.uint8)
    return View(camera, np.dstack([red, alpha]), np.where(hit, distance, 0).astype(np.float32), red, normal)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    layout = Layout(tmp_path / "out")
    toward = directions("fibonacci", 4, np.random.default_rng(0))
    views = [disc(Camera(look_at_origin(d, 4.0), 0.7)) for d in toward]
    meta = {"uid": "disc", "source": "disc.glb", "source_sha256": "0" * 64, "format": "glb"}
    bundle = layout.bundle("disc")
    bundle.parent.mkdir(parents=True)
    layout.clouds.mkdir()
    mesh = Mesh(np.zeros((3, 3), np.float32), np.zeros((1, 3), np.int32))
    write_bundle(bundle, views, mesh, meta | {"center": [0, 0, 0], "scale": 1.0})
    part = layout.clouds / "part-00000.parquet"
    job = FuseJob(uid="disc", config_hash="", config=FuseConfig(points=256), seed=0)
    process(job, Placement(input=bundle, output=part, scratch=layout.root))
    write_manifest(layout.clouds, [describe(part)])
    return layout.root


def test_four_panels_of_one_model(dataset: Path, tmp_path: Path) -> None:
    picture = tmp_path / "sheet.png"
    assert write_sheet(dataset, picture, ["disc.glb"], size=64, across=2, most=5) == 1
    pixels = np.array(Image.open(picture))[:64]
    assert pixels.shape[1] == 4 * 64
    for panel in (0, 2, 3):  # lit, albedo and cloud are red in the middle, gray in the corner
        middle = pixels[32, panel * 64 + 32].astype(int)
        assert middle[0] > 150 and middle[1:].max() < 40
        assert tuple(pixels[1, panel * 64 + 1]) == BACKGROUND
    assert pixels[32, 64 + 32].min() > 60 and pixels[1, 64 + 1].max() == 0  # depth


def test_an_unknown_model_and_an_unknown_ending_are_named(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"chair\.glb"):
        write_sheet(dataset, tmp_path / "sheet.png", ["chair.glb"], size=64, across=2, most=5)
    for name in ("sheet.txt", "sheet"):
        with pytest.raises(UserError, match=f"{name}: no picture has this ending"):
            write_sheet(dataset, tmp_path / name, (), size=64, across=2, most=5)
