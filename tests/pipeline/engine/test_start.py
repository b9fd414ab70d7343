"""What keeps a run or a child from starting is said in one line; what need not, does not."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.engine.session import _bounded_start
from pipeline.errors import InfrastructureError
from tests.helpers.places import ROOT

STAGE = """
from elsewhere import library
from render.job import Job, Record
JOB = Job
def process(job, place):
    place.output.write_text(library.words())
    return Record()
"""
LIBRARY = "from pathlib import Path\ndef words(): return Path(__file__).with_name('words').read_text()\n"
RUN = """
from pipeline.engine.supervisor import Supervisor
from pipeline.sandbox.process import Limits
from render.job import Job, Placement
supervisor = Supervisor("distant_stage", Limits(timeout=20, start_timeout=60, memory_mib=300, confine="auto"))
work = supervisor.workspace.work
place = Placement(input=supervisor.workspace.input / "a", output=work / "out", scratch=work)
outcome = supervisor.run(Job(uid="a", config_hash="b"), place)
print(outcome.message or (work / "out").read_text())
supervisor.end()
"""


def test_whatever_keeps_ray_from_starting_is_one_clear_error():
    said = r"Ray did not start \(.*\): The node timed out\. Try"
    with pytest.raises(InfrastructureError, match=said), _bounded_start():
        raise Exception("The node timed out.\nThis could happen because ...")  # as Ray 2.60 does


def test_too_few_open_files_are_said(tmp_path: Path):
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "render", str(tmp_path), str(tmp_path / "out")],
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("insideout: Only 64 files may be open at once here")
    assert "ulimit -n" in done.stderr and "Traceback" not in done.stderr


def test_a_library_that_lies_elsewhere_is_read_confined(tmp_path: Path):
    """As `bpy` does where somebody built it: its code and its data."""
    package = tmp_path / "elsewhere"
    package.mkdir()
    for name, text in {"__init__.py": "", "library.py": LIBRARY, "words": "found"}.items():
        (package / name).write_text(text)
    (tmp_path / "distant_stage.py").write_text(STAGE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    command = [sys.executable, "-c", RUN]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout == "found\n", done.stdout + done.stderr
