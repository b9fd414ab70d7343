"""The fuse stage as a run: a staged row a bundle, then the rows packed into shards, then the manifest.

Shards are append-only: rows that they hold and that still match their bundle are never touched. A shard with
a row whose bundle or configuration has changed is taken apart first, and its other rows are packed anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from fuse import packing
from fuse.config import FuseConfig
from fuse.manifest import Part, read_manifest, write_manifest
from fuse.shard import Shard, write_shard
from pipeline import dataset
from pipeline.commit import exclusive
from pipeline.config import EngineConfig, config_hash
from pipeline.errors import UserError
from pipeline.layout import Layout
from pipeline.ledger import Row, latest
from pipeline.runner import Summary, is_done, run_stage
from pipeline.session import ray_session
from pipeline.stages import Only, Stage, Task, no_key

_NO_BUNDLES = "{out}: no view bundles. Run `insideout render --models DIR --out {out}` first."


def fuse(out: Path, config: FuseConfig, engine: EngineConfig, only: Only | None = None) -> Summary:
    """Fuse every bundle of `out`, or `only` some, into its cloud shards."""
    layout = Layout(out.absolute())
    if not layout.views.is_dir():
        raise UserError(_NO_BUNDLES.format(out=layout.root))
    with exclusive(layout):
        tasks = fuse_tasks(layout, config)
        if only is not None:
            tasks = only(tasks)
        dataset.claim(layout, "fuse", config, overwrite=engine.on_existing == "overwrite")
        _sweep(layout)
        summary = _fuse(layout, tasks, config, engine)
        dataset.describe(layout)
    return summary


def _fuse(layout: Layout, tasks: Sequence[Task], config: FuseConfig, engine: EngineConfig) -> Summary:
    stage = Stage("fuse", "fuse.worker", config_hash(config), layout, no_key)
    packed = _drop_stale_rows(stage, tasks, engine)

    def stored(task: Task, _: Row) -> bool:
        return task.uid in packed or task.output.exists()

    summary = run_stage(stage, tasks, engine, stored=stored)
    if summary.exit_code == 0:
        pack(layout, config, engine, dataset.seed(layout))
    return summary


def fuse_tasks(layout: Layout, config: FuseConfig) -> list[Task]:
    """A task a bundle that the current render configuration made, in the order of their uids."""
    rendered, wanted = latest(layout.ledger("render")), dataset.render_config_hash(layout)
    values, seed, digest = config.model_dump(mode="json"), dataset.seed(layout), config_hash(config)
    tasks = []
    for uid, path in layout.bundles():
        row = rendered.get(uid)
        if row is not None and not (row.ok and row.config_hash == wanted):
            continue  # an older configuration's: rendering it again was begun and has not come this far
        job = {"uid": uid, "bundle": str(path), "config": values, "config_hash": digest, "seed": seed}
        tasks.append(Task(uid, str(path.relative_to(layout.root)), path, layout.staged_row(uid), job))
    if not tasks:
        raise UserError(_NO_BUNDLES.format(out=layout.root))
    return tasks


def pack(layout: Layout, config: FuseConfig, engine: EngineConfig, seed: int) -> list[Part]:
    """Pack the staged rows into new shards, name them in the manifest, and clear the staging folder."""
    parts = read_manifest(layout.clouds)
    staged = {path.stem: str(path) for path in layout.staging.glob("*.parquet")}
    packed = packing.packed_uids(layout.clouds, parts) if staged else set()
    plans = packing.plan_shards(staged, parts, packed, seed, config.shard_rows)
    if plans:
        new = _pack_all(plans, layout, config, engine)
        write_manifest(layout.clouds, [*parts, *new])
    shutil.rmtree(layout.staging, ignore_errors=True)
    return read_manifest(layout.clouds)


def _pack_all(
    plans: Sequence[packing.Plan], layout: Layout, config: FuseConfig, engine: EngineConfig
) -> list[Part]:
    common = (layout.clouds, config_hash(config), dataset.versions(), config.row_group_mib)
    if len(plans) == 1:  # not worth starting Ray for
        return [packing.pack_shard(plans[0], *common)]
    import ray

    with ray_session(engine):
        task = ray.remote(packing.pack_shard).options(num_cpus=1, max_retries=3)
        return ray.get([task.remote(plan, *common) for plan in plans])


def _drop_stale_rows(stage: Stage, tasks: Sequence[Task], engine: EngineConfig) -> set[str]:
    """Take apart every shard that holds a row to be made again; the uids that are packed afterwards."""
    layout = stage.layout
    parts = read_manifest(layout.clouds)
    known = latest(layout.ledger(stage.name)) if parts else {}
    stale = {
        task.uid
        for task in tasks
        if not is_done(stage, task, known.get(task.uid), engine.on_existing, lambda *_: True)
    }
    kept: list[Part] = []
    packed: set[str] = set()
    for part in parts:
        uids = set(packing.packed_uids(layout.clouds, [part]))
        if uids & stale:
            _unpack(layout, part, leave_out=stale)
        else:
            kept.append(part)
            packed |= uids
    if len(kept) < len(parts):
        write_manifest(layout.clouds, kept)
        _sweep(layout)
    return packed


def _unpack(layout: Layout, part: Part, leave_out: set[str]) -> None:
    """Put a shard's rows back into the staging folder."""
    layout.staging.mkdir(parents=True, exist_ok=True)
    with Shard(layout.clouds / part.file) as shard:
        for group in range(shard.row_groups):
            table = shard.table(group)
            for index, uid in enumerate(table["uid"].to_pylist()):
                if uid not in leave_out:
                    temporary = layout.staging / f".{uid}"
                    write_shard(temporary, [table.slice(index, 1)], part.config_hash, {})
                    temporary.rename(layout.staged_row(uid))


def _sweep(layout: Layout) -> None:
    """Remove shards that the manifest does not name, and what a killed packer left."""
    named = {part.file for part in read_manifest(layout.clouds)}
    for path in (
        *layout.clouds.glob("part-*.parquet"),
        *layout.clouds.glob(".*.*"),
        *layout.staging.glob(".*"),
    ):
        if path.is_file() and path.name not in named:
            path.unlink()
