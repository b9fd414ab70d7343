"""examples/merger.py runs from a dataset to a table and a picture, and does nothing twice."""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from tests.helpers.places import ROOT


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
        "SEEN": 2, "UNSEEN": (1, 3), "CLOUDS": 2, "POINTS": 24, "SAMPLING_STEPS": 1,
        "SMALL": module.SMALL.model_copy(update=small | {"views": 2}),
        "MERGE": module.MERGE | {"merge_clouds": 2, "merge_points": 8},
        "TOGETHER": module.TOGETHER | {"views_most": 2},
        "MERGERS": {
            name: changes
            | ({"step_points": 16, "batch": 2} if "step_points" in changes else {})
            | {views: 2 for views in ("views_least", "views_most") if views in changes}
            | ({"steps": 1} if "steps" in changes else {})
            for name, changes in module.MERGERS.items()
            if name in ("merger", "offset with images", "select", "select with images")
        },
        "picture": partial(module.picture, count=1, size=32),
        "UPSAMPLE": module.UPSAMPLE | {"points": 72, "condition_points": 24, "batch": 2},
    }  # fmt: skip
    for name, value in changes.items():
        monkeypatch.setattr(module, name, value)
    return module


def test_every_way_of_merging_is_scored(example: ModuleType, out: Path, tmp_path: Path) -> None:
    options = example.Options(out, tmp_path, steps=1, upsample=True)
    example.main(options)
    table = (tmp_path / "table.md").read_text()
    names = [line.split(" | ")[0].strip("| ") for line in table.splitlines() if line.startswith("| ")]
    assert {"union", "consensus", "mean of denoisers", "joint views", *example.MERGERS} <= set(names)
    assert names.count("hull") == 2 and names.count("one view") == 1  # at 1k and at 4k
    with Image.open(tmp_path / "picture.png") as drawn:
        assert len(np.unique(np.array(drawn).reshape(-1, 3), axis=0)) > 10
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("step-*.pt")}
    assert len(stamps) == 8
    example.main(options)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("step-*.pt")} == stamps
    assert (tmp_path / "table.md").read_text() == table
