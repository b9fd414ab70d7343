"""Decisions written into rows: a new dataset, or the same one in place; whole, and undone."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuse.dataset.decisions import read_decisions
from fuse.dataset.layout import Layout
from fuse.dataset.manifest import describe, read_manifest, write_manifest
from fuse.dataset.shard import read_rows, table_of, write_shard
from fuse.dataset.verify import verify
from fuse.sampling import farthest_points
from pipeline.curate import curation, materialize
from pipeline.curate.options import Options
from pipeline.curate.rules import Rules, write_rules
from render.failures import UserError
from tests.helpers.cloud_rows import make_row
from training.data.loader import CloudLoader

OPTIONS = Options(views=1, clusters=4)
OUT, POOR = "box-001", "rod-002"
ALL_LEFT_OUT = ("ball-008", "box-009")
"""The rows of the last shard."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten models in three shards, curated: four left out, one poor, one with a weight of its own."""
    rows = [row(index) for index in range(10)]
    rows[3]["weight"] = 3.0
    layout = Layout(tmp_path_factory.mktemp("materialize") / "dataset")
    layout.clouds.mkdir(parents=True)
    for number, some in enumerate((rows[:5], rows[5:8], rows[8:])):
        path = layout.clouds / f"part-{number:05d}.parquet"
        write_shard(path, [table_of(one) for one in some], "hash", {"numpy": "1"}, row_group_mib=0.05)
    write_manifest(layout.clouds, map(describe, sorted(layout.clouds.glob("*.parquet"))))
    models = {OUT: "out", "plate-007": "out", POOR: "poor"} | dict.fromkeys(ALL_LEFT_OUT, "out")
    write_rules(layout, Rules(models=models, duplicates=False, flat=0), {})
    curation.curate(layout.root, OPTIONS)
    return layout.root


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return shutil.copytree(made, tmp_path / "dataset")


def row(index: int) -> dict:
    """A row that `verify` finds no fault in."""
    found = make_row(index, 2, 200)
    order = farthest_points(found["outside_xyz"], 200)
    normal = np.tile(np.array([127, 0, 0], np.int8), (200, 1))
    return found | {"outside_xyz": found["outside_xyz"][order], "outside_normal": normal}


def rows_of(out: Path) -> dict[str, dict]:
    layout = Layout(out)
    parts = read_manifest(layout.clouds)
    found = itertools.chain.from_iterable(read_rows(layout.shard(part.file)) for part in parts)
    return {one["uid"]: one for one in found}


def drawn(out: Path) -> dict[str, float]:
    """The share of each model in what training sees."""
    loader = CloudLoader(Layout(out).clouds, 1, points=64, seed=1)
    counts = Counter(uid for batch in itertools.islice(loader, loader.rows * 60) for uid in batch.uids)
    return {uid: count / counts.total() for uid, count in counts.items()}


def unlike(before: dict, after: dict) -> set[str]:
    """The columns in which two rows differ."""
    return {name for name in before if before[name] != after[name]}


def test_a_new_dataset_has_the_rows_that_are_kept_with_their_weights(out: Path, tmp_path: Path):
    before, decided = rows_of(out), read_decisions(Layout(out))
    parts = materialize.materialize(out, tmp_path / "curated")
    after = rows_of(tmp_path / "curated")
    assert [part.file for part in parts] == ["part-00000.parquet", "part-00001.parquet"]
    assert set(after) == set(before) - {OUT, "plate-007", *ALL_LEFT_OUT}
    assert after[POOR]["weight"] == 0.25 and after["plate-003"]["weight"] == 3
    assert all(one["cluster"] == decided[uid].cluster is not None for uid, one in after.items())
    assert all(unlike(before[uid], one) <= {"weight", "cluster"} for uid, one in after.items())
    assert verify(tmp_path / "curated").ok
    assert rows_of(out) == before


@pytest.mark.parametrize("place", ["dataset", "curated"])
def test_training_sees_the_same_mixture(out: Path, tmp_path: Path, place: str):
    before = drawn(out)
    materialize.materialize(out, tmp_path / place)
    after = drawn(tmp_path / place)
    assert before.keys() == after.keys()
    assert all(abs(before[uid] - share) < 0.01 for uid, share in after.items())


def test_in_place_only_the_new_shards_are_left_and_nothing_is_measured_again(out: Path):
    decided, lines = read_decisions(Layout(out)), list[str]()
    parts = materialize.materialize(out, out)
    names = {path.name for path in Layout(out).clouds.iterdir()}
    assert names == {"manifest.jsonl"} | {part.file for part in parts}
    assert verify(out).ok and set(rows_of(out)).isdisjoint({OUT, *ALL_LEFT_OUT})
    curation.curate(out, OPTIONS, lines.append)
    assert lines == [] and read_decisions(Layout(out)) == decided
    curation.curate(out, Options(views=2, clusters=4), lines.append)  # measured again, weights are still own
    assert lines and read_decisions(Layout(out))["plate-003"].own_weight == 3
    assert materialize.materialize(out, out) == parts


def test_undone_the_rows_that_are_there_are_as_before(out: Path):
    before = rows_of(out)
    materialize.materialize(out, out)
    curation.undo(out)
    after = rows_of(out)
    assert len(after) == 6 and all(before[uid] == one for uid, one in after.items())
    assert verify(out).ok


@pytest.mark.parametrize("named", [False, True], ids=["before the manifest", "behind it"])
def test_what_a_killed_run_leaves_is_removed_by_the_next(
    out: Path, monkeypatch: pytest.MonkeyPatch, named: bool
):
    def killed(*arguments: Any) -> None:
        if named:
            write_manifest(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(materialize, "write_manifest", killed)
        materialize.materialize(out, out)
    assert len(rows_of(out)) == (6 if named else 10) and not verify(out).ok
    curation.undo(out)
    assert len(rows_of(out)) == (6 if named else 10) and verify(out).ok


def test_what_cannot_be_written_is_refused(out: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(UserError, match=r"mine: not empty: there is notes\.txt"):
        materialize.materialize(out, tmp_path / "mine")
    curation.undo(out)
    with pytest.raises(UserError, match="no model is kept"):
        materialize.materialize(out, tmp_path / "curated")
