"""examples/merger.py runs from a dataset to a table and a picture, and does nothing twice."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from fuse.dataset.manifest import describe, read_manifest, write_manifest
from fuse.dataset.shard import read_rows, table_of, write_shard
from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from tests.helpers.places import ROOT

MERGERS = ("merger", "offset with images", "select", "select with images")


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))  # it imports its neighbor
    spec = importlib.util.spec_from_file_location("merger", ROOT / "examples" / "merger.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # its dataclasses look their module up
    spec.loader.exec_module(module)
    small = {"batch": 2, "points": 24, "step_points": 8, "width": 16, "layers": 1, "image_size": 64}
    changes = {
        "VIEWS": {"train": (0, 2), "validation": (1, 3)}, "CLOUDS": 2, "POINTS": 24, "SAMPLING_STEPS": 1,
        "SMALL": module.SMALL.model_copy(update=small | {"views": 2}),
        "MERGE": module.MERGE | {"merge_clouds": 2, "merge_points": 8},
        "TOGETHER": module.TOGETHER | {"views_most": 2},
        "MERGERS": {
            name: changes
            | ({"step_points": 16, "batch": 2} if "step_points" in changes else {})
            | {views: 2 for views in ("views_least", "views_most") if views in changes}
            | ({"steps": 1} if "steps" in changes else {})
            for name, changes in module.MERGERS.items()
            if name in MERGERS
        },
        "ROWS": tuple(name for name in module.ROWS if name in MERGERS or name not in module.MERGERS),
        "FINER": ("one view", "union", "hull", "select with images"),
        "picture": partial(module.picture, count=1, size=32),
        "UPSAMPLE": module.UPSAMPLE
        | {"points": 72, "condition_points": 24, "condition_tokens": 8}
        | {"step_points": 8, "batch": 2, "steps": 1, "views_most": 2},
    }  # fmt: skip
    for name, value in changes.items():
        monkeypatch.setattr(module, name, value)
    return module


def test_every_way_of_merging_is_scored(example: ModuleType, out: Path, tmp_path: Path) -> None:
    options = example.Options(out, tmp_path, steps=1, rows=example.ROWS, upsample=True)
    example.main(options)
    table = (tmp_path / "table.md").read_text()
    names = names_in(table)
    assert {"union", "consensus", "mean of denoisers", "joint views", *example.MERGERS} <= set(names)
    assert names.count("hull") == 2 and names.count("one view") == 2  # at 1k and at 4k
    assert names.count("hull, at once") == 1 and names.count("silhouettes") == 1
    with Image.open(tmp_path / "picture.png") as drawn:
        assert len(np.unique(np.array(drawn).reshape(-1, 3), axis=0)) > 10
    stamps = stamps_in(tmp_path)
    assert len(stamps) == 8
    example.main(options)
    assert stamps_in(tmp_path) == stamps
    assert (tmp_path / "table.md").read_text() == table
    example.main(replace(options, rows=("select",), upsample=False, fresh=strangers(tmp_path / "other")))
    assert stamps_in(tmp_path) == stamps  # the same networks
    assert names_in((tmp_path / "fresh" / "table.md").read_text())[-3:] == ["union", "hull", "select"]
    assert (tmp_path / "table.md").read_text() == table


def names_in(table: str) -> list[str]:
    """The rows' names."""
    return [line.split(" | ")[0].strip("| ") for line in table.splitlines() if line.startswith("| ")][2:]


def stamps_in(folder: Path) -> dict[Path, int]:
    """When checkpoints were written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("step-*.pt")}


def strangers(folder: Path) -> Path:
    """A dataset of a model that `out` has, of one that nearly repeats one, and of two others."""
    rows = [make_row(i, 3, 128, "train") for i in (8, 9, 16, 17)]
    tables = [
        table_of(row | {"source_sha256": row["category"] if i == 0 else f"{i}"}) for i, row in enumerate(rows)
    ]
    path = folder / "clouds" / "part-00000.parquet"
    path.parent.mkdir(parents=True)
    write_shard(path, tables, "hash", {}, row_group_mib=16)
    write_manifest(path.parent, [describe(path)])
    return folder


def test_fresh_objects_are_neither_known_nor_alike(example: ModuleType, out: Path, tmp_path: Path) -> None:
    found = example.fresh(out, strangers(tmp_path / "other"), tmp_path)
    parts = read_manifest(found / "clouds")
    rows = [row for part in parts for row in read_rows(found / "clouds" / part.file, ["uid", "split"])]
    expected = [make_row(i, 3, 128, "train")["uid"] for i in (16, 17)]
    assert [(row["uid"], row["split"]) for row in rows] == [(uid, "validation") for uid in expected]
