"""A dataset for the report: shapes with their bundles, and rows, failures and a run with hostile texts."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from fuse.dataset.decisions import Decision, write_decisions
from fuse.dataset.layout import STAGES, Layout, part_name
from fuse.dataset.manifest import describe, read_manifest, write_manifest
from fuse.dataset.shard import table_of, write_shard
from pipeline.ledger.rows import Row
from pipeline.ledger.writer import Ledger
from render.failures import FailureClass, Status
from tests.helpers.cloud_rows import make_row
from tests.helpers.fuse_dataset import add_models

SHAPES = ["ball", "cube", "plate", "tower"]
ATTACK = '"><img src=x onerror=hacked=1><script>hacked=1</script>'
HOSTILE = [
    '"><img src=x onerror=hacked=1>',
    "');hacked=1;('",
    "__proto__",
    "a%20b?c#d&e=%2e%2e",
    "\u00fcn\u00efcode \u202e\u2603",
    "javascript:hacked=1",
]
"""Uids: everything that a file's name may be."""
LOG = "loading\n</script><script>hacked=1</script>\n\u2028'+(hacked=1)+'\x1b[31m"


def add_hostile_rows(out: Path) -> None:
    """A shard of rows without bundles whose every text attacks the page."""
    layout = Layout(out)
    rows = [make_row(index, views=6, points=300, hidden=40, solid=30) for index in range(len(HOSTILE))]
    for row, uid in zip(rows, HOSTILE, strict=True):
        row |= {"uid": uid, "source": ATTACK, "caption": ATTACK, "category": ATTACK, "license": "__proto__"}
        row["quality"]["spacing"] = float("nan")
        row["cameras"] = [{**camera, "fov": 0.7} for camera in row["cameras"]]
    parts = read_manifest(layout.clouds)
    path = layout.shard(part_name(len(parts)))
    write_shard(path, [table_of(row) for row in rows], "abc", {"insideout": "test"})
    write_manifest(layout.clouds, [*parts, describe(path)])


def add_ledgers(out: Path) -> None:
    """What happened to the models: seconds and memory, and failures with hostile messages and logs."""
    for stage in STAGES:
        ledger = Ledger(Layout(out).ledger(stage), f"20260101T000000.000000-{stage}")
        ledger.begin(stage, "models", 7, 7)
        for number, uid in enumerate(SHAPES):
            status = {"status": Status.OK, "seconds": 1.0 + number, "peak_rss_mib": 100 * (number + 1)}
            ledger.append(Row(uid=uid, source=f"{uid}.glb", **status))
        for number, kind in enumerate([FailureClass.CRASH, FailureClass.CRASH, FailureClass.TIMEOUT]):
            failed = {"status": Status.FAILED, "kind": kind, "message": f"{ATTACK} {number}", "log_tail": LOG}
            ledger.append(Row(uid=f"bad-{number}", source=ATTACK, signal="SIGSEGV", seconds=3.0, **failed))
        ledger.end(0)
        ledger.close()


def add_run(out: Path, name: str = "demo") -> Path:
    """A training run's journal, samples and an evaluation."""
    folder = Layout(out).checkpoints / name
    (folder / "samples").mkdir(parents=True)
    (folder / "evaluations").mkdir()
    (folder / "config.json").write_text(json.dumps({"steps": 200, "note": ATTACK}))
    loss = [{"step": step, "loss": 1 / (1 + step), "lr": 1e-3, ATTACK: 1.0} for step in range(0, 4000, 2)]
    (folder / "loss.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in loss) + '{"step": 4')
    (folder / "score.jsonl").write_text('{"step": 50, "chamfer": 0.2}\n{"step": 100, "chamfer": 0.1}\n')
    (folder / "validation.jsonl").write_text(json.dumps({"step": 100, "loss": float("nan")}) + "\n")
    for step in range(20):
        Image.fromarray(np.full((40, 60, 3), 12 * step, np.uint8)).save(
            folder / "samples" / f"step-{step:07d}.png"
        )
    emd = {"name": "EMD", "value": 0.5, "floor": 0.25, "ceiling": float("inf"), "objects": [0.5]}
    scores = {"own": 0.25, "distances": [[1, 2]], "objects_of": ATTACK, "scores": {"scores": [emd, 7]}}
    (folder / "evaluations" / "best.json").write_text(json.dumps(scores))
    return folder


def add_curation(out: Path) -> None:
    """Decisions on all models but two, in two clusters, of which one has a sheet."""
    layout = Layout(out)
    decided = [Decision(uid, 2, 1, "good", "cluster", "cluster 0", 0, None) for uid in SHAPES[:-1]]
    decided.append(Decision(SHAPES[-1], 0, 1, None, "flat", ATTACK, 0, None))
    decided += [Decision(uid, 0.25, 1, ATTACK, "cluster", "cluster 1", 1, None) for uid in HOSTILE[:-2]]
    write_decisions(layout, decided, {0: "4 models: shapes", 1: ATTACK})
    layout.cluster_sheet(0).parent.mkdir(parents=True)
    Image.new("RGB", (96, 96), "white").save(layout.cluster_sheet(0))


def make_dataset(out: Path) -> Path:
    """All of it."""
    add_models(out, SHAPES)
    add_hostile_rows(out)
    add_curation(out)
    add_ledgers(out)
    add_run(out)
    return out


def picture(data: bytes) -> np.ndarray:
    """(H, W, 4) uint8 pixels of an encoded picture."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGBA"))
