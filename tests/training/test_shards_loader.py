"""The loader over real shards: nothing twice, nothing lost, the same order wherever it is taken up."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from cloud_rows import make_row  # pyright: ignore[reportMissingImports]

from fuse.manifest import describe, write_manifest
from fuse.shard import ShardError, table_of, write_shard
from training.diffusion import from_network
from training.shards import Batch, CloudLoader

MakeDataset = Callable[..., Path]


def take(loader: CloudLoader, count: int) -> list[Batch]:
    return list(itertools.islice(loader, count))


def uids(batches: list[Batch]) -> list[str]:
    return [uid for batch in batches for uid in batch.uids]


def same(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(
        x.uids == y.uids and x.images == y.images and torch.equal(x.points, y.points)
        for x, y in zip(a, b, strict=True)
    )


@pytest.fixture
def clouds(make_dataset: MakeDataset) -> Path:
    """23 rows in three shards of several row groups."""
    return make_dataset(rows=23, shard=9, group=4) / "clouds"


def test_the_fixture_has_several_row_groups(clouds: Path) -> None:
    assert [describe(path).row_groups for path in sorted(clouds.glob("*.parquet"))] == [3, 3, 2]


def test_an_epoch_holds_every_row_once(clouds: Path) -> None:
    order = uids(take(CloudLoader(clouds, 1, seed=3), 3 * 23))
    epochs = [order[i : i + 23] for i in range(0, 69, 23)]
    assert all(len(set(epoch)) == 23 for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert order != uids(take(CloudLoader(clouds, 1, seed=4), 69))


@pytest.mark.parametrize("world", [2, 3, 5])
def test_ranks_share_an_epoch_exactly(clouds: Path, world: int) -> None:
    """Slices take turns, so over `world` epochs every rank has had as many rows, and each row came once."""
    seen: Counter[str] = Counter()
    for rank in range(world):
        seen.update(uids(take(CloudLoader(clouds, 1, seed=1, rank=rank, world=world), 23)))
    assert sum(seen.values()) == world * 23
    assert set(seen.values()) == {world}


def test_samples_are_the_rows(clouds: Path) -> None:
    rows = {row["uid"]: row for row in (make_row(i, 3, 64) for i in range(23))}
    for batch in take(CloudLoader(clouds, 4, points=40, step_points=16, target="albedo"), 6):
        for uid, image, points in zip(batch.uids, batch.images, batch.points, strict=True):
            xyz, albedo = from_network(points.numpy())
            prefix = {tuple(point) for point in rows[uid]["outside_xyz"][:40].tolist()}
            assert {tuple(point) for point in xyz.tolist()} <= prefix
            assert len(np.unique(xyz, axis=0)) == 16
            np.testing.assert_array_equal(albedo, rows[uid]["outside_albedo"][:16])
            assert image in [rows[uid][f"image_{view:02d}"] for view in range(3)]


def test_rows_of_a_group_share_a_view_and_epochs_show_all(make_dataset: MakeDataset) -> None:
    clouds = make_dataset(rows=4) / "clouds"
    rows = {row["uid"]: row for row in (make_row(i, 3, 64) for i in range(4))}
    views = []
    for batch in take(CloudLoader(clouds, 4), 12):
        shown = {
            next(view for view in range(3) if rows[uid][f"image_{view:02d}"] == image)
            for uid, image in zip(batch.uids, batch.images, strict=True)
        }
        assert len(shown) == 1
        views += shown
    assert set(views) == {0, 1, 2}
    first = take(CloudLoader(clouds, 4, views=1), 5)
    assert all(
        image == rows[uid]["image_00"] for b in first for uid, image in zip(b.uids, b.images, strict=True)
    )


@pytest.mark.parametrize("used", [1, 5, 6, 13])
def test_resume_goes_on_exactly(clouds: Path, used: int) -> None:
    whole = take(CloudLoader(clouds, 4, seed=7, step_points=16), 20)
    first = CloudLoader(clouds, 4, seed=7, step_points=16)
    head = take(first, used)
    second = CloudLoader(clouds, 4, seed=7, step_points=16)
    second.load_state_dict(first.state_dict())
    assert same(head + take(second, 20 - used), whole)


def test_worker_processes_change_nothing(clouds: Path) -> None:
    whole = take(CloudLoader(clouds, 4, seed=7), 12)
    first = CloudLoader(clouds, 4, seed=7, workers=2)
    head = take(first, 5)
    second = CloudLoader(clouds, 4, seed=7, workers=1)
    second.load_state_dict(first.state_dict())
    assert same(head + take(second, 7), whole)


def test_state_of_other_data_is_refused(clouds: Path) -> None:
    state = CloudLoader(clouds, 4).state_dict()
    for changed in (CloudLoader(clouds, 4, seed=1), CloudLoader(clouds, 5), CloudLoader(clouds, 4, world=2)):
        with pytest.raises(ShardError, match="other shards, or another seed"):
            changed.load_state_dict(state)
    path = clouds / "part-00001.parquet"
    write_shard(path, [table_of(make_row(i, 3, 64)) for i in range(90, 99)], "hash", {})
    write_manifest(clouds, [describe(part) for part in sorted(clouds.glob("*.parquet"))])
    with pytest.raises(ShardError, match="other shards"):
        CloudLoader(clouds, 4).load_state_dict(state)


def test_only_the_split_is_read(tmp_path: Path) -> None:
    splits = ["train", "validation", "train"]
    tables = [table_of(make_row(i, 2, 32, split)) for i, split in enumerate(splits)]
    write_shard(tmp_path / "part-00000.parquet", tables, "hash", {})
    write_manifest(tmp_path, [describe(tmp_path / "part-00000.parquet")])
    assert set(uids(take(CloudLoader(tmp_path, 2), 4))) == {"ball-000", "rod-002"}
    assert set(uids(take(CloudLoader(tmp_path, 2, split="validation"), 2))) == {"box-001"}


def test_a_small_cloud_repeats_its_points(make_dataset: MakeDataset) -> None:
    (batch,) = take(CloudLoader(make_dataset(points=20) / "clouds", 2, points=64), 1)
    assert batch.points.shape == (2, 6, 64)
    assert len(np.unique(batch.points[0].T, axis=0)) <= 20


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _remove_images(path: Path) -> None:
    write_shard(path, [table_of(make_row(0, 0, 32))], "hash", {})
    write_manifest(path.parent, [describe(path)])


def _remove_manifest(path: Path) -> None:
    (path.parent / "manifest.jsonl").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [(_truncate, "part-00000"), (_remove_images, "no image columns"), (_remove_manifest, "insideout fuse")],
)
def test_what_cannot_be_read_says_so(
    make_dataset: MakeDataset, damage: Callable[[Path], None], message: str
) -> None:
    clouds = make_dataset(rows=2) / "clouds"
    damage(clouds / "part-00000.parquet")
    with pytest.raises(ShardError, match=message):
        CloudLoader(clouds, 2)


def test_no_row_for_a_rank_is_an_error(make_dataset: MakeDataset) -> None:
    with pytest.raises(ShardError, match="2 rows of split 'train' for 3 ranks"):
        CloudLoader(make_dataset(rows=2) / "clouds", 1, world=3)


def test_endless(make_dataset: MakeDataset) -> None:
    batches: Iterator[Batch] = iter(CloudLoader(make_dataset(rows=1) / "clouds", 3))
    assert next(batches).uids == ["ball-000"] * 3
    assert next(batches).uids == ["ball-000"] * 3
