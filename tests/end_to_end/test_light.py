"""Reading, training and generating without Blender: what the extra `render` brings is not installed.

Here the modules are hidden from a process; `.ci/light` runs this file in environments that do not have them,
of other Pythons and with numpy 2.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuse.dataset.layout import Layout, part_name
from fuse.dataset.manifest import describe, write_manifest
from fuse.dataset.shard import decode, read_rows, table_of, write_shard
from pipeline.extras import EXTRAS
from pipeline.ledger.rows import Row as LedgerRow
from pipeline.ledger.writer import Ledger
from render.failures import Status
from tests.helpers.cloud_rows import make_row
from tests.helpers.places import ROOT

BLENDER = sorted({*EXTRAS["render"]} - {*EXTRAS["train"]})
TINY = (
    "--steps 1 --batch 2 --points 48 --step-points 0 --width 16 --layers 1 --heads 2 --image-size 32 "
    "--val-every 0 --score-every 0 --sample-every 0 --threads 1 --device cpu --no-tensorboard"
)
UNLISTED = {"OpenEXR": "OpenEXR", "rerun": "rerun-sdk"}
"""Modules that their distributions do not list as theirs."""
trains = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the extra train is not here")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset of four rows with hidden points, whole but for its bundles."""
    out = tmp_path / "out"
    clouds = Layout(out).clouds
    clouds.mkdir(parents=True)
    path = clouds / part_name(0)
    write_shard(path, [table_of(whole(make_row(i, 2, 64, hidden=16))) for i in range(4)], "hash", {})
    write_manifest(clouds, [describe(path)])
    ledger = Ledger(Layout(out).ledger("fuse"), "20260101T000000.000000-fuse")
    ledger.append(LedgerRow(uid="ball-000", source="ball.glb", status=Status.OK))
    ledger.close()
    return out


def whole(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose points stand in farthest-point order and have normals, as `verify` demands."""
    for kind in ("outside", "hidden"):
        xyz = row[f"{kind}_xyz"].astype(np.float64)
        order, nearest = [0], np.full(len(xyz), np.inf)
        while len(order) < len(xyz):
            nearest = np.minimum(nearest, ((xyz - xyz[order[-1]]) ** 2).sum(1))
            order.append(int(nearest.argmax()))
        row[f"{kind}_xyz"] = row[f"{kind}_xyz"][order]
        row[f"{kind}_normal"] = np.tile(np.array([0, 0, 127], np.int8), (len(xyz), 1))
    return row


def without(absent: list[str], *verbs: str, cwd: Path) -> Iterator[dict[str, Any]]:
    """What each command line did, in one process without some modules; last, what the process was.

    It runs the installed package where `.ci/light` says so, else this checkout.
    """
    words = [word for verb in verbs for word in ("--", *verb.split())][1:]
    command = [sys.executable, str(ROOT / "tests" / "helpers" / "without.py"), ",".join(absent), *words]
    environment = os.environ | ({} if "INSIDEOUT_INSTALLED" in os.environ else {"PYTHONPATH": str(ROOT)})
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    yield from map(json.loads, done.stdout.splitlines())


def test_a_dataset_is_read_without_blender_or_torch(dataset: Path, tmp_path: Path):
    *done, where = without(
        [*BLENDER, "torch", "trimesh"],
        "verify out --no-bundles",
        "status out",
        "export out ball-000 --to ball.ply",
        "report out --workers 1",
        "train --help",
        "doctor",
        cwd=tmp_path,
    )
    print(*done, where, sep="\n")
    assert [(verb["verb"], verb["code"], verb["err"]) for verb in done] == [
        (name, 0, "") for name in ("verify", "status", "export", "report", "train", "doctor")
    ]
    row = next(read_rows(dataset / "clouds" / part_name(0), ["outside_xyz"]))
    vertices = (tmp_path / "ball.ply").read_bytes().partition(b"end_header\n")[2]
    xyz = np.frombuffer(vertices, "u1").reshape(64, -1)[:, :12].copy().view("<f4")
    assert np.array_equal(xyz, decode(row, "outside_xyz"))


@trains
def test_a_model_is_trained_and_generates_without_blender(dataset: Path, tmp_path: Path):
    (tmp_path / "ball.png").write_bytes(
        next(read_rows(dataset / "clouds" / part_name(0), ["image_00"]))["image_00"]
    )
    run = "out/checkpoints/default"
    *done, where = without(
        BLENDER,
        f"train out {TINY}",
        f"export-model {run} --to model",
        "generate --checkpoint model --image ball.png --to made.ply --steps 2 --device cpu",
        "score made.ply made.ply --no-sets",
        f"evaluate out --checkpoint {run} --split train --steps 2 --count 2 --device cpu",
        cwd=tmp_path,
    )
    print(*done, where, sep="\n")
    assert [(verb["verb"], verb["code"]) for verb in done] == [
        (name, 0) for name in ("train", "export-model", "generate", "score", "evaluate")
    ], done
    assert (tmp_path / run / "step-0000001.pt").is_file() and (tmp_path / "made.ply").is_file()


@pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="the extra render is not here")
@trains
def test_an_extra_brings_the_modules_that_its_verbs_need():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    always = names(project["dependencies"])
    distributions = metadata.packages_distributions()
    for extra, modules in EXTRAS.items():
        brought = names(project["optional-dependencies"][extra]) - always
        for module in modules:
            bringing = distributions.get(module, [UNLISTED.get(module, module)])
            assert brought & {str(name).replace("_", "-") for name in bringing}, module


def names(requirements: list[str]) -> set[str]:
    """The distributions that requirements name."""
    return {re.split(r"[\[<>=~!;]", line)[0] for line in requirements}


def test_a_verb_without_its_extra_ends_in_one_line_that_names_it(dataset: Path, tmp_path: Path):
    verbs = ["samples new", "render out new", "fuse out", "train out", "generate --checkpoint a --to b"]
    *done, _ = without(
        [*BLENDER, "torch"], *verbs, "score a b", "submit --address http://x status out", cwd=tmp_path
    )
    for verb, extra in zip(done, ["render"] * 3 + ["train"] * 3 + ["render"], strict=True):
        assert verb["code"] == 2 and verb["err"].count("\n") == 1, verb
        assert f"pip install 'insideout3d[{extra}]'" in verb["err"]
    assert not (tmp_path / "new").exists()
