"""A small dataset folder made from known shapes, by the steps that the engine takes."""

from __future__ import annotations

from pathlib import Path

from fuse.config import FuseConfig
from fuse.dataset.layout import Layout
from fuse.dataset.manifest import read_manifest, write_manifest
from fuse.dataset.packing import pack_shard, packed_uids, plan_shards
from fuse.job import FuseJob
from fuse.worker import process
from render.job import Placement
from tests.helpers import fuse_scenes as scenes

CUBE_COLORS = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255], [255, 0, 255]]
SHAPES = {
    "cube": scenes.Scene().box([-1, -1, -1], [1, 1, 1], CUBE_COLORS),
    "plate": scenes.Scene().box([-1, -0.6, -0.05], [1, 0.6, 0.05], (9, 200, 9)),
    "tower": scenes.Scene().box([-0.3, -0.2, -1], [0.3, 0.2, 1], (30, 60, 90)),
    "ball": scenes.sphere(40),
}


def bundle_path(out: Path, uid: str) -> Path:
    return Layout(out).bundle(uid)


def add_models(out: Path, uids: list[str], shard_rows: int = 3) -> dict[str, dict]:
    """Render, fuse and pack models into a dataset folder as the engine does; return what `process`
    returned."""
    records, layout = {}, Layout(out)
    for uid in uids:
        path = bundle_path(out, uid)
        path.parent.mkdir(parents=True, exist_ok=True)
        scenes.bundle(path, SHAPES[uid.split("-")[0]], views=6, size=48, uid=uid)
        layout.staging.mkdir(parents=True, exist_ok=True)
        job = FuseJob(uid=uid, config_hash="", config=FuseConfig(points=300), seed=7)
        place = Placement(input=path, output=layout.staged_row(uid), scratch=out)
        records[uid] = process(job, place)
    parts = read_manifest(layout.clouds)
    plans = plan_shards(uids, parts, packed_uids(layout.clouds, parts), seed=7, shard_rows=shard_rows)
    splits = dict.fromkeys(uids, "train")
    new = [pack_shard(plan, layout, "abc", {"insideout": "test"}, 0.005, splits) for plan in plans]
    write_manifest(layout.clouds, [*parts, *new])
    return records
