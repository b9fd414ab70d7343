"""Which points make up a cloud: quotas, one sampling over both kinds, solids; and rows that lack some."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuse.dataset.manifest import describe, write_manifest
from fuse.dataset.shard import ShardError, table_of, write_shard
from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from training.data.channels import from_network, hidden_of, to_network
from training.data.loader import Batch, CloudLoader
from training.data.point_mix import Mix, UnionOrder

BOTH = Mix("outside+hidden", 0.25)


@pytest.fixture
def clouds(tmp_path: Path) -> Path:
    """Rows with 200 outside points and 100, 10 or no hidden ones, 50 solid ones."""
    rows = [make_row(i, 2, 200, hidden=hidden, solid=50) for i, hidden in enumerate((100, 10, 0))]
    write_shard(tmp_path / "part-00000.parquet", [table_of(row) for row in rows], "hash", {})
    write_manifest(tmp_path, [describe(tmp_path / "part-00000.parquet")])
    return tmp_path


def samples(loader: CloudLoader) -> dict[str, Batch]:
    """One sample of each row, by uid; of several epochs the last."""
    return {batch.uids[0]: batch for batch in itertools.islice(loader, 3)}


def row_of(uid: str) -> dict[str, Any]:
    index = int(uid[-3:])
    return make_row(index, 2, 200, hidden=(100, 10, 0)[index], solid=50)


def test_quota_takes_prefixes_and_labels_them(clouds: Path) -> None:
    batches = samples(CloudLoader(clouds, 1, points=64, mix=BOTH, target="albedo"))
    assert len(batches) == 3
    for uid, batch in batches.items():
        row, points = row_of(uid), batch.points[0].numpy()
        hidden = min(16, row["n_hidden"])
        assert points.shape == (7, 64)
        np.testing.assert_array_equal(points[6], [-1] * (64 - hidden) + [1] * hidden)
        xyz, colors = from_network(points)
        np.testing.assert_array_equal(
            xyz, np.concatenate([row["outside_xyz"][: 64 - hidden], row["hidden_xyz"][:hidden]])
        )
        np.testing.assert_array_equal(colors[: 64 - hidden], row["outside_albedo"][: 64 - hidden])
        np.testing.assert_array_equal(colors[64 - hidden :], row["hidden_albedo"][:hidden])


def test_a_step_sees_some_of_the_mix(clouds: Path) -> None:
    loader = CloudLoader(clouds, 1, points=64, step_points=24, mix=BOTH, target="albedo")
    seen: dict[str, set[tuple[float, ...]]] = {}
    for batch in itertools.islice(loader, 120):
        points = batch.points[0].numpy()
        assert points.shape == (7, 24)
        assert len(np.unique(points.T, axis=0)) == 24
        seen.setdefault(batch.uids[0], set()).update(map(tuple, points[[0, 1, 2, 6]].T.tolist()))
    for uid, points in seen.items():
        row = row_of(uid)
        hidden = min(16, row["n_hidden"])
        expected = {(*xyz, -1.0) for xyz in row["outside_xyz"][: 64 - hidden].tolist()}
        expected |= {(*xyz, 1.0) for xyz in row["hidden_xyz"][:hidden].tolist()}
        assert points == expected


def test_the_upsamplers_target_goes_on_where_its_condition_ends(clouds: Path) -> None:
    for batch in samples(CloudLoader(clouds, 1, points=48, low_points=16, mix=BOTH)).values():
        row = row_of(batch.uids[0])
        low_hidden, all_hidden = (min(n, row["n_hidden"]) for n in (4, 16))
        assert batch.low_res is not None
        low, points = batch.low_res[0].numpy(), batch.points[0].numpy()
        together = np.concatenate([low, points], axis=1)
        assert hidden_of(low).sum() == low_hidden  # pyright: ignore[reportOptionalMemberAccess]
        inside = together[:, together[6] > 0]
        np.testing.assert_array_equal(inside[:3].T, row["hidden_xyz"][:all_hidden])
        outside = together[:, together[6] < 0]
        np.testing.assert_array_equal(outside[:3].T, row["outside_xyz"][: 64 - all_hidden])


def test_union_is_a_farthest_point_sample_of_both() -> None:
    row = make_row(0, 1, 200, hidden=100)
    order = UnionOrder().members("row", row["outside_xyz"], row["hidden_xyz"], 60)
    every = np.concatenate([row["outside_xyz"], row["hidden_xyz"]])
    pool = np.concatenate([row["outside_xyz"][:60], row["hidden_xyz"][:60]])
    xyz = every[order]
    assert len(np.unique(order)) == 60
    for count in range(1, 60):  # each point is the farthest of the pool from those before it
        gaps = np.linalg.norm(pool[:, None] - xyz[None, :count], axis=-1).min(1)
        assert gaps[(pool == xyz[count]).all(1)].max() == pytest.approx(gaps.max(), rel=1e-5)


def test_union_is_split_into_condition_and_target(clouds: Path) -> None:
    for batch in samples(
        CloudLoader(clouds, 1, points=40, low_points=20, mix=Mix("outside+hidden"))
    ).values():
        row = row_of(batch.uids[0])
        order = UnionOrder().members("row", row["outside_xyz"], row["hidden_xyz"], 60)
        every = np.concatenate([row["outside_xyz"], row["hidden_xyz"]])
        labels = np.where(np.arange(len(every)) < 200, -1, 1)
        assert batch.low_res is not None
        for points, members in ((batch.low_res[0], order[:20]), (batch.points[0], order[20:])):
            expected = {(*every[i].tolist(), labels[i]) for i in members}
            assert set(map(tuple, points.numpy()[[0, 1, 2, 6]].T.tolist())) == expected


def test_remembered_orders_are_bounded() -> None:
    rng = np.random.default_rng(0)
    union = UnionOrder(mib=1.01 * 3 * 4 * 32 / 2**20)
    clouds = [rng.normal(size=(2, 50, 3)).astype(np.float32) for _ in range(5)]
    orders = [union.members(i, a, b, 32) for i, (a, b) in enumerate(clouds)]
    assert len(union._held) == 3
    again = union.members(0, clouds[0][0], clouds[0][1], 32)
    np.testing.assert_array_equal(again, orders[0])


def test_solid_points_have_no_color(clouds: Path) -> None:
    for batch in samples(CloudLoader(clouds, 1, points=32, mix=Mix("solid"))).values():
        assert batch.points.shape == (1, 3, 32)
        np.testing.assert_array_equal(batch.points[0].T, row_of(batch.uids[0])["solid_xyz"][:32])


def test_rows_without_any_point_of_the_kind_are_left_out(tmp_path: Path) -> None:
    rows = [make_row(i, 1, 32, solid=32 * (i % 2)) for i in range(6)]
    write_shard(tmp_path / "part-00000.parquet", [table_of(row) for row in rows], "hash", {})
    write_manifest(tmp_path, [describe(tmp_path / "part-00000.parquet")])
    loader = CloudLoader(tmp_path, 3, points=16, mix=Mix("solid"))
    assert loader.rows == 3
    assert {uid[-1] for batch in itertools.islice(loader, 4) for uid in batch.uids} == {"1", "3", "5"}
    write_shard(tmp_path / "part-00000.parquet", [table_of(rows[0])], "hash", {})
    write_manifest(tmp_path, [describe(tmp_path / "part-00000.parquet")])
    with pytest.raises(ShardError, match="no rows of split 'train' with solid points"):
        CloudLoader(tmp_path, 1, points=16, mix=Mix("solid"))


@pytest.mark.parametrize("channels", [3, 6, 7])
def test_the_networks_frame_and_back(channels: int) -> None:
    rng = np.random.default_rng(0)
    xyz, rgb = rng.uniform(-1, 1, (50, 3)).astype(np.float32), rng.integers(0, 256, (50, 3)).astype(np.uint8)
    hidden = rng.random(50) < 0.3
    points = to_network(xyz, rgb if channels > 3 else None, hidden if channels > 6 else None)
    assert points.shape == (channels, 50)
    assert np.abs(points).max() <= 1
    back, colors = from_network(points)
    np.testing.assert_array_equal(back, xyz)
    if channels > 3:
        np.testing.assert_array_equal(colors, rgb)
    found = hidden_of(points)
    assert found is None if channels < 7 else np.array_equal(found, hidden)  # pyright: ignore[reportArgumentType]
