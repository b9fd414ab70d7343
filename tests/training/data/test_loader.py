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
import pyarrow as pa
import pytest
import torch

from fuse.dataset.manifest import describe, write_manifest
from fuse.dataset.shard import Shard, ShardError, table_of, write_shard
from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from tests.helpers.places import ROOT
from training.data.channels import from_network
from training.data.loader import AHEAD, Batch, CloudLoader
from training.data.point_mix import Mix
from training.data.rows import RowGroup

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


def test_a_step_shows_several_views_of_every_object(make_dataset: MakeDataset) -> None:
    """Their number is the step's, each view has its own camera, and all views come."""
    clouds = make_dataset(rows=9, views=5, group=3) / "clouds"
    rows = {row["uid"]: row for row in (make_row(i, 5, 64) for i in range(9))}
    loader = CloudLoader(clouds, 3, least=1, most=3, cameras=True)
    numbers, places = [], Counter()
    for batch in take(loader, 60):
        assert batch.cameras is not None
        (number,) = {len(shown) for shown in batch.images}
        numbers.append(number)
        assert batch.cameras.shape == (3, number, 19)
        for uid, shown, cameras in zip(batch.uids, batch.images, batch.cameras, strict=True):
            views = [next(v for v in range(5) if rows[uid][f"image_{v:02d}"] == image) for image in shown]
            assert len(set(views)) == number
            places.update(views)
            poses = [rows[uid]["cameras"][view]["camera_to_world"] for view in views]
            np.testing.assert_array_equal(cameras[:, :16].numpy(), np.stack(poses))
            np.testing.assert_allclose(cameras[:, 16:], [[np.tan(0.35), 0, 0]] * number, rtol=1e-6)
    assert set(numbers) == {1, 2, 3}
    assert min(places.values()) > 0.5 * max(places.values())


def test_ranks_and_resumed_runs_see_the_same_views(make_dataset: MakeDataset) -> None:
    clouds = make_dataset(rows=9, views=4, group=3) / "clouds"
    settings = {"seed": 5, "least": 1, "most": 3, "cameras": True}
    whole = take(CloudLoader(clouds, 4, **settings), 12)
    ranks = [take(CloudLoader(clouds, 4, rank=rank, world=2, **settings), 12) for rank in range(2)]
    for parts, batch in zip(zip(*ranks, strict=True), whole, strict=True):
        joined = Batch.join(list(parts))
        assert joined.images == batch.images
        assert joined.cameras is not None and batch.cameras is not None
        assert torch.equal(joined.cameras, batch.cameras)
    first = CloudLoader(clouds, 4, **settings)
    head = take(first, 5)
    second = CloudLoader(clouds, 4, workers=1, **settings)
    second.load_state_dict(first.state_dict())
    assert same(head + take(second, 7), whole)
    with pytest.raises(ShardError, match="another seed"):
        CloudLoader(clouds, 4, seed=5).load_state_dict(first.state_dict())


def test_only_the_views_in_use_are_read(make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns grow with the number of views and with nothing else."""
    clouds, read = make_dataset(rows=4, views=6) / "clouds", []
    table = Shard.table
    monkeypatch.setattr(Shard, "table", lambda self, g, names: read.append(names) or table(self, g, names))
    for most in (1, 2, 4):
        loader = CloudLoader(clouds, 4, least=most, most=most, cameras=True)
        read.clear()
        take(loader, 1)
        (names,) = read
        assert sum(name.startswith("image_") for name in names) == most
        assert set(names) - {n for n in names if "image" in n} == {
            "uid", "outside_xyz", "outside_rgb", "cameras",
        }  # fmt: skip
    with pytest.raises(ShardError, match="6 views per model, but a step shows up to 7"):
        CloudLoader(clouds, 4, least=7, most=7)


def test_masks_are_those_of_the_images(make_dataset: MakeDataset) -> None:
    """Each with its own view's, on any rank and in parts of a batch; without asking there are none."""
    clouds = make_dataset(rows=9, views=4, group=3) / "clouds"
    rows = {row["uid"]: row for row in (make_row(i, 4, 64) for i in range(9))}
    settings = {"least": 1, "most": 3, "masks": True}
    for batch in take(CloudLoader(clouds, 4, **settings), 9):
        assert batch.masks is not None
        for uid, images, masks in zip(batch.uids, batch.images, batch.masks, strict=True):
            views = [next(v for v in range(4) if rows[uid][f"image_{v:02d}"] == image) for image in images]
            expected = [(rows[uid][f"interior_{v:02d}"], rows[uid][f"layers_{v:02d}"]) for v in views]
            assert [(one.interior, one.layers) for one in masks] == expected
        assert batch.part(slice(1, 3)).masks == batch.masks[1:3]
        assert Batch.join([batch.part(slice(0, 1)), batch.part(slice(1, 4))]).masks == batch.masks
    plain = CloudLoader(clouds, 4, least=1, most=3)
    assert next(iter(plain)).masks is None
    assert plain.load_state_dict(CloudLoader(clouds, 4, **settings).state_dict()) == []


def test_data_without_masks_says_so(make_dataset: MakeDataset) -> None:
    clouds = make_dataset(rows=2, views=2) / "clouds"
    row = make_row(3, 2, 64) | {"interior_01": b""}
    rewrite(clouds, table_of(row))
    with pytest.raises(ShardError, match="plate-003 has no interior masks"):
        take(CloudLoader(clouds, 1, masks=True, least=2, most=2), 1)
    old = {name: value for name, value in row.items() if "openness" not in name}
    old = {name: value for name, value in old.items() if not name.startswith(("interior_", "layers_"))}
    rewrite(clouds, table_of(old))
    take(CloudLoader(clouds, 1), 1)
    with pytest.raises(ShardError, match="it has no interior masks, which schema 3 brought"):
        CloudLoader(clouds, 1, masks=True)


def rewrite(clouds: Path, table: pa.Table) -> None:
    """One shard of one row in place of what is there."""
    (path,) = clouds.glob("*.parquet")
    write_shard(path, [table], "hash", {})
    write_manifest(clouds, [describe(path)])
