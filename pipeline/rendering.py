"""The render stage as a run: find the models, claim OUT, do what is not done, describe the dataset."""

from __future__ import annotations

from pathlib import Path

from pipeline import dataset
from pipeline.commit import exclusive
from pipeline.config import EngineConfig
from pipeline.discovery import discover
from pipeline.layout import Layout
from pipeline.runner import Summary, run_stage
from pipeline.stages import Only, render_stage, render_tasks
from render.config import RenderConfig


def render(
    models: Path, out: Path, config: RenderConfig, engine: EngineConfig, only: Only | None = None
) -> Summary:
    """Render a bundle of every model in `models` (folder, list or file), or of `only` some, into `out`."""
    found = discover(models)
    layout = Layout(out.absolute())
    with exclusive(layout):
        dataset.claim(layout, "render", config, overwrite=engine.on_existing == "overwrite")
        tasks = render_tasks(found.models, config, layout)
        if only is not None:
            tasks = only(tasks)
        summary = run_stage(render_stage(config, layout), tasks, engine, found.rejections)
        dataset.describe(layout)
    return summary
