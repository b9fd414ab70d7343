"""A dataset whose objects fall into two folds."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuse.dataset.manifest import describe, write_manifest
from fuse.dataset.shard import table_of, write_shard
from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight models in three row groups; the two of each of the four kinds are one object."""
    clouds = tmp_path_factory.mktemp("merging") / "out" / "clouds"
    clouds.mkdir(parents=True)
    path = clouds / "part-00000.parquet"
    rows = [make_row(i, 3, 128, "validation" if i % 4 == 3 else "train") for i in range(8, 16)]
    tables = [table_of(row | {"source_sha256": row["category"]}) for row in rows]
    write_shard(path, tables, "hash", {}, row_group_mib=2.5 * tables[0].nbytes / 2**20)
    write_manifest(clouds, [describe(path)])
    return clouds.parent
