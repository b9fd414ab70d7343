"""Real renders: a Blender child, supervised as in production, and scenes built by short Blender scripts."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine.supervisor import Outcome, Supervisor
from pipeline.sandbox.process import Limits
from render.bundle import Bundle
from render.config import RenderConfig
from render.job import Placement, RenderJob
from tests.helpers.places import ROOT

QUICK = {"views": 4, "resolution": 96, "samples": 2}


@pytest.fixture(scope="session")
def render_child() -> Iterator[Supervisor]:
    supervisor = Supervisor("render.worker", Limits(timeout=240, memory_mib=6000))
    yield supervisor
    supervisor.close()


@pytest.fixture
def attempt(render_child: Supervisor, tmp_path: Path) -> Callable[..., Outcome]:
    """`attempt(path, name, **config)`: what becomes of one model in the child; its bundle is `name`.zip.

    `threads` are the placement's; all else is configuration.
    """

    def run(path: Path, name: str = "bundle", **settings: Any) -> Outcome:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        threads = settings.pop("threads", 1)
        config = RenderConfig.model_validate(QUICK | settings)
        job = RenderJob(uid="test", config_hash="test", source=path.name, config=config)
        output = tmp_path / f"{name}.zip"
        place = Placement(input=path, output=output, scratch=scratch, threads=threads, input_sha256="0" * 64)
        return render_child.run(job, place)

    return run


@pytest.fixture
def render(attempt: Callable[..., Outcome], tmp_path: Path) -> Callable[..., Bundle]:
    """`render(path, **config)`: one model through the child; the opened bundle."""

    def run(path: Path, name: str = "bundle", **settings: Any) -> Bundle:
        outcome = attempt(path, name, **settings)
        assert outcome.ok, f"{outcome.kind}: {outcome.message}\n{outcome.log_tail}"
        return Bundle(tmp_path / f"{name}.zip")

    return run


@pytest.fixture
def blender() -> Callable[[str], None]:
    """`blender(script)` runs a script in a fresh Blender process with an empty scene."""

    def run(script: str) -> None:
        head = "import bpy, bmesh, math\nbpy.ops.wm.read_factory_settings(use_empty=True)\n"
        done = subprocess.run(
            [sys.executable, "-c", head + textwrap.dedent(script)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    return run
