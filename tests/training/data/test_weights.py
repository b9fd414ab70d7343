"""Rows with weights: how often each comes, in which order, and where a run resumes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from fuse.dataset.manifest import describe, write_manifest
from fuse.dataset.shard import Shard, ShardError, write_shard
from tests.helpers.batches import take, uids  # pyright: ignore[reportMissingImports]
from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from training.data.loader import CloudLoader


def weigh(clouds: Path, weights: list[float]) -> None:
    """Give the rows of a dataset other weights, in order."""
    left = iter(weights)
    for path in sorted(clouds.glob("*.parquet")):
        with Shard(path) as shard:
            tables = [shard.table(group) for group in range(shard.row_groups)]
        at = tables[0].schema.get_field_index("weight")
        for i, table in enumerate(tables):
            new = pa.array([next(left) for _ in range(len(table))], pa.float32())
            tables[i] = table.set_column(at, table.schema.field(at), new)
        write_shard(path, tables, "hash", {}, row_group_mib=1e-6)
    write_manifest(clouds, [describe(path) for path in sorted(clouds.glob("*.parquet"))])


def test_equal_weights_leave_the_order_as_it_was(clouds: Path) -> None:
    before = uids(take(CloudLoader(clouds, 1, seed=3), 50))
    assert before[:30:4] == [
        "ball-004", "box-005", "rod-022", "plate-015", "box-013", "box-017", "ball-004", "rod-014"
    ]  # fmt: skip
    weigh(clouds, [2.5] * 23)
    assert uids(take(CloudLoader(clouds, 1, seed=3), 50)) == before


def test_rows_come_in_proportion_to_their_weights(clouds: Path) -> None:
    weights = [0.0, 0.25, 1.0, 2.0, 3.5] + [1.0] * 18
    weigh(clouds, weights)
    loader = CloudLoader(clouds, 1, seed=3)
    order, epochs = uids(take(loader, 22 * 40)), 40
    assert loader.rows == 22  # a row of weight 0 is none
    names = [make_row(i, 1, 16)["uid"] for i in range(23)]
    wanted = dict(zip(names, np.array(weights) * 22 / sum(weights), strict=True))
    for epoch in range(epochs):
        counts = Counter(order[epoch * 22 :][:22])
        assert all(abs(counts[name] - wanted[name]) < 1 for name in names)
    counts = Counter(order)
    assert counts[names[0]] == 0
    assert all(counts[name] == pytest.approx(wanted[name] * epochs, abs=8) for name in names[1:])
    assert order != uids(take(CloudLoader(clouds, 1, seed=4), 22 * 40))
    every = uids(take(CloudLoader(clouds, 1, weighted=False), 23))
    assert set(every) == set(names)  # validation sees each row once


@pytest.mark.parametrize("used", [2, 7])
def test_weighted_rows_resume_exactly_on_any_number_of_processes(clouds: Path, used: int) -> None:
    weigh(clouds, [1.0 + i % 5 for i in range(23)])
    whole = take(CloudLoader(clouds, 6, seed=7, streams=2, step_points=16), 14)
    first = CloudLoader(clouds, 6, seed=7, streams=2, step_points=16)
    take(first, used)
    ranks = [CloudLoader(clouds, 6, seed=7, streams=2, step_points=16, rank=r, world=3) for r in range(3)]
    for loader in ranks:
        loader.load_state_dict(first.state_dict())
    for batch, *parts in zip(whole[used:], *(take(loader, 14 - used) for loader in ranks), strict=True):
        assert [uid for part in parts for uid in part.uids] == batch.uids
        assert torch.equal(torch.cat([part.points for part in parts]), batch.points)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_means_nothing_names_its_row(clouds: Path, weight: float) -> None:
    weigh(clouds, [1.0] * 10 + [weight] + [1.0] * 12)
    with pytest.raises(ShardError, match=rf"part-00001\.parquet: rod-010 has weight {weight}"):
        CloudLoader(clouds, 2)
    weigh(clouds, [0.0] * 23)
    with pytest.raises(ShardError, match="and a weight above 0"):
        CloudLoader(clouds, 2)
