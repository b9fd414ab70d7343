"""What `view` writes for Rerun is what the dataset holds, read back from the file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuse.dataset.layout import Layout
from fuse.dataset.shard import decode, read_rows
from render.bundle import Bundle
from tests.helpers.commands import insideout
from tests.helpers.fuse_dataset import add_models

pytest.importorskip("rerun", reason="pip install insideout3d[view]")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of one tower, and `tower.rrd` in it."""
    out = tmp_path_factory.mktemp("view") / "out"
    add_models(out, ["tower"])
    done = insideout("view", out, "tower", "--to", out / "tower.rrd", "--views", "3")
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
    return out


@pytest.fixture(scope="module")
def logged(dataset: Path) -> dict[str, Any]:
    """`/entity:component` -> the values that were logged."""
    from rerun import dataframe

    view = dataframe.load_recording(dataset / "tower.rrd").view(index="log_time", contents="/**")
    table = view.select_static().read_all()
    names = [name.replace("rerun.components.", "").partition("#")[0] for name in table.column_names]
    return {name: table[at][0].as_py() for at, name in enumerate(names) if "/" in name}


def test_points_and_labels(dataset: Path, logged: dict[str, Any]) -> None:
    row = next(read_rows(dataset / "clouds" / "part-00000.parquet"))
    kinds = ("outside", "hidden", "solid")
    for kind in kinds:
        found = np.asarray(logged.get(f"/points/{kind}:Position3D", []), np.float32).reshape(-1, 3)
        assert np.array_equal(found, decode(row, f"{kind}_xyz"))
    rgb = decode(row, "outside_rgb").astype(np.uint32)
    packed = rgb[:, 0] << 24 | rgb[:, 1] << 16 | rgb[:, 2] << 8 | 255
    assert logged["/points/outside:Color"] == packed.tolist()
    for number, kind in enumerate(kinds):
        same = logged.get(f"/labels/{kind}:Position3D", [])
        assert len(same) == row[f"n_{kind}"] and same == logged.get(f"/points/{kind}:Position3D", [])
        assert logged[f"/labels/{kind}:ClassId"] == [number]
    assert len({*(logged[f"/labels/{kind}:Color"][0] for kind in kinds)}) == 3


def test_cameras_see_the_points_where_their_images_show_them(dataset: Path, logged: dict[str, Any]) -> None:
    row = next(read_rows(dataset / "clouds" / "part-00000.parquet"))
    with Bundle(Layout(dataset).bundle("tower")) as bundle:
        view = bundle.view(1)
        assert not any(name.startswith("/views/003") for name in logged)
    (turned,) = np.asarray(logged["/views/001:TransformMat3x3"], np.float64)
    rotation = turned.reshape(3, 3).T  # Rerun's matrices are column-major
    (moved,) = np.asarray(logged["/views/001:Translation3D"], np.float64)
    (pinhole,) = np.asarray(logged["/views/001:PinholeProjection"], np.float64)
    to_image = pinhole.reshape(3, 3).T
    assert np.allclose(rotation, view.camera.camera_to_world[:3, :3], atol=1e-6)
    assert to_image[0, 0] == pytest.approx(24 / math.tan(view.camera.fov / 2), rel=1e-5)
    seen = (decode(row, "outside_xyz") - moved) @ rotation * [1, -1, -1]  # OpenGL's axes to the image's
    pixel = seen @ to_image.T
    columns, rows = np.floor(pixel[:, :2] / pixel[:, 2:]).astype(int).T
    assert (view.rgba[rows, columns, 3] > 0).mean() > 0.97  # but for silhouettes, rounded to another pixel
    assert bytes(logged["/views/001/image:Blob"][0]) == row["image_01"]


def test_layers_hold_the_bundles_depth(dataset: Path, logged: dict[str, Any]) -> None:
    with Bundle(Layout(dataset).bundle("tower")) as bundle:
        view = bundle.view(2)
    for index, layer in enumerate(view.layers()):
        data = np.asarray(logged[f"/views/002/layer_{index}/depth:ImageBuffer"][0], np.uint8)
        assert np.array_equal(data.view("<f4").reshape(layer.depth.shape), layer.depth)
    assert f"/views/002/layer_{len(view.behind) + 1}/depth:ImageBuffer" not in logged


def test_a_model_that_is_not_there_is_named(dataset: Path) -> None:
    done = insideout("view", dataset, "towre", "--to", dataset / "x.rrd")
    assert done.returncode == 2 and "Did you mean tower" in done.stderr
