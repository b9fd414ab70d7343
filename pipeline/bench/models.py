"""Seconds and CPU-seconds per model, by step: `insideout bench` (or `make bench`).

One child is up and has processed a first model (steady state); then each model is rendered and fused several
times and the fastest run of each step is shown: other work on the machine can only add to a time.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fuse.config import FuseConfig
from fuse.job import FuseJob
from pipeline.engine.supervisor import Outcome, Supervisor
from pipeline.sandbox.process import Limits
from render.config import RenderConfig
from render.failures import UserError
from render.job import Job, Placement, RenderJob

BUNDLE, ROW = "bundle.zip", "row.parquet"
INSIDE = ("geometry", "interior", "label", "solid")  # the steps that make depth, layers, labels and solids
Times = dict[str, tuple[float, float]]  # step -> wall seconds, CPU seconds


def tables(models: Sequence[Path], resolutions: Sequence[int], repeat: int, threads: int) -> Iterator[str]:
    """A Markdown table per model and resolution, with the inside's share and the sizes of the outputs.

    `models` are files; without any, it is the sample car. `threads` are those of the one Blender child.
    """
    with tempfile.TemporaryDirectory(prefix="insideout-bench-") as folder:
        models = models or [sample_models(Path(folder, "samples")) / "car.glb"]
        limits = Limits(threads=threads)
        stages = {name: Supervisor(f"{name}.worker", limits) for name in ("render", "fuse")}
        try:
            for model in models:
                for resolution in resolutions:
                    best = measure(stages, model, resolution, repeat, folder)
                    rows = [table(model.name, resolution, best), inside_share(best), sizes(Path(folder)), ""]
                    yield "\n".join(rows)
        finally:
            for supervisor in stages.values():
                supervisor.end()


def measure(
    stages: dict[str, Supervisor], model: Path, resolution: int, repeat: int, folder: str
) -> dict[str, Times]:
    """Stage -> step -> the fastest wall and CPU seconds of `repeat` runs, after one that is not counted."""
    bundle, row, scratch = Path(folder) / BUNDLE, Path(folder) / ROW, Path(folder)
    common: dict[str, Any] = {"uid": "bench", "config_hash": "bench"}
    threads = stages["render"].limits.threads
    render = RenderJob(source=model.name, config=RenderConfig(resolution=resolution), **common)
    fuse = FuseJob(seed=0, config=FuseConfig(), **common)
    jobs: dict[str, tuple[Job, Placement]] = {
        "render": (
            render,
            Placement(input=model, output=bundle, scratch=scratch, threads=threads, input_sha256=""),
        ),
        "fuse": (fuse, Placement(input=bundle, output=row, scratch=scratch)),
    }
    best: dict[str, Times] = {"render": {}, "fuse": {}}
    for run in range(repeat + 1):
        for name, (job, place) in jobs.items():
            outcome = stages[name].run(job, place)
            if not outcome.ok:
                raise UserError(f"{place.input}: {outcome.kind}: {outcome.message}")
            if run > 0:
                _keep_fastest(best[name], outcome)
    return best


def table(name: str, resolution: int, best: dict[str, Times]) -> str:
    """A Markdown table of one model at one resolution."""
    lines = [
        f"{name}, {resolution} x {resolution}\n",
        "| stage | step | seconds | CPU-seconds |",
        "|---|---|---|---|",
    ]
    for stage, steps in best.items():
        lines += [f"| {stage} | {step} | {wall:.2f} | {cpu:.2f} |" for step, (wall, cpu) in steps.items()]
        wall, cpu = (sum(times[i] for times in steps.values()) for i in (0, 1))
        lines.append(f"| **{stage}** | **all** | **{wall:.2f}** | **{cpu:.2f}** |")
    return "\n".join(lines) + "\n"


def inside_share(best: dict[str, Times]) -> str:
    """What the inside costs, compared with the lit views."""
    steps = best["render"] | best["fuse"]
    inside = sum(steps[step][1] for step in INSIDE if step in steps)
    color = steps["color"][1]
    share = f"{inside / color:.0%} of the color views' {color:.2f}"
    return f"{', '.join(INSIDE)}: {inside:.2f} CPU-seconds, {share}"


def sizes(folder: Path) -> str:
    """Bytes per model: the bundle by its members' folders, and the row."""
    parts: Counter[str] = Counter()
    with zipfile.ZipFile(folder / BUNDLE) as archive:
        for member in archive.infolist():
            parts[member.filename.split("/")[0]] += member.compress_size
    views = ", ".join(f"{name} {size / 1e6:.2f}" for name, size in parts.most_common(8))
    return (
        f"MB: bundle {sum(parts.values()) / 1e6:.2f} ({views}), row {(folder / ROW).stat().st_size / 1e6:.2f}"
    )


def machine() -> str:
    """This machine in a few words."""
    model = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.machine(),
    )
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _keep_fastest(best: Times, outcome: Outcome) -> None:
    for step, wall in outcome.steps.items():
        known = best.get(step, (float("inf"), float("inf")))
        best[step] = (min(known[0], wall), min(known[1], outcome.cpu_steps[step]))


def sample_models(folder: Path) -> Path:
    """Make the sample models in `folder`."""
    command = [sys.executable, "-m", "render.samples", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=300)
    return folder
