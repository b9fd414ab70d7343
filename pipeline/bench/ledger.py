"""How a dataset of N models weighs on the driver: `insideout bench --ledger 1000000`.

Makes real files (an empty model and an empty bundle a model) and a ledger of one run, in which one model of
ten failed; then does what a run does before its first model, and what people ask of a dataset. Each step is a
process of its own, so that its seconds and its peak of memory are its own.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fuse.dataset.layout import Layout
from pipeline.config import EngineConfig, config_hash
from pipeline.engine.resume import Resume
from pipeline.inputs.discovery import default_uid, discover
from pipeline.ledger import compact
from pipeline.ledger.known import Known
from pipeline.ledger.rows import Row
from pipeline.stages.render import bundle_stored, render_tasks
from render.config import RenderConfig
from render.failures import FailureClass, Status

_A_FOLDER = 1000  # models in one
_RUN = "20260101T000000.000000-abcdef"
_SAID = {"stage": "render", "models": "models", "time": 1767225600.0}
_TAIL = "".join(f"line {number}: what the native library said before it died\n" for number in range(30))


def measure(count: int, folder: Path | None = None) -> str:
    """A Markdown table: what each step takes with `count` models. `folder` is where the files go."""
    lines = [
        f"{count:,} models, one of ten failed\n",
        "| step | seconds | CPU-seconds | peak MiB |",
        "|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory(prefix="insideout-bench-", dir=folder) as base:
        make(Path(base), count)
        for name in STEPS:
            wall, cpu, memory, found = _apart(name, base)
            lines.append(f"| {name} ({found}) | {wall:.1f} | {cpu:.1f} | {memory:.0f} |")
    return "\n".join(lines)


def make(base: Path, count: int) -> None:
    """Models, their bundles, and the ledger of the run that made them."""
    layout, key = Layout(base / "out"), config_hash(RenderConfig())
    for number in range(256):
        (layout.views / f"{number:02x}").mkdir(parents=True)
    ledger = layout.ledger("render")
    ledger.mkdir(parents=True)
    with (ledger / f"{_RUN}.jsonl").open("w") as file:
        file.write(json.dumps({"run": _RUN, **_SAID, "given": count, "todo": count}) + "\n")
        for number in range(count):
            file.write(_model(base, layout, number, key).to_json() + "\n")


def _model(base: Path, layout: Layout, number: int, key: str) -> Row:
    """Make one model's files; its row."""
    source = f"{number // _A_FOLDER:05d}/model-{number:08d}.glb"
    path, uid = base / "models" / source, default_uid(source)
    if number % _A_FOLDER == 0:
        path.parent.mkdir(parents=True)
    path.touch()
    failed = number % 10 == 9
    if not failed:
        layout.bundle(uid).touch()
    row = Row(
        uid=uid,
        source=source,
        status=Status.FAILED if failed else Status.OK,
        kind=FailureClass.CRASH if failed else None,
        message="The process died: SIGSEGV." if failed else None,
        seconds=number % 977 / 100,
        steps={"import": 0.0436, "freeze": 0.0013, "color": 0.0606, "geometry": 0.2058, "write": 0.015},
        peak_rss_mib=300 + number % 613,
        log_tail=_TAIL if failed else None,
        config_hash=key,
        input_sha256=f"{number:064x}",
        input_size=0,
        input_mtime_ns=path.stat().st_mtime_ns,
        bytes=None if failed else 0,
        record={"views": 20, "faces": number, "importer": "gltf", "cpu_seconds": {"import": 0.0412}},
        time=_SAID["time"] + number,
    )
    return row


def _list(base: Path) -> str:
    return f"{len(discover(base / 'models').models):,} found"


def _resume(base: Path) -> str:
    """From the command to the first task: list, read the ledger, ask for every input and output."""
    layout, config = Layout(base / "out"), RenderConfig()
    models = discover(base / "models").models
    known = Known.load(layout.ledger("render"))
    resume = Resume(config_hash(config), known, EngineConfig().on_existing, bundle_stored(layout))
    todo = resume.todo(render_tasks(models, config, layout))
    return f"{len(todo):,} to do, {resume.kept:,} kept, {resume.left_failed:,} failed before"


def _fold(base: Path) -> str:
    layout = Layout(base / "out")
    compact.fold(layout.ledger("render"), layout.temporary)
    return f"{(layout.ledger('render') / compact.NAME).stat().st_size / 1e6:,.0f} MB"


def _status(base: Path) -> str:
    from pipeline.ledger.status import Status

    return " ".join(Status(base / "out").refresh()[1].split())


def _failures(base: Path) -> str:
    from pipeline.ledger.failed import failed_rows

    return f"{len(failed_rows(Layout(base / 'out'), 'render')):,} rows"


def _totals(base: Path) -> str:
    return f"{Known.load(Layout(base / 'out').ledger('render')).totals()[0]:,} ok"


def _fuse_tasks(base: Path) -> str:
    from fuse.config import FuseConfig
    from pipeline.output import record as dataset
    from pipeline.stages.fuse import fuse_tasks

    layout = Layout(base / "out")
    dataset.claim(layout, "render", RenderConfig(), overwrite=False)
    return f"{len(fuse_tasks(layout, FuseConfig())[0]):,} tasks"


STEPS: dict[str, Callable[[Path], str]] = {
    "list the models": _list,
    "resume, from the run's own file": _resume,
    "status, from the run's own file": _status,
    "fold": _fold,
    "resume": _resume,
    "status": _status,
    "failures": _failures,
    "totals": _totals,
    "list what to fuse": _fuse_tasks,
}


def _apart(name: str, base: str) -> tuple[float, float, float, str]:
    """(seconds, CPU-seconds, peak MiB, what was found) of one step; CPU-seconds with the imports."""
    command = [sys.executable, "-m", "pipeline.bench.ledger", name, base]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ})
    wall, cpu, memory, found = json.loads(done.stdout.splitlines()[-1])
    return wall, cpu, memory, found


def _main(name: str, base: str) -> None:
    started = time.monotonic()
    found = STEPS[name](Path(base))
    wall, used = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps([wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, found]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
