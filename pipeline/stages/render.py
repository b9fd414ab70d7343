"""The render stage as a run: find the models, claim the dataset, render what is not done, describe it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from fuse.dataset import storage
from fuse.dataset.layout import Layout
from pipeline.config import EngineConfig, config_hash
from pipeline.engine.resume import Resume
from pipeline.engine.runner import Summary, run_stage
from pipeline.engine.tasks import Stage, Task, Tasks, input_key
from pipeline.inputs.discovery import Discovery, Model, discover, licensed
from pipeline.inputs.file_stats import LocalStamps
from pipeline.ledger.compact import fold
from pipeline.ledger.known import Known
from pipeline.output import record
from pipeline.output.commit import exclusive
from render.bundle import Bundle, BundleError
from render.config import RenderConfig
from render.failures import UserError
from render.job import RenderJob


def render(
    models: Path,
    out: Path,
    config: RenderConfig,
    engine: EngineConfig,
    only: Collection[str] | None = None,
    require_license: bool = False,
) -> Summary:
    """Render every model in `models` (folder, list or file), or those of the uids `only`, into `out`."""
    found = licensed(discover(models)) if require_license else discover(models)
    layout = Layout(out.absolute())
    with exclusive(layout):
        record.claim(layout, "render", config, overwrite=engine.on_existing == "overwrite")
        fold(layout.ledger("render"), layout.temporary)
        tasks = render_tasks(found.models, config, layout)
        if only is not None:
            tasks = tasks.among(only)
            if not tasks:
                raise UserError(f"None of the {len(only)} models is in {models}. Is it the right folder?")
        stage = render_stage(config, layout)
        resume = _resume(found, layout, stage.config_hash, engine)
        summary = run_stage(stage, tasks, engine, resume, found.rejections, str(models))
        record.describe(layout)
    return summary


def render_stage(config: RenderConfig, layout: Layout) -> Stage:
    """Models to view bundles."""
    return Stage("render", "render.worker", config_hash(config), layout, bundle_key)


def render_tasks(models: Sequence[Model], config: RenderConfig, layout: Layout) -> Tasks:
    """One task per model, in the models' order."""
    key = config_hash(config)

    def task(model: Model) -> Task:
        job = RenderJob(
            uid=model.uid,
            config_hash=key,
            source=model.source,
            caption=model.caption,
            category=model.category,
            license=model.license,
            split=model.split,
            weight=model.weight,
            config=config,
        )
        return Task(model.source, model.path, layout.bundle(model.uid), job)

    return Tasks(models, task, lambda model: (model.uid, model.location))


def bundle_stored(layout: Layout) -> Callable[[str, int | None], bool]:
    """Whether a model's bundle is in place and has the size that it was committed with."""
    if storage.is_local(layout.root):
        return lambda uid, size: storage.size_of(f"{layout.views}/{layout.bundle_name(uid)}") == size
    sizes = {uid: entry.size for uid, entry in layout.bundles()}
    return lambda uid, size: sizes.get(uid) == size


def bundle_key(path: Path) -> tuple[str, str] | None:
    """(input key, config hash) that a bundle states of itself; None where it cannot be read."""
    try:
        with Bundle(path) as bundle:
            meta = bundle.meta
            return input_key(meta["source_sha256"], meta.get("companions_sha256")), meta["config_hash"]
    except (BundleError, KeyError):
        return None


def _resume(found: Discovery, layout: Layout, config_hash: str, engine: EngineConfig) -> Resume:
    known = Known.load(layout.ledger("render"))
    stamps = LocalStamps() if found.stamps is None else found.stamps
    return Resume(config_hash, known, engine.on_existing, bundle_stored(layout), stamps)
