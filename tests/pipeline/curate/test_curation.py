"""The whole curation over real shards: the loader follows it, a person changes and undoes it."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from fuse.dataset.decisions import Decision, read_decisions, write_decisions
from fuse.dataset.layout import Layout
from fuse.dataset.manifest import describe, write_manifest
from fuse.dataset.shard import table_of, write_shard
from fuse.sampling import farthest_points
from pipeline.curate.curation import curate, undo
from pipeline.curate.options import Options
from render.failures import UserError
from tests.helpers.cloud_rows import make_row
from training.data.loader import CloudLoader

COPY, FLAT = "ball-copy", "decal"
OPTIONS = Options(views=2, clusters=4)


def model(index: int, uid: str | None = None, sample: int | None = None, thin: float = 1.0) -> dict:
    """A ball, box, rod or plate in a color of its own, whose points are a farthest-point sample.

    `sample` has the same shape and images, but other points; `thin` flattens it.
    """
    row, points = make_row(index, 3, 4000), make_row(index if sample is None else sample, 0, 4000)
    xyz = points["outside_xyz"] * np.array([1, 1, thin], np.float32)
    xyz = xyz[farthest_points(xyz, 600)]
    values = np.linalg.svd(xyz - xyz.mean(0), compute_uv=False) / np.sqrt(len(xyz))
    row["quality"] = row["quality"] | {"singular_values": values.astype(np.float32)}
    arrays = {name: row[name][:600] for name in ("outside_rgb", "outside_albedo", "outside_normal")}
    name = uid or row["uid"]
    changed = {"uid": name, "source_sha256": f"hash of {name}", "source": f"{name}.glb"}
    return row | arrays | changed | {"outside_xyz": xyz, "n_outside": 600}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 models, three colors of each of four shapes; one again with other points, one flattened. Curated."""
    rows = [model(index) for index in range(12)]
    rows += [model(0, COPY, sample=100), model(1, FLAT, thin=0)]
    rows[5]["weight"] = 3.0
    out = tmp_path_factory.mktemp("curate") / "dataset"
    clouds = Layout(out).clouds
    clouds.mkdir(parents=True)
    parts = []
    for number, some in enumerate((rows[:8], rows[8:])):
        path = clouds / f"part-{number:05d}.parquet"
        write_shard(path, [table_of(row) for row in some], "hash", {}, row_group_mib=0.2)
        parts.append(describe(path))
    write_manifest(clouds, parts)
    curate(out, OPTIONS)
    return out


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return shutil.copytree(made, tmp_path / "dataset")


def decisions(out: Path) -> dict[str, Decision]:
    return read_decisions(Layout(out))


def drawn(out: Path, epochs: int = 40) -> Counter[str]:
    loader = CloudLoader(Layout(out).clouds, 1, points=64, seed=1)
    batches = itertools.islice(loader, loader.rows * epochs)
    return Counter(uid for batch in batches for uid in batch.uids)


def edit(out: Path, **changes: object) -> None:
    rules = Layout(out).rules
    rules.write_text(yaml.safe_dump(yaml.safe_load(rules.read_text()) | changes))


def files(out: Path) -> dict[str, bytes]:
    folder = Layout(out).curation
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_flat_models_and_copies_are_left_out_with_their_reasons(made: Path):
    found = decisions(made)
    left = {uid: one.rule for uid, one in found.items() if not one.kept}
    assert left == {COPY: "duplicate", FLAT: "flat"}
    assert found[COPY].duplicate_of == "ball-000"
    assert found["box-005"].weight == 3


def test_the_loader_sees_what_was_decided_in_proportion_to_the_weights(out: Path):
    cluster = decisions(out)["rod-002"].cluster
    edit(out, clusters={cluster: "poor"}, models={"plate-003": "out"})
    curate(out, OPTIONS)
    found = decisions(out)
    assert found["plate-003"].rule == "model" and found["rod-002"].weight == 0.25
    counts, weights = drawn(out), {uid: one.weight for uid, one in found.items()}
    assert {uid for uid, weight in weights.items() if weight} == set(counts)
    shares = {uid: weight / sum(weights.values()) for uid, weight in weights.items()}
    assert all(abs(counts[uid] / counts.total() - share) < 0.01 for uid, share in shares.items())


def test_undone_every_model_has_its_own_weight_again(out: Path):
    undo(out)
    assert decisions(out) == {}
    counts = drawn(out, 10)
    assert counts[FLAT] and counts[COPY] and counts["box-005"] > 2 * counts[FLAT]


def test_a_run_that_resumes_is_told_that_the_curation_changed(out: Path):
    loader = CloudLoader(Layout(out).clouds, 2, points=64, seed=1)
    list(itertools.islice(loader, 3))
    edit(out, models={"rod-002": "out"})
    curate(out, OPTIONS)
    later = CloudLoader(Layout(out).clouds, 2, points=64, seed=1)
    assert later.load_state_dict(loader.state_dict()) == ["the curation changed: 12 rows before, 11 now"]


def test_the_same_dataset_gives_the_same_bytes(made: Path, out: Path):
    shutil.rmtree(Layout(out).curation)
    curate(out, OPTIONS)
    assert files(out) == files(made)


def test_other_rules_measure_nothing_again_and_keep_the_clusters(out: Path):
    before = files(out)
    edit(out, flat=0)
    lines: list[str] = []
    curate(out, Options(views=2), lines.append)
    assert lines == []
    assert decisions(out)[FLAT].kept
    after = files(out)
    assert all(after[name] == data for name, data in before.items() if name.endswith((".npz", ".parquet"))
               and "decisions" not in name)  # fmt: skip


def test_a_model_that_comes_later_has_its_own_weight_until_the_next_curation(out: Path):
    layout = Layout(out)
    path = layout.shard("part-00002.parquet")
    write_shard(path, [table_of(model(17, thin=0))], "hash", {})
    parts = [describe(one) for one in sorted(layout.clouds.glob("*.parquet"))]
    write_manifest(layout.clouds, parts)
    assert drawn(out, 5)["box-017"]
    lines: list[str] = []
    curate(out, Options(views=2), lines.append)
    assert lines == ["curate: measured part-00002.parquet 3/3"]
    assert decisions(out)["box-017"].rule == "flat" and not drawn(out, 5)["box-017"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("flat: thin", "flat"), ("clusters: {0: great}", "no bucket 'great'"), ("[", "not YAML"), ("3", "keys")],
)
def test_wrong_rules_are_named(out: Path, text: str, message: str):
    Layout(out).rules.write_text(text)
    with pytest.raises(UserError, match=message):
        curate(out, OPTIONS)


def test_damaged_decisions_are_named(out: Path):
    path = Layout(out).decisions
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"decisions\.parquet: not a curation's decisions"):
        drawn(out, 1)
    bad = Decision("x", float("nan"), 1, None, "cluster", "", 0, None)
    write_decisions(Layout(out), [bad], {})
    with pytest.raises(UserError, match="x has weight nan"):
        drawn(out, 1)
