"""One model in a Ray worker: hash and stage the input, have the child do the job, commit its output, report a
row."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from pipeline.commit import commit_file
from pipeline.errors import explain_os_error
from pipeline.ledger import Row
from pipeline.process import Limits
from pipeline.stages import Stage, Task
from pipeline.staging import admit, stage_input
from pipeline.supervisor import Outcome, Supervisor
from render.failures import ModelFailure

_supervisors: dict[tuple[str, Limits, str], Supervisor] = {}


def supervisor_for(module: str, limits: Limits, run: str) -> Supervisor:
    """This process's supervisor in a run; another run's or stage's child is closed first."""
    key = (module, limits, run)
    if key not in _supervisors:
        clear_scratch_of_the_dead()
        while _supervisors:
            _supervisors.popitem()[1].end()
        _supervisors[key] = Supervisor(module, limits, scratch_prefix(run))
    return _supervisors[key]


def execute(stage: Stage, task: Task, limits: Limits, run: str, attempt: int, recover: bool) -> Row:
    """Do one model. Never raises for the model's sake: what went wrong is in the row."""
    row = Row(task.uid, task.source, "failed", config_hash=stage.config_hash, attempt=attempt)
    try:
        row = replace(row, **_input_key(admit(task.input, task.source)))
    except ModelFailure as failure:
        return replace(row, kind=failure.kind, message=failure.message)
    except OSError as error:
        return replace(
            row, kind="missing", message=f"{task.input}: {error.strerror}. Mend the path, or drop it."
        )
    if recover and task.output.exists() and stage.recover(task.output) == (row.input_sha256, row.config_hash):
        return replace(row, status="ok", bytes=task.output.stat().st_size, record={"recovered": True})
    try:
        return _supervised(stage, task, limits, row, supervisor_for(stage.module, limits, run))
    except ModelFailure as failure:
        return replace(row, kind=failure.kind, message=failure.message)
    except OSError as error:  # the disk of the scratch folder or of OUT
        return replace(row, kind="infrastructure", message=explain_os_error(error))


def scratch_prefix(run: str) -> str:
    """Scratch folders' names tell whose they are, so that a run can clear its own."""
    return f"insideout-{run}-{os.getpid()}-"


def clear_scratch(run: str) -> None:
    """Remove what this run's killed workers left in this machine's temporary folder."""
    for folder in Path(tempfile.gettempdir()).glob(f"insideout-{run}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def clear_scratch_of_the_dead() -> None:
    """Remove what workers of any run left that are no more: nobody else can, on a node without the driver."""
    for folder in Path(tempfile.gettempdir()).glob("insideout-*-*-*-*"):
        owner = folder.name.split("-")[3]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _supervised(stage: Stage, task: Task, limits: Limits, row: Row, supervisor: Supervisor) -> Row:
    with supervisor.workspace.job() as (inputs, scratch):
        staged = stage_input(task.input, task.source, inputs)
        output, work = scratch / task.output.name, scratch / "work"
        work.mkdir()
        told = {
            key: str(staged.path) if value == str(task.input) else value for key, value in task.job.items()
        }
        job = {
            **told,
            "notes": staged.notes,
            "source_sha256": row.input_sha256,
            "output": str(output),
            "scratch": str(work),
            "threads": limits.threads,
        }
        row = replace(_with_outcome(row, supervisor.run(job)), confinement=supervisor.confinement)
        if not row.ok:
            return row
        if output.is_symlink() or not output.is_file():
            return replace(row, status="failed", kind="error", message="The worker wrote no output.")
        return replace(row, bytes=commit_file(output, task.output, stage.layout))


def _with_outcome(row: Row, outcome: Outcome) -> Row:
    record = dict(outcome.record)
    steps = record.pop("seconds", {})
    return replace(
        row,
        status=outcome.status,
        kind=outcome.kind,
        message=outcome.message,
        returncode=outcome.returncode,
        signal=outcome.signal,
        seconds=round(outcome.seconds, 3),
        steps=steps if isinstance(steps, dict) else {},
        peak_rss_mib=outcome.peak_rss_mib,
        log_tail=outcome.log_tail,
        record=record,
    )


def _input_key(path: Path) -> dict[str, str | int]:
    """The input's hash, and its size and time: while those stay, a later run need not read it again."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    stat = path.stat()
    return {"input_sha256": digest, "input_size": stat.st_size, "input_mtime_ns": stat.st_mtime_ns}
