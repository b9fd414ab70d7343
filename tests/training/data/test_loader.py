"""The loader over real shards: nothing twice, nothing lost, the same order wherever it resumes."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from fuse.dataset.manifest import describe, write_manifest
from fuse.dataset.shard import ShardError, table_of, write_shard
from tests.helpers.batches import same, take, uids  # pyright: ignore[reportMissingImports]
from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from tests.helpers.places import ROOT
from training.data.channels import from_network
from training.data.loader import AHEAD, Batch, CloudLoader
from training.data.point_mix import Mix
from training.data.rows import RowGroup

MakeDataset = Callable[..., Path]


def test_the_fixture_has_several_row_groups(clouds: Path) -> None:
    assert [describe(path).row_groups for path in sorted(clouds.glob("*.parquet"))] == [3, 3, 2]


def test_an_epoch_holds_every_row_once(clouds: Path) -> None:
    order = uids(take(CloudLoader(clouds, 1, seed=3), 3 * 23))
    epochs = [order[i : i + 23] for i in range(0, 69, 23)]
    assert all(len(set(epoch)) == 23 for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert order != uids(take(CloudLoader(clouds, 1, seed=4), 69))


@pytest.mark.parametrize("streams", [1, 2, 3, 6])
def test_processes_share_the_batches_of_one(clouds: Path, streams: int) -> None:
    """The batches of the ranks, side by side, are the batches of a single process."""
    whole = take(CloudLoader(clouds, 6, seed=1, streams=streams, step_points=16), 15)
    for world in (2, 3, 6):
        ranks = [
            take(CloudLoader(clouds, 6, seed=1, streams=streams, step_points=16, rank=rank, world=world), 15)
            for rank in range(world)
        ]
        for parts, batch in zip(zip(*ranks, strict=True), whole, strict=True):
            assert [uid for part in parts for uid in part.uids] == batch.uids
            assert torch.equal(torch.cat([part.points for part in parts]), batch.points)
            assert [image for part in parts for image in part.images] == batch.images


@pytest.mark.parametrize(("before", "after"), [(1, 2), (3, 1), (2, 6)])
def test_resume_on_another_number_of_processes(clouds: Path, before: int, after: int) -> None:
    def load(world: int) -> list[CloudLoader]:
        return [
            CloudLoader(clouds, 6, seed=7, streams=2, rank=rank, world=world, workers=rank % 2)
            for rank in range(world)
        ]

    whole = uids(take(CloudLoader(clouds, 6, seed=7, streams=2), 11))
    first = load(before)
    order = [uids([batch]) for loader in first for batch in take(loader, 4)]
    head = [uid for step in range(4) for rank in range(before) for uid in order[rank * 4 + step]]
    second = load(after)
    for loader in second:
        loader.load_state_dict(first[-1].state_dict())
    parts = [take(loader, 7) for loader in second]
    assert head + [uid for step in range(7) for part in parts for uid in part[step].uids] == whole


@pytest.mark.parametrize("streams", [1, 2, 5])
def test_streams_share_an_epoch_exactly(clouds: Path, streams: int) -> None:
    """Streams rotate through the slices: over `streams` epochs every row comes equally often."""
    seen = Counter(uids(take(CloudLoader(clouds, streams, seed=1, streams=streams), 23)))
    assert sum(seen.values()) == streams * 23
    assert set(seen.values()) == {streams}


def test_samples_are_the_rows(clouds: Path) -> None:
    rows = {row["uid"]: row for row in (make_row(i, 3, 64) for i in range(23))}
    for batch in take(CloudLoader(clouds, 4, points=40, step_points=16, target="albedo"), 6):
        for uid, image, points in zip(batch.uids, batch.images, batch.points, strict=True):
            xyz, albedo = from_network(points.numpy())
            prefix = {tuple(point) for point in rows[uid]["outside_xyz"][:40].tolist()}
            assert {tuple(point) for point in xyz.tolist()} <= prefix
            assert len(np.unique(xyz, axis=0)) == 16
            np.testing.assert_array_equal(albedo, rows[uid]["outside_albedo"][:16])
            assert image in [[rows[uid][f"image_{view:02d}"]] for view in range(3)]


def test_rows_of_a_group_share_a_view_and_epochs_show_all(make_dataset: MakeDataset) -> None:
    clouds = make_dataset(rows=4) / "clouds"
    rows = {row["uid"]: row for row in (make_row(i, 3, 64) for i in range(4))}
    views = []
    for batch in take(CloudLoader(clouds, 4), 12):
        shown = {
            next(view for view in range(3) if [rows[uid][f"image_{view:02d}"]] == image)
            for uid, image in zip(batch.uids, batch.images, strict=True)
        }
        assert len(shown) == 1
        views += shown
    assert set(views) == {0, 1, 2}
    first = take(CloudLoader(clouds, 4, views=1), 5)
    assert all(
        image == [rows[uid]["image_00"]] for b in first for uid, image in zip(b.uids, b.images, strict=True)
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


def test_state_of_another_recipe_is_refused_and_of_other_data_is_reported(clouds: Path) -> None:
    state = CloudLoader(clouds, 4).state_dict()
    mixed = Mix("outside+hidden", 0.5)
    for changed in (
        CloudLoader(clouds, 4, seed=1),
        CloudLoader(clouds, 4, streams=2),
        CloudLoader(clouds, 4, mix=mixed),
    ):
        with pytest.raises(ShardError, match="another seed, split"):
            changed.load_state_dict(state)
    path = clouds / "part-00001.parquet"
    write_shard(path, [table_of(make_row(i, 3, 64)) for i in range(90, 99)], "hash", {})
    write_manifest(clouds, [describe(part) for part in sorted(clouds.glob("*.parquet"))])
    (change,) = CloudLoader(clouds, 4).load_state_dict(state)
    assert change == "the shards changed: 23 rows before, 23 now"
    finer = CloudLoader(clouds, 2)
    assert finer.load_state_dict(state | {"used": 5})[1:] == ["batch 4 before, 2 now"]
    assert finer.used == 10


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


def test_what_cannot_be_shared_is_an_error(make_dataset: MakeDataset) -> None:
    clouds = make_dataset(rows=2) / "clouds"
    with pytest.raises(ShardError, match="2 usable rows for 3 streams"):
        CloudLoader(clouds, 3, streams=3)
    with pytest.raises(ValueError, match="a batch of 4 clouds cannot be divided evenly among 3 processes"):
        CloudLoader(clouds, 4, world=3)


def test_a_damaged_row_group_stops_the_consumer_whoever_reads_it(make_dataset: MakeDataset) -> None:
    clouds = make_dataset(rows=40, points=600, shard=40, group=8) / "clouds"
    for workers in (0, 2):
        loader = CloudLoader(clouds, 4, workers=workers)
        path = clouds / "part-00000.parquet"
        whole = path.read_bytes()
        path.write_bytes(whole[:9000] + bytes(200) + whole[9200:])
        with pytest.raises(ShardError, match="damaged"):
            take(loader, 10)
        path.write_bytes(whole)


def test_endless(make_dataset: MakeDataset) -> None:
    batches: Iterator[Batch] = iter(CloudLoader(make_dataset(rows=1) / "clouds", 3))
    assert next(batches).uids == ["ball-000"] * 3
    assert next(batches).uids == ["ball-000"] * 3


def row_groups_alive() -> int:
    return sum(type(thing) is RowGroup for thing in gc.get_objects())


@pytest.mark.parametrize("workers", [0, 2])
def test_memory_is_bounded_by_two_windows_a_stream(make_dataset: MakeDataset, workers: int) -> None:
    """Of twenty row groups, each of two rows, never more than two windows of two per stream are alive."""
    clouds = make_dataset(rows=40, shard=40, group=2) / "clouds"
    loader = CloudLoader(clouds, 4, window=2, streams=2, workers=workers)
    gc.collect()
    before, most = row_groups_alive(), 0
    for _ in itertools.islice(loader, 24):
        most = max(most, row_groups_alive() - before)
    ahead = AHEAD + 2 if workers else 1  # batches that are made hold no row groups, those in the making do
    assert 0 < most <= 2 * 2 * 2 + ahead


def test_a_loader_that_is_closed_leaves_no_thread(clouds: Path) -> None:
    batches = iter(CloudLoader(clouds, 4, workers=2))
    next(batches)
    assert {thread.name for thread in threading.enumerate()} >= {"batches"}
    batches.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith(("batches", "shards"))]


def test_the_loaders_own_bench_reads_what_it_makes():
    flags = "--rows 8 --batch 2 --batches 2 --size 32"
    command = [sys.executable, "-m", "training.benchmarks.reading", *flags.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rates = [line.split("|")[2:4] for line in done.stdout.splitlines()[2:]]
    assert len(rates) == 8 and all(float(rate.replace(",", "")) > 0 for line in rates for rate in line)
