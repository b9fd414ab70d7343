"""Drawn clouds: out of fold, resumable, the same bytes for the same seed, and what learns from them."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuse.dataset.layout import Layout
from fuse.dataset.manifest import read_manifest, sha256_of
from fuse.dataset.shard import ShardError, read_rows
from fuse.dataset.splits import folds, read_members
from pipeline.run_config import load
from render.failures import UserError
from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from tests.helpers.places import ROOT
from training.conditioning.cameras import camera_numbers
from training.conditioning.pose_file import write_poses
from training.config import TrainConfig
from training.data.drawn import Draws
from training.evaluate import evaluate
from training.generator import Generator
from training.merging.draw import draw
from training.merging.files import merge
from training.merging.settings import DrawSettings, MergeSettings
from training.output.cloud_files import write_points
from training.scores.clouds import read_cloud
from training.settings import EvaluateSettings
from training.train import train
from training.validation import open_loader

SMALL = TrainConfig(
    steps=2, batch=2, points=64, step_points=32, image_size=64, width=32, layers=1, heads=2, threads=1,
    device="cpu", precision="float32", view_rays=True, prediction="flow",
    sample_every=0, val_every=0, score_every=0,
)  # fmt: skip


def changed(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate(SMALL.model_dump() | changes)


def quiet(line: str) -> None:
    pass


def run(config: TrainConfig, out: Path, name: str) -> Path:
    return train(config, out, name, report=quiet).parent


@pytest.fixture(scope="module")
def ready(out: Path) -> tuple[DrawSettings, Draws]:
    """Clouds drawn by two bases trained on halves."""
    bases = tuple(run(changed(fold=f"{i}/2"), out, f"fold-{i}") for i in (0, 1))
    settings = DrawSettings(out, bases, out.parent / "draws", clouds=2, points=64, steps=2)
    return settings, draw(settings, quiet)


@pytest.fixture
def drawn(ready: tuple[DrawSettings, Draws], tmp_path: Path) -> tuple[DrawSettings, Draws]:
    """The same in a copy."""
    settings = replace(ready[0], to=tmp_path / "draws")
    shutil.copytree(ready[0].to, settings.to)
    return settings, Draws(settings.to)


def fold_of(out: Path) -> dict[str, int]:
    layout = Layout(out)
    return folds(read_members(layout, read_manifest(layout.clouds), ()), 2)


def test_a_fold_has_whole_objects_and_the_folds_are_all(out: Path) -> None:
    fold = fold_of(out)
    assert all(len({at for uid, at in fold.items() if uid.startswith(kind)}) == 1 for kind in ("ball", "rod"))
    train_rows = {row["uid"] for row in read_rows(out / "clouds/part-00000.parquet", ["uid", "split"])
                  if row["split"] == "train"}  # fmt: skip
    seen = []
    for i in (0, 1):
        loader = open_loader(changed(fold=f"{i}/2", batch=1), Layout(out).clouds)
        seen.append({batch.uids[0] for batch in itertools.islice(loader, 2 * loader.rows)})
        assert {fold[uid] for uid in seen[-1]} == {i}
    assert seen[0] | seen[1] == train_rows and seen[0] and seen[1]


def test_each_object_is_drawn_by_a_base_that_has_not_learned_from_it(
    drawn: tuple[DrawSettings, Draws],
) -> None:
    settings, draws = drawn
    fold, out = fold_of(settings.dataset), settings.dataset
    shas = [sha256_of(base / "step-0000002.pt") for base in settings.checkpoint]
    assert len(draws) == 8 and len(set(shas)) == 2
    for uid in draws:
        one = draws[uid]
        assert not one.learned and one.clouds.shape == (2, 6, 64)
        if one.split == "train":
            assert one.checkpoint == shas[1 - fold[uid]]
        assert len({view for some in one.views for view in some}) == 2
    assert {one["uid"] for one in read_rows(out / "clouds/part-00000.parquet", ["uid"])} == set(draws)
    again = draw(replace(settings, to=settings.to.parent / "own", checkpoint=settings.checkpoint[:1]), quiet)
    assert {uid for uid in again if again[uid].learned} == {
        uid for uid in draws if draws[uid].split == "train" and fold[uid] == 0
    }


def test_directions_are_those_of_the_cameras(drawn: tuple[DrawSettings, Draws]) -> None:
    _, draws = drawn
    for one in map(draws.__getitem__, draws):
        turns = 1.3 * np.array([view for (view,) in one.views])
        expected = np.stack([np.cos(turns), np.sin(turns), 0 * turns], 1)  # of the helper's cameras
        assert one.toward == pytest.approx(expected, abs=1e-6)


def test_ddim_asks_the_network_once_per_step(ready: tuple[DrawSettings, Draws]) -> None:
    settings, asked = ready[0], []
    generator = Generator(settings.checkpoint[0], "cpu")
    generator.model.register_forward_hook(lambda *_: asked.append(1))
    clouds = []
    for sampling in (settings.sampling, replace(settings, method="ddim").sampling):
        clouds.append(generator.sample([None], 64, replace(sampling, steps=3)))
    assert len(asked) == 5 + 3 and not np.array_equal(*clouds)


def test_a_killed_run_continues_and_gives_the_same_bytes(drawn: tuple[DrawSettings, Draws]) -> None:
    settings, draws = drawn
    before = {part.file: part.sha256 for part in draws.parts}
    assert len(before) > 1
    last = draws.parts[-1]
    manifest = settings.to / "manifest.jsonl"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    (settings.to / last.file).write_bytes(b"torn")
    lines: list[str] = []
    again = draw(settings, lines.append)
    assert {part.file: part.sha256 for part in again.parts} == before and len(lines) == 1
    other = draw(replace(settings, seed=1, to=settings.to.parent / "other"), quiet)
    assert not set(before.values()) & {part.sha256 for part in other.parts}
    with pytest.raises(UserError, match="another folder"):
        draw(replace(settings, seed=1), quiet)
    with pytest.raises(UserError, match="another folder"):
        draw(replace(settings, method="ddim"), quiet)
    assert json.loads((settings.to / "draws.json").read_text())["seed"] == 0  # as it was before the refusal


def test_a_split_without_rows_is_named(ready: tuple[DrawSettings, Draws], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no rows of split nowhere"):
        draw(replace(ready[0], split=("nowhere",), to=tmp_path / "none"), quiet)


def test_a_damaged_file_is_named(drawn: tuple[DrawSettings, Draws]) -> None:
    settings, draws = drawn
    path = settings.to / draws.parts[0].file
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ShardError, match=path.name):
        Draws(settings.to)
    with pytest.raises(ShardError, match="insideout draw"):
        Draws(settings.to.parent / "none")


@pytest.mark.parametrize("recipe", ["merge_cpu", "merge_gpu", "offset", "images"])
def test_a_merger_learns_from_draws_and_draws_for_an_upsampler(
    drawn: tuple[DrawSettings, Draws], out: Path, tmp_path: Path, recipe: str
) -> None:
    settings, draws = drawn
    plain = {"view_rays": False, "draws": str(settings.to)}
    own: dict[str, Any] = {"model": "merge", "prediction": "offset"}
    if recipe == "images":
        own = {"model": "merge", "merge_images": True, "view_rays": True}
    elif recipe != "offset":
        own = load(ROOT / "configs" / f"{recipe}.yaml").train.model_dump(exclude_defaults=True)
        own |= SMALL.model_dump(include={"steps", "batch", "width", "layers", "heads", "step_points"})
    merger = changed(
        **plain
        | own
        | {"workers": 0, "merge_clouds": 2, "merge_points": 16, "score_every": 2, "sample_steps": 2}
    )
    batch = next(iter(open_loader(merger, Layout(out).clouds)))
    assert batch.clouds is not None and batch.clouds.shape[2:] == (6, 16)
    for uid, clouds in zip(batch.uids, batch.clouds, strict=True):
        there = {tuple(point) for cloud in draws[uid].clouds for point in cloud.T.tolist()}
        assert {tuple(point) for cloud in clouds for point in cloud.T.tolist()} <= there
    checkpoint = run(merger, out, recipe)
    merged = draw(
        DrawSettings(out, (checkpoint,), tmp_path / "merged", 1, draws=settings.to, points=64, steps=2), quiet
    )
    assert len(merged) == 8 and merged["ball-008"].clouds.shape == (1, 6, 64)
    coarse = plain | {"draws": str(merged.folder)}
    upsampler = changed(**coarse, model="upsample", condition_points=64)
    batch = next(iter(open_loader(upsampler, Layout(out).clouds)))
    assert batch.low_res is not None
    for uid, low in zip(batch.uids, batch.low_res, strict=True):
        assert (low.numpy() == merged[uid].clouds[0]).all()
    run(upsampler, out, f"{recipe}-finer")


def test_a_checkpoint_merges_files(drawn: tuple[DrawSettings, Draws], out: Path, tmp_path: Path) -> None:
    """Labels are dropped for a merger that knows none; what is no merger, or another frame, is refused."""
    settings, draws = drawn
    merger = changed(view_rays=False, draws=str(settings.to), model="merge", merge_points=16)
    checkpoint = run(merger, out, "merger-of-files")
    files = [tmp_path / "a.ply", tmp_path / "b.npz", tmp_path / "far.ply"]
    labeled = np.concatenate([draws["rod-010"].clouds[0], np.ones((1, 64), np.float32)])
    for file, cloud in zip(files, (labeled, draws["rod-010"].clouds[1], 9 * labeled), strict=True):
        write_points(file, cloud)
    order = MergeSettings(
        (files[0], files[1]), tmp_path / "out.ply", checkpoint=checkpoint, points=80, steps=2
    )
    merged = read_cloud(merge(order))
    assert len(merged) == 80 and merged.hidden is None and np.abs(merged.xyz).max() <= 1.001
    found = evaluate(EvaluateSettings(dataset=out, checkpoint=checkpoint, points=80, steps=2, scores=False))
    assert found.objects == 2 and 0 < found.own < 2
    with pytest.raises(UserError, match="insideout merge"):
        Generator(checkpoint).sample([None], 16)
    with pytest.raises(UserError, match="normalized frame"):
        merge(replace(order, clouds=(files[0], files[2])))
    with pytest.raises(UserError, match="not a merger"):
        merge(replace(order, checkpoint=settings.checkpoint[0]))


def test_pictures_and_cameras_are_given_with_the_files(
    drawn: tuple[DrawSettings, Draws], out: Path, tmp_path: Path
) -> None:
    settings, draws = drawn
    config = changed(model="merge", merge_images=True, draws=str(settings.to), merge_points=16)
    order = MergeSettings(
        (tmp_path / "0.ply", tmp_path / "1.ply"),
        tmp_path / "out.npz",
        checkpoint=run(config, out, "merger-of-pictures"),
        cameras=tmp_path / "transforms.json",
        points=16,
        steps=2,
    )
    row = make_row(10, 3, 16)
    for at, cloud in enumerate(draws["rod-010"].clouds):
        write_points(tmp_path / f"{at}.ply", cloud)
        (tmp_path / f"{at}.png").write_bytes(row[f"image_0{at}"])
    poses = [camera_numbers(camera["camera_to_world"].reshape(4, 4), 0.7) for camera in row["cameras"]]
    write_poses(tmp_path / "transforms.json", {f"{at}.png": pose for at, pose in enumerate(poses)})
    pictures = (tmp_path / "0.png", tmp_path / "1.png")
    merge(replace(order, image=pictures))
    shown = order.to.read_bytes()
    merge(replace(order, image=pictures[:1]))
    assert order.to.read_bytes() != shown
