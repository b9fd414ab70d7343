"""One job of some checkout's worker, in a process of its own: `pipeline.bench.against` runs it, with
PYTHONPATH naming the checkout.

    {"stage": "render", "input": "...", "output": "...", "scratch": "...", "config": {...}} > stdin
    {"cpu_seconds": {"color": 5.1, ...}, "peak_mib": 594} < stdout

The same program serves older checkouts, so it imports nothing of this one. They differ in how a worker is
called. It runs on one core, as the engine's workers do: on several, Blender's idle threads wait in a loop.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

SMALL = {"render": {"views": 1, "resolution": 32}, "fuse": {"hidden_points": 0, "solid_points": 0}}


def main() -> None:
    """Run the job twice: once small, so that everything is loaded, then as asked."""
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Blender's own messages
    with contextlib.suppress(PermissionError):  # where a container refuses it, on all
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    asked = json.load(sys.stdin)
    _process(asked | {"config": asked["config"] | SMALL[asked["stage"]]})
    json.dump({"cpu_seconds": _process(asked), "peak_mib": _peak()}, results)
    results.flush()


def _peak() -> int:
    """The most memory that this process has had, in MiB; `ru_maxrss` would count its parent's too."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) >> 10


def _process(asked: dict[str, Any]) -> dict[str, float]:
    worker = importlib.import_module(f"{asked['stage']}.worker")
    return (_typed if hasattr(worker, "JOB") else _untyped)(worker, asked)


def _typed(worker: Any, asked: dict[str, Any]) -> dict[str, float]:
    from render.job import Placement

    own = {"source": Path(asked["input"]).name} if asked["stage"] == "render" else {"seed": 0}
    job = worker.JOB(uid="bench", config_hash="bench", config=asked["config"], **own)
    place = {name: asked[name] for name in ("input", "output", "scratch")} | {"input_sha256": ""}
    return worker.process(job, Placement.model_validate(place)).cpu_seconds


def _untyped(worker: Any, asked: dict[str, Any]) -> dict[str, float]:
    """As until commit 8dd850e: a job is a dict."""
    job = {"uid": "bench", "config_hash": "bench", "source_sha256": "", "seed": 0, "threads": 1, **asked}
    job |= {"source": Path(asked["input"]).name, "path": asked["input"], "bundle": asked["input"]}
    return worker.process(job)["cpu_seconds"]


if __name__ == "__main__":
    main()
