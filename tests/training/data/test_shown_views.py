"""The views that a step shows of each object: how many, which, their cameras and masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from fuse.dataset.manifest import describe, write_manifest
from fuse.dataset.shard import Shard, ShardError, table_of, write_shard
from tests.helpers.batches import same, take  # pyright: ignore[reportMissingImports]
from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from training.data.loader import Batch, CloudLoader

MakeDataset = Callable[..., Path]


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
