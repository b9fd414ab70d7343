"""What the engine itself costs, and whether its children stay small: `insideout bench`, with `--memory 500`.

Cost: a stage whose job burns a known time of one core is run at 1 and at 2 workers, through the real runner,
with inputs and outputs as large as a typical model's, and once more with small ones. The engine's share is
the time between two jobs of a child.

Memory: real models, again and again under new names, through `render` at a small size, in children that are
never replaced. The resident peak of every model is in the ledger.
"""

from __future__ import annotations

import csv
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from fuse.dataset.layout import Layout
from pipeline.config import EngineConfig
from pipeline.engine.resume import Resume
from pipeline.engine.runner import run_stage
from pipeline.engine.session import ray_session
from pipeline.engine.tasks import Stage, Task
from pipeline.errors import InfrastructureError
from pipeline.inputs.discovery import Model, discover
from pipeline.ledger.compact import latest
from pipeline.ledger.known import Known
from pipeline.ledger.rows import Row
from pipeline.output.commit import exclusive
from pipeline.stages.render import render
from render.config import RenderConfig
from render.importing.gltf import glb
from render.job import Job, Placement, Record

_TYPICAL = (5 << 20, 4 << 20)  # bytes: a textured model, its bundle
_SMALL = (50 << 10, 100 << 10)
_SETTLING = 1  # models of a worker, in a run of their own, for Ray's workers to start
_TINY = RenderConfig(resolution=64, views=2, samples=1)
_NEVER = 1 << 20  # models or MiB: children are not replaced


@dataclass(frozen=True)
class Cost:
    """What the engine took per model."""

    workers: int
    sizes: tuple[int, int]  # bytes of an input and an output
    models_per_second: float
    job: float  # seconds of the job itself
    beyond: float  # seconds between two jobs of a child
    cpu: float  # seconds of a core, in all of the engine's processes together


class BurnJob(Job):
    """Keeps one core busy."""

    burn: float
    """CPU-seconds."""
    size: int
    """Bytes of the output."""


class BurnRecord(Record):
    """When the job ended, and in which child."""

    child: int
    """Process id."""
    ended: float
    """Seconds of the machine's monotonic clock."""


JOB = BurnJob


def process(job: BurnJob, place: Placement) -> BurnRecord:
    """Keep one core busy for `job.burn` CPU-seconds, and write an output."""
    began, cpu = time.monotonic(), time.process_time()
    while time.process_time() - cpu < job.burn:
        sum(range(1000))
    place.output.write_bytes(os.urandom(job.size))
    ended = time.monotonic()
    return BurnRecord(seconds={"burn": ended - began}, child=os.getpid(), ended=ended)


def engine_table(burn: float, count: int) -> str:
    """A Markdown table of the engine's cost at 1 and 2 workers, for jobs of `burn` CPU-seconds."""
    many = 4 * count  # for whole portions
    one, two, small = cost(1, burn, count), cost(2, burn, count), cost(1, burn, many, _SMALL)
    lines = [
        f"The engine itself: jobs of {burn:g} CPU-seconds, {count} models per worker, {many} small ones\n",
        "| workers | KiB in, out | models/s | job, s | beyond it, ms | share | engine's CPU, ms per model |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_line(one), _line(two), _line(small)]
    efficiency = two.models_per_second / (2 * one.models_per_second)
    return "\n".join([*lines, f"\nParallel efficiency from 1 to 2 workers: {efficiency:.1%}\n"])


def _line(cost: Cost) -> str:
    share = cost.beyond / cost.job
    sizes = ", ".join(f"{size >> 10}" for size in cost.sizes)
    speed = f"{cost.workers} | {sizes} | {cost.models_per_second:.3f} | {cost.job:.3f}"
    return f"| {speed} | {1000 * cost.beyond:.0f} | {share:.1%} | {1000 * cost.cpu:.0f} |"


def cost(workers: int, burn: float, count: int, sizes: tuple[int, int] = _TYPICAL) -> Cost:
    """Run `count` models per worker, and those that settle it; InfrastructureError if one fails."""
    with tempfile.TemporaryDirectory(prefix="insideout-bench-") as folder:
        layout = Layout(Path(folder, "out"))
        tasks = _tasks(Path(folder), layout, workers * (count + _SETTLING), burn, sizes)
        engine = EngineConfig(workers=workers, timeout=60 + 20 * burn)
        stage = Stage("bench", "pipeline.bench.engine", "bench", layout, lambda _: None)
        with exclusive(layout), ray_session(engine):
            run_stage(stage, tasks[: workers * _SETTLING], engine, _resume(layout))
            resume = _resume(layout)  # Arrow looks for pandas at its first use, once per run
            before = _engine_cpu()
            run_stage(stage, tasks, engine, resume)
            cpu = _engine_cpu() - before
        rows = list(latest(layout.ledger("bench")).values())
    _check(rows, len(tasks))
    return _cost(workers, sizes, rows, cpu / (workers * count))


def _resume(layout: Layout) -> Resume:
    """What an earlier run did is in place."""
    return Resume("bench", Known.load(layout.ledger("bench")), "skip", lambda *_: True)


def _cost(workers: int, sizes: tuple[int, int], rows: Sequence[Row], cpu: float) -> Cost:
    beyond = statistics.mean(_between(rows))
    job = statistics.mean(row.steps["burn"] for row in rows)
    return Cost(workers, sizes, workers / (job + beyond), job, beyond, cpu)


def _between(rows: Sequence[Row]) -> Iterator[float]:
    """Seconds from the end of each job to the beginning of the same child's next one."""
    in_turn = sorted(rows, key=lambda row: (row.record["child"], row.record["ended"]))
    for before, after in itertools.pairwise(in_turn):
        if before.record["child"] == after.record["child"]:
            yield after.record["ended"] - after.steps["burn"] - before.record["ended"]


def _engine_cpu() -> float:
    """CPU-seconds so far of this process and all below it, but for the children that do the jobs."""
    me = psutil.Process()
    ours = [process for process in (me, *me.children(recursive=True)) if not _does_jobs(process)]
    return sum(sum(process.cpu_times()[:2]) for process in ours if process.is_running())


def _does_jobs(process: psutil.Process) -> bool:
    return "pipeline.sandbox.child" in process.cmdline()


def _tasks(folder: Path, layout: Layout, count: int, burn: float, sizes: tuple[int, int]) -> list[Task]:
    models = folder / "models"
    models.mkdir()
    tasks = []
    for number in range(count):
        path = models / f"{number:04d}.glb"
        path.write_bytes(glb({"asset": {"version": "2.0"}}, os.urandom(sizes[0])))
        job = BurnJob(uid=f"model-{number:04d}", config_hash="bench", burn=burn, size=sizes[1])
        tasks.append(Task(path.name, path, layout.bundle(job.uid), job))
    return tasks


def _check(rows: Sequence[Row], count: int) -> None:
    failed = [row for row in rows if not row.ok]
    if failed or len(rows) < count:
        message = failed[0].message if failed else "models are missing"
        raise InfrastructureError(f"The engine's bench failed: {message}")


def memory_table(models: Path, count: int, workers: int) -> str:
    """A Markdown table of the children's resident peaks at the run's start, middle and end."""
    with tempfile.TemporaryDirectory(prefix="insideout-bench-") as folder:
        listed = Path(folder, "models.csv")
        _write_list(listed, discover(models).models, count)
        out = Path(folder, "out")
        engine = EngineConfig(workers=workers, recycle_models=_NEVER, recycle_mib=_NEVER)
        render(listed, out, _TINY, engine)
        rows = sorted(latest(Layout(out).ledger("render")).values(), key=lambda row: row.time)
    return _memory_lines(rows, workers)


def _write_list(path: Path, models: Sequence[Model], count: int) -> None:
    """`count` rows: every model in turn, repeated under new names."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "uid"])
        for number in range(count):
            writer.writerow([models[number % len(models)].location, f"model-{number:06d}"])


def _memory_lines(rows: Sequence[Row], workers: int) -> str:
    third = max(1, len(rows) // 3)
    parts = {"start": rows[:third], "middle": rows[third : 2 * third], "end": rows[2 * third :]}
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(row.source, row.peak_rss_mib)
    failed = sum(not row.ok for row in rows)
    lines = [
        f"{len(rows)} models ({failed} failed) from {len(first)} files, {workers} workers, 64 px, "
        "children never replaced: resident peak of a model's process, MiB\n",
        "| part | models | median | 90 % | largest | against the same file's first time, median |",
        "|---|---|---|---|---|---|",
    ]
    for name, part in parts.items():
        lines.append(f"| {name} | {len(part)} | {_peaks(part)} | {_growth(part, first)} |")
    return "\n".join(lines) + "\n"


def _peaks(rows: Sequence[Row]) -> str:
    peaks = sorted(row.peak_rss_mib for row in rows)
    return f"{statistics.median(peaks):.0f} | {peaks[int(0.9 * (len(peaks) - 1))]} | {peaks[-1]}"


def _growth(rows: Iterable[Row], first: dict[str, int]) -> str:
    """Of the files that came before: how many MiB more than then."""
    return f"{statistics.median(row.peak_rss_mib - first[row.source] for row in rows):+.0f}"
