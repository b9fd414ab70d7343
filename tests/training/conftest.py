"""Real shards of small colored shapes, and the published implementation's numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fuse.dataset.manifest import describe, write_manifest
from fuse.dataset.shard import table_of, write_shard
from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from tests.helpers.places import SHARED

VECTORS = SHARED / "vectors" / "point_e"


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Write a dataset of `rows` rows, `shard` per shard and about `group` per row group; return it.

    Every `validation`-th row is held out; each has `hidden` hidden and `solid` solid points.
    """

    def make(
        rows: int = 8,
        views: int = 3,
        points: int = 64,
        shard: int = 100,
        group: int = 100,
        validation: int = 0,
        hidden: int = 0,
        solid: int = 0,
    ) -> Path:
        clouds = tmp_path / "out" / "clouds"
        clouds.mkdir(parents=True)
        parts = []
        for first in range(0, rows, shard):
            numbers = range(first, min(rows, first + shard))
            held = [validation > 0 and i % validation == validation - 1 for i in numbers]
            tables = [
                table_of(make_row(i, views, points, "validation" if out else "train", hidden, solid))
                for i, out in zip(numbers, held, strict=True)
            ]
            path = clouds / f"part-{first // shard:05d}.parquet"
            size = sum(table.nbytes for table in tables) / len(tables)
            write_shard(path, tables, "hash", {}, row_group_mib=(group - 0.5) * size / 2**20)
            parts.append(describe(path))
        write_manifest(clouds, parts)
        return clouds.parent

    return make


@pytest.fixture
def vectors() -> Callable[[str], tuple[dict[str, Any], dict[str, torch.Tensor]]]:
    """Read a file of published numbers: its configuration and its arrays."""
    if not VECTORS.is_dir():
        pytest.skip("../shared/vectors/point_e is not beside this checkout")

    def load(name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        with np.load(VECTORS / f"{name}.npz") as arrays:
            config = json.loads(str(arrays["config"])) if "config" in arrays else {}
            numbers = {k: torch.from_numpy(v) for k, v in arrays.items() if v.dtype.kind in "fi"}
        return config, numbers

    return load
