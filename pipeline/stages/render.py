"""The render stage as a run: find the models, claim OUT, do what is not done, describe the dataset."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from fuse.dataset.layout import Layout
from pipeline.config import EngineConfig
from pipeline.engine.resume import Known, LocalStamps, Resume
from pipeline.engine.runner import Summary, run_stage
from pipeline.engine.tasks import bundle_stored, render_stage, render_tasks
from pipeline.inputs.discovery import Discovery, discover
from pipeline.ledger.compact import fold
from pipeline.output import record as dataset
from pipeline.output.commit import exclusive
from render.config import RenderConfig
from render.failures import UserError


def render(
    models: Path, out: Path, config: RenderConfig, engine: EngineConfig, only: Collection[str] | None = None
) -> Summary:
    """Render a bundle of every model in `models` (folder, list or file), or of the uids `only`, to `out`."""
    found = discover(models)
    layout = Layout(out.absolute())
    with exclusive(layout):
        dataset.claim(layout, "render", config, overwrite=engine.on_existing == "overwrite")
        fold(layout.ledger("render"), layout.temporary)
        tasks = render_tasks(found.models, config, layout)
        if only is not None:
            tasks = tasks.among(only)
            if not tasks:
                raise UserError(f"None of the {len(only)} models is in {models}. Is it the right folder?")
        stage = render_stage(config, layout)
        resume = _resume(found, layout, stage.config_hash, engine)
        summary = run_stage(stage, tasks, engine, found.rejections, resume, str(models))
        dataset.describe(layout)
    return summary


def _resume(found: Discovery, layout: Layout, config_hash: str, engine: EngineConfig) -> Resume:
    known = Known.load(layout.ledger("render"))
    stamps = LocalStamps() if found.stamps is None else found.stamps
    return Resume(config_hash, known, engine.on_existing, bundle_stored(layout), stamps)
