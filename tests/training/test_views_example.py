"""examples/several_views.py runs from a dataset to a table and a picture, and continues where it stopped."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from fuse.dataset.layout import Layout
from fuse.dataset.manifest import describe, read_manifest, write_manifest
from fuse.dataset.shard import read_rows, write_shard
from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from tests.helpers.places import ROOT
from training.conditioning.cameras import camera_numbers, look_up
from training.conditioning.frames import frame_of
from training.conditioning.shown import View, ViewReader, ViewUse
from training.config import TrainConfig
from training.evaluate import Sample, read_samples


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return loaded("several_views")


@pytest.fixture(scope="module")
def datasets() -> ModuleType:
    return loaded("view_datasets")


@pytest.fixture(scope="module")
def shuffled() -> ModuleType:
    return loaded("shuffled_cells")


def loaded(name: str) -> ModuleType:
    """An example, which imports others from its folder."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "examples"))


def test_every_arm_is_a_configuration(example: ModuleType):
    for arm in example.ARMS.values():
        TrainConfig.model_validate(example.SMALL.model_dump() | arm.changes)


def test_two_arms_give_a_table_and_a_picture(
    example: ModuleType, make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(example, "POINTS", 64)
    monkeypatch.setattr(example, "SAMPLING_STEPS", 2)
    arms = {"today": replace(example.ARMS["today"], rules=((2, "cycle"),))}
    arms[example.DRAWN] = replace(example.ARMS[example.DRAWN], views=(1, 4))
    monkeypatch.setattr(example, "ARMS", arms)
    data, out = make_dataset(rows=6, views=20, validation=3), tmp_path / "compared"
    options = example.Options(data, out, ("today", example.DRAWN), steps=2)
    example.main(options)
    lines = (out / "table.md").read_text().splitlines()
    arms = [line.split(" | ")[0] for line in lines if line.startswith("| ")]
    assert arms == ["| arm", "| today, cycle", "| today", f"| {example.DRAWN}"]
    with Image.open(out / "picture.png") as sheet:
        assert len(np.unique(np.asarray(sheet).reshape(-1, 3), axis=0)) > 10
    before = (out / "results.jsonl").read_bytes()
    example.main(options)
    assert (out / "results.jsonl").read_bytes() == before


def test_an_arm_is_compared_with_a_model_that_cost_as_much():
    results = loaded("view_results")

    def result(arm: str, seconds: float, distance: float) -> object:
        return results.Result(arm, 1, "together", 9, 0, seconds, 1.0, [distance] * 4, [0.5] * 4)

    today, longer, longest = (
        result("today", 50, 0.2),
        result("today, longer", 90, 0.16),
        result("today, x", 99, 0),
    )
    dear, dearest = result("projected", 80, 0.12), result("projected, causal", 100, 0.1)
    every = [today, longer, longest, dear, dearest]
    assert [results.as_costly(every, one) for one in every] == [None, None, None, longer, None]
    lines = results.table(every).splitlines()
    against = [line.split(" | ")[5][:6] for line in lines if line.startswith("| ")]
    assert against == ["one ag", "", "-20.0%", "-100.0", "-40.0%", "-50.0%"]
    (equal,) = (line for line in lines if line.startswith("- "))
    assert equal.startswith("- projected, against today, longer: one view -25.0%")


def test_what_nearly_repeats_a_training_object_is_left_out(
    datasets: ModuleType, make_dataset: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
):
    clouds = Layout(make_dataset(rows=8, views=1, points=200, validation=4)).clouds
    assert datasets.alike(clouds) == set()
    monkeypatch.setattr(datasets, "ALIKE", 0.5)
    assert datasets.alike(clouds) == {"plate-003", "plate-007"}


def test_a_subset_has_fewer_training_rows(
    datasets: ModuleType, make_dataset: Callable[..., Path], tmp_path: Path
):
    data = make_dataset(rows=8, views=2, shard=3, validation=4)
    small = datasets.subset(data, tmp_path, 4)
    from training.data.loader import CloudLoader

    assert CloudLoader(Layout(small).clouds, 2).rows == 4
    assert datasets.subset(data, tmp_path, 0) == data


def test_the_held_out_objects_of_another_dataset_are_held_out(
    datasets: ModuleType, make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = with_sources(make_dataset(rows=8, views=2, points=200, shard=3, validation=4), tmp_path / "data")
    some = {"ball-000": "validation", "rod-002": "train"}
    other = datasets.copied(data, tmp_path / "other", some)
    assert splits(other) == some
    found = splits(datasets.apart(data, other, tmp_path / "first"))
    assert len(found) == 8 and [uid for uid in found if found[uid] != "train"] == ["ball-000"]
    monkeypatch.setattr(datasets, "ALIKE", 9.0)
    monkeypatch.setattr(datasets, "TRIED", 2)
    assert len(splits(datasets.apart(data, other, tmp_path / "second"))) == 6


def with_sources(data: Path, target: Path) -> Path:
    """A copy whose rows are of different source files."""
    clouds = Layout(target).clouds
    clouds.mkdir(parents=True)
    for part in read_manifest(Layout(data).clouds):
        table = pq.read_table(Layout(data).clouds / part.file)
        at = table.schema.get_field_index("source_sha256")
        table = table.set_column(at, table.schema.field(at), table["uid"])
        write_shard(clouds / part.file, [table.slice(i, 1) for i in range(len(table))], "", {})
    write_manifest(clouds, [describe(path) for path in sorted(clouds.glob("*.parquet"))])
    return target


def splits(data: Path) -> dict[str, str]:
    """Each row's split, by uid."""
    clouds = Layout(data).clouds
    rows = [row for part in read_manifest(clouds) for row in read_rows(clouds / part.file, ["uid", "split"])]
    return {row["uid"]: row["split"] for row in rows}


def test_places_of_cells_are_moved_and_removed_and_nothing_else_is(shuffled: ModuleType):
    """Grids of a place that is known, one feature each for row and column, and of what is shown there."""
    random = torch.Generator().manual_seed(0)
    across = torch.tensor([-1.5, -0.5, 0.5, 1.5])
    place = torch.cartesian_prod(across, across).T  # (2, 16)
    content = torch.randn(40, 5, 16, generator=random)
    content -= content.mean(0)
    grids = torch.cat([place.expand(40, 2, 16), content], 1)
    places = shuffled.Places(grids.mean(0))
    moved, exchanged, removed = places.shuffled(grids), places.exchanged(grids), places.removed(grids)
    torch.testing.assert_close(moved.sort(2).values, grids.sort(2).values)
    assert ((moved[:, :2] - grids[:, :2]).abs().sum(1) > 0).all()  # no cell stays where it was
    assert not torch.equal(moved[0, :2], moved[1, :2])
    for other in (exchanged, removed):
        torch.testing.assert_close(other[:, 2:], content, atol=1e-5, rtol=0)
    torch.testing.assert_close(exchanged[:, :2], moved[:, :2])
    torch.testing.assert_close(removed[:, :2], torch.zeros(40, 2, 16), atol=1e-6, rtol=0)
    torch.testing.assert_close(places.shuffled(grids[3:4]), moved[3:4])


def test_a_probe_reads_places_that_are_there(shuffled: ModuleType):
    random = torch.Generator().manual_seed(0)
    across = torch.tensor([-1.5, -0.5, 0.5, 1.5])
    place = torch.cartesian_prod(across, across).T.expand(60, 2, 16)
    told = torch.cat([place, torch.randn(60, 30, 16, generator=random)], 1)
    blind = torch.randn(60, 32, 16, generator=random)
    assert shuffled.probe(told[:40], told[40:], 1.0) > 0.9
    assert abs(shuffled.probe(blind[:40], blind[40:], 1.0)) < 0.15


def test_a_picture_placed_anywhere_has_a_camera_that_shows_the_same(example: ModuleType):
    row = make_row(1, 1, 16)
    camera = camera_numbers(row["cameras"][0]["camera_to_world"], 0.7)
    sample = Sample("a", (View(row["image_00"], camera),), np.zeros((6, 4), np.float32))
    (view,) = loaded("photographs").placed_anywhere(sample, 3).views
    before, after = (
        ViewReader(Unused(), ViewUse(True, True), torch.device("cpu")).read_views([[one]])  # pyright: ignore[reportArgumentType]
        for one in (sample.views[0], view)
    )
    points = torch.tensor([[0.0, 0, 0], [0.3, 0.5, 0.2], [-0.2, 0.7, -0.5]]).T[None]
    seen = [look_up(points, one["cameras"], one["pixels"])[0][0, 0] for one in (before, after)]
    assert seen[0][:, 3].min() == 1
    torch.testing.assert_close(seen[0], seen[1], atol=0.02, rtol=0)
    assert (before["cameras"] - after["cameras"]).abs().max() > 0.1


def test_rows_with_pictures_of_other_lenses_keep_their_clouds(
    example: ModuleType, make_dataset: Callable[..., Path], tmp_path: Path
):
    data = make_dataset(rows=4, views=3, validation=2)
    experiment, photographs = (
        example.Experiment(example.Options(data, tmp_path / "out")),
        loaded("photographs"),
    )
    other = make_row(9, 2, 4)
    poses = [camera_numbers(camera["camera_to_world"], 0.4) for camera in other["cameras"]]
    views = tuple(View(other[f"image_{i:02d}"], pose) for i, pose in enumerate(poses))
    target = photographs.relensed(experiment, {"0" * 64: views}, replaced=True)
    config = TrainConfig(points=32, step_points=0, view_rays=True)
    before, after = (
        read_samples(Layout(out).clouds, config, 9, [0, 1], 32, "train") for out in (data, target)
    )
    assert [sample.uid for sample in after] == [sample.uid for sample in before] == ["ball-000", "rod-002"]
    for one, changed in zip(before, after, strict=True):
        np.testing.assert_array_equal(changed.cloud, one.cloud)
        for view, expected, old in zip(changed.views, views, one.views, strict=True):
            assert view.image == expected.image != old.image
            assert view.camera is not None and expected.camera is not None
            np.testing.assert_allclose(view.camera, expected.camera, atol=1e-6)


class Unused:
    """An encoder that nothing asks."""

    def __call__(self, images: list[bytes], pixels: object = None) -> torch.Tensor:
        return torch.zeros(len(images), 1, 1)


def test_clouds_that_stand_as_in_their_pictures_are_turned_back_for_the_scores(example: ModuleType):
    row = make_row(1, 2, 16)
    cameras = [camera_numbers(camera["camera_to_world"], 0.7) for camera in row["cameras"]]
    clouds = torch.rand(2, 6, 20, generator=torch.Generator().manual_seed(0))
    given = [[View(b"", camera)] for camera in cameras]
    entered = frame_of(torch.from_numpy(np.stack(cameras))).enter(clouds)
    assert (entered - clouds).abs().max() > 0.1
    back = example.turned_back(entered.numpy(), given, crop=False)
    np.testing.assert_allclose(back, clouds.numpy(), atol=1e-5)
