"""The fuse stage as a run: one staged row per bundle, then the rows packed into shards, then the manifest.

Shards are append-only: rows that still match their bundle are never touched. A shard with a row whose bundle
or configuration has changed is taken apart first, and its other rows are packed again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fuse.config import FuseConfig
from fuse.dataset import packing, splits, storage
from fuse.dataset.layout import Layout
from fuse.dataset.manifest import Part, read_manifest, write_manifest
from fuse.dataset.shard import Shard, write_shard
from fuse.job import FuseJob
from pipeline.config import EngineConfig, config_hash
from pipeline.engine.resume import Resume
from pipeline.engine.runner import Summary, run_stage
from pipeline.engine.session import ray_session
from pipeline.engine.tasks import Stage, Task, Tasks
from pipeline.inputs.file_stats import LocalStamps, Stamps
from pipeline.ledger.compact import fold
from pipeline.ledger.known import Known
from pipeline.output import record
from pipeline.output.commit import exclusive
from render.failures import UserError

_NO_BUNDLES = "{out}: no view bundles. Run `insideout render MODELS {out}` first."


class Source(NamedTuple):
    """A bundle to fuse."""

    uid: str
    name: str  # below OUT/views


def fuse(out: Path, config: FuseConfig, engine: EngineConfig, only: Collection[str] | None = None) -> Summary:
    """Fuse every bundle of `out`, or those of the uids `only`, into its cloud shards."""
    layout = Layout(out.absolute())
    layout.refuse_links()
    if not layout.views.is_dir():
        raise UserError(_NO_BUNDLES.format(out=layout.root))
    with exclusive(layout):
        tasks, stamps = fuse_tasks(layout, config)
        if only is not None:
            tasks = tasks.among(only)
            if not tasks:
                raise UserError(f"{layout.root}: none of the {len(only)} models has a bundle. Render first.")
        record.claim(layout, "fuse", config, overwrite=engine.on_existing == "overwrite")
        fold(layout.ledger("fuse"), layout.temporary)
        packing.sweep(layout)
        summary = _fuse(layout, tasks, stamps, config, engine)
        record.describe(layout)
    return summary


def _fuse(
    layout: Layout, tasks: Tasks, stamps: Stamps | LocalStamps, config: FuseConfig, engine: EngineConfig
) -> Summary:
    stage = Stage("fuse", "fuse.worker", config_hash(config), layout, _states_no_key, models=False)
    known = Known.load(layout.ledger(stage.name))

    def resume(stored: Collection[str] | None) -> Resume:
        there = (lambda *_: True) if stored is None else (lambda uid, _: uid in stored)
        return Resume(stage.config_hash, known, engine.on_existing, there, stamps)

    packed = _drop_stale_rows(layout, tasks, resume(None))
    summary = run_stage(stage, tasks, engine, resume(packed | layout.staged()), models=str(layout.root))
    if summary.exit_code == 0:
        pack(layout, config, engine, record.seed(layout))
    return summary


def fuse_tasks(layout: Layout, config: FuseConfig) -> tuple[Tasks, Stamps | LocalStamps]:
    """A task per bundle that the current render configuration made, in the order of their uids.

    And the bundles' sizes and times, which a remote listing has already given.
    """
    known, wanted = Known.load(layout.ledger("render")), record.render_config_hash(layout)
    stamps = LocalStamps() if storage.is_local(layout.root) else Stamps()
    views, sources = str(layout.views), []
    for uid, entry in layout.bundles():
        seen = known.get(uid)
        if seen is not None and not (seen.ok and seen.config_hash == wanted):
            continue  # an older configuration's, not rendered again yet
        sources.append(Source(uid, entry.name))
        if isinstance(stamps, Stamps):
            stamps.add(f"{views}/{entry.name}", entry.size, entry.mtime_ns)
    if not sources:
        raise UserError(_NO_BUNDLES.format(out=layout.root))
    make = _maker(layout, config)
    return Tasks(sorted(sources), make, lambda source: (source.uid, f"{views}/{source.name}")), stamps


def _maker(layout: Layout, config: FuseConfig) -> Callable[[Source], Task]:
    key, seed = config_hash(config), record.seed(layout)

    def task(source: Source) -> Task:
        path = layout.views / source.name
        job = FuseJob(uid=source.uid, config_hash=key, config=config, seed=seed)
        return Task(f"{layout.views.name}/{source.name}", path, layout.staged_row(source.uid), job)

    return task


def _states_no_key(_: Path) -> None:
    """A staged row does not say what it was made from."""


def pack(layout: Layout, config: FuseConfig, engine: EngineConfig, seed: int) -> list[Part]:
    """Pack the staged rows into new shards, name them in the manifest, and clear the staging folder."""
    parts = read_manifest(layout.clouds)
    staged = layout.staged()
    packed = packing.packed_uids(layout.clouds, parts) if staged else set()
    plans = packing.plan_shards(staged, parts, packed, seed, config.shard_rows, layout.shards())
    if plans:
        members = splits.read_members(layout, parts, staged - packed)
        decided = splits.decide(members, config.validation, config.test)
        packing.announce(layout, {plan.file: plan.uids for plan in plans})
        new = _pack_all(plans, layout, config, engine, decided)
        write_manifest(layout.clouds, [*parts, *new], layout.temporary)
    packing.remove_staged(layout, staged - packed, staged & packed)
    return read_manifest(layout.clouds)


def _pack_all(
    plans: Sequence[packing.Plan],
    layout: Layout,
    config: FuseConfig,
    engine: EngineConfig,
    decided: Mapping[str, str],
) -> list[Part]:
    common = (layout, config_hash(config), record.versions(), config.row_group_mib)
    if len(plans) == 1:  # not worth starting Ray for
        return [packing.pack_shard(plans[0], *common, decided)]
    import ray

    with ray_session(engine):
        task = ray.remote(packing.pack_shard).options(num_cpus=1, max_retries=3)
        own = [{uid: decided[uid] for uid in plan.uids if uid in decided} for plan in plans]
        return ray.get([task.remote(plan, *common, some) for plan, some in zip(plans, own, strict=True)])


def _drop_stale_rows(layout: Layout, tasks: Tasks, resume: Resume) -> set[str]:
    """Take apart every shard that holds a row to be fused again; return the uids that stay packed."""
    parts = read_manifest(layout.clouds)
    stale = {task.uid for task in resume.todo(tasks)} if parts else set()
    kept: list[Part] = []
    packed: set[str] = set()
    apart: dict[str, list[str]] = {}
    for part, uids in zip(parts, packing.uids_by_part(layout.clouds, parts), strict=True):
        if stale.isdisjoint(uids):
            kept.append(part)
            packed.update(uids)
        else:
            _unpack(layout, part, leave_out=stale)
            apart[part.file] = uids
    if apart:
        packing.announce(layout, apart)
        write_manifest(layout.clouds, kept, layout.temporary)
        packing.sweep(layout)
    return packed


def _unpack(layout: Layout, part: Part, leave_out: Collection[str]) -> None:
    """Move a shard's rows back to the staging folder."""
    with Shard(layout.shard(part.file)) as shard:
        for group in range(shard.row_groups):
            table = shard.table(group)
            for index, uid in enumerate(table["uid"].to_pylist()):
                if uid not in leave_out:
                    with storage.writing(layout.staged_row(uid), layout.temporary) as path:
                        write_shard(path, [table.slice(index, 1)], part.config_hash, {})
