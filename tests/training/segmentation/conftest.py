"""Scenes whose insides are known in closed form, as a real dataset, and a segmenter trained on them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fuse.dataset.manifest import describe, write_manifest
from fuse.dataset.shard import image_column, interior_column, layers_column, table_of, write_shard
from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from training.config import TrainConfig
from training.train import train

SIZE = 64
VIEWS = 2
SMALL = TrainConfig(
    model="segment", encoder="efficientnet_lite0_fine", steps=80, batch=8, points=16, step_points=0, width=32,
    layers=1, image_size=64, warmup=5, lr=3e-3, threads=1, device="cpu", precision="float32", log_every=10,
    val_every=40, views_least=VIEWS, views_most=VIEWS, tensorboard=False,
)  # fmt: skip


def scene(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A disc somewhere: (S, S, 4) and (S, S) uint8, (S, S) uint8. A red one is a shell with a ball inside.

    The ball fills the disc up to 0.6 of its radius: four surfaces lie there, two elsewhere. A blue one is
    a solid ball: two surfaces, nothing inside.
    """
    rng = np.random.default_rng(index)
    (x, y), radius = rng.uniform(24, 40, 2), rng.uniform(14, 22)
    across = np.arange(SIZE) + 0.5
    away = np.hypot(across[None] - x, across[:, None] - y) / radius
    hollow = index % 2 == 0
    rgba = np.zeros((SIZE, SIZE, 4), np.uint8)
    rgba[away < 1] = (200, 40, 40, 255) if hollow else (40, 40, 200, 255)
    interior = (away < 0.6) & hollow
    return rgba, interior * np.uint8(255), (2 * (away < 1) + 2 * interior).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """Pixels (H, W) or (H, W, 4) as a PNG."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def _row(index: int) -> dict[str, Any]:
    row = make_row(index, VIEWS, 16, "validation" if index % 5 >= 3 else "train")
    columns = (image_column, interior_column, layers_column)
    for view in range(VIEWS):
        pictures = scene(2 * (index + 1000 * view) + index % 2)
        row |= {name(view): png(one) for name, one in zip(columns, pictures, strict=True)}
    return row | {"category": ("hollow", "solid")[index % 2]}


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty objects, half of them hollow, two of five held out."""
    clouds = tmp_path_factory.mktemp("scenes") / "out" / "clouds"
    clouds.mkdir(parents=True)
    write_shard(clouds / "part-00000.parquet", [table_of(_row(i)) for i in range(40)], "hash", {})
    write_manifest(clouds, [describe(clouds / "part-00000.parquet")])
    return clouds.parent


@pytest.fixture(scope="session")
def segmenter(scenes: Path) -> Path:
    """The run of a segmenter that has learned the scenes for a few seconds."""
    return train(SMALL, scenes, "segment", report=lambda line: None).parent
