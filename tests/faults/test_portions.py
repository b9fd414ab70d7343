"""kill -9 while the workers hold several quick models each: no row without its output, and no model is lost.

The real runner with two workers, as a process of its own.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.ledger.compact import latest, read_rows
from tests.helpers.commands_under_fire import below, end, using
from tests.helpers.places import ROOT
from tests.pipeline.engine.test_runner import outputs, wait_for

MODELS = 48
SCRIPT = f"""
import sys
from pathlib import Path
from tests.pipeline.engine.test_runner import *
tasks = make_tasks(Path("models"), Path("out"), ["ok"] * {MODELS})
sys.exit(run(make_stage(Path("out")), tasks, ENGINE).exit_code)
"""

pytestmark = pytest.mark.soak


@pytest.fixture
def folder() -> Iterator[Path]:
    """With models that take a twentieth of a second each."""
    with tempfile.TemporaryDirectory(prefix="io-p", dir="/tmp") as name:  # Ray's socket paths must stay short
        for path in (models := Path(name, "models"), Path(name, "t")):
            path.mkdir()
        for number in range(MODELS):
            order = {"do": "hang", "seconds": 0.05, "number": number}
            (models / f"{number:02d}.json").write_text(json.dumps(order))
        yield Path(name)
        end(using(Path(name, "t")))


def test_killed_workers_lose_nothing(folder: Path):
    moments, driver = random.Random(0), start(folder)
    for rows in (6, 14, 22):
        wait_for(lambda rows=rows: len(done(folder)) >= rows + moments.randrange(4), 90)
        kill_a_worker(driver, moments)
    assert driver.wait(120) == 0
    is_whole(folder)


def test_a_killed_driver_loses_nothing(folder: Path):
    driver, rows = start(folder), random.Random(0).randrange(4, MODELS - 12)
    wait_for(lambda: len(done(folder)) >= rows, 90)
    driver.kill()
    driver.wait(20)
    stored = outputs(folder / "out")
    assert done(folder) <= set(stored), "a row came before its output"
    assert start(folder).wait(120) == 0
    is_whole(folder)


def start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "t")}
    command = [sys.executable, "-c", SCRIPT]
    null = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=null, stderr=null)


def done(folder: Path) -> set[str]:
    """The models that the ledger calls ok."""
    return {row.uid for row in read_rows(folder / "out" / "ledger" / "faulty") if row.ok}


def kill_a_worker(driver: subprocess.Popen[bytes], moments: random.Random) -> None:
    """One of those at work: between two portions, for some milliseconds, none may be."""
    while driver.poll() is None:
        if working := below(driver.pid, "ray::execute"):
            return moments.choice(working).kill()
    raise AssertionError("the run ended before the kill")


def is_whole(folder: Path) -> None:
    """Every model has its own output, and a row that says so."""
    found = {uid: json.loads(data)["order"]["number"] for uid, data in outputs(folder / "out").items()}
    assert found == {f"model-{number:02d}": number for number in range(MODELS)}
    rows = latest(folder / "out" / "ledger" / "faulty").values()
    assert len(rows) == MODELS and all(row.ok for row in rows)
    assert not (folder / "out" / ".tmp").exists()
