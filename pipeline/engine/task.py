"""Models in a Ray worker: fetch, hash and stage the input, have the child do the job, commit its output.

While a small model's output is committed, the child does the next job: a disk's fsync can take longer than
all else that the engine does for it. No row is handed out before its output is committed.

Nothing here parses the model's bytes: the child does, from the scan for names (`pipeline.inputs.staging`) to
the job. The result is a row of the ledger. The input's key is its hash and that of the files that it names.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from fuse.dataset import storage
from pipeline.engine.supervisor import Failed, Outcome, Supervisor, Turn
from pipeline.engine.tasks import Stage, Task, input_key
from pipeline.errors import explain_os_error
from pipeline.inputs.admission import admit
from pipeline.inputs.fetching import Fetched, fetch_model
from pipeline.inputs.file_stats import ABSENT
from pipeline.inputs.staging import Staged, stage_file, stage_input
from pipeline.ledger.rows import Row
from pipeline.output.commit import commit_file
from pipeline.sandbox.process import Limits
from render.failures import FailureClass, ModelFailure, Status
from render.job import Placement
from render.references.spelling import spelled

Attempt = tuple[Task, int]
"""A task, and the number of this attempt at it over all runs."""

_SMALL = 5.0  # seconds that a model took: the row of a larger one does not wait for the next model

_supervisors: dict[tuple[str, Limits, str], Supervisor] = {}
_committer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="commit")


def supervisor_for(module: str, limits: Limits, run: str) -> Supervisor:
    """This process's supervisor in a run; closes the child of another run or stage first."""
    key = (module, limits, run)
    if key not in _supervisors:
        while _supervisors:
            _supervisors.popitem()[1].end()
        _supervisors[key] = Supervisor(module, limits, scratch_prefix(run))
    return _supervisors[key]


def execute(
    stage: Stage, portion: Sequence[Attempt], limits: Limits, run: str, recover: bool, within: float
) -> Iterator[Row]:
    """Do some models; yields their rows in order. Never raises because of a model: what went wrong is in its
    row.

    The worker is killed if a model takes longer than `within` seconds, even where only a dead disk can be the
    cause.
    """
    rows = [Row(t.uid, t.source, Status.FAILED, config_hash=stage.config_hash, attempt=n) for t, n in portion]
    try:
        supervisor = supervisor_for(stage.module, limits, run)
    except OSError as error:
        for row in rows:
            yield _faulty(row, stage, error)
        return
    committing: Future[Row] | None = None
    for (task, _), row in zip(portion, rows, strict=True):
        with supervisor.guarded(within):
            made = _made(stage, task, row, supervisor, recover)
            earlier = committing.result() if committing else None
            committing = _committer.submit(_committed, stage, task, *made)
            if made[0].seconds > _SMALL or task is portion[-1][0]:
                wait([committing])
        if earlier:
            yield earlier
        if committing.done():
            yield committing.result()
            committing = None


def _made(
    stage: Stage, task: Task, row: Row, supervisor: Supervisor, recover: bool
) -> tuple[Row, Path | None]:
    """What became of a model, and its output where that is to be committed."""
    try:
        with supervisor.turn() as turn, _fetched(task, supervisor, turn) as fetched:
            row = replace(row, **_input_key(fetched, task.source))
            with supervisor.workspace.job() as folders:
                stage_it = stage_input if stage.models else stage_file
                staged = stage_it(fetched.path, task.source, folders, turn)
                row = replace(row, **_companions_key(fetched, staged))
                if recover and _recovered(stage, task, row):
                    size = task.output.stat().st_size
                    return replace(row, status=Status.OK, bytes=size, record={"recovered": True}), None
                outcome, output = _job_done(task, row, staged, folders.work, turn, supervisor.limits.threads)
                done = replace(_with_outcome(row, outcome), confinement=supervisor.confinement)
                return _with_output(done, output, supervisor) if done.ok else (done, None)
    except Failed as failed:
        return replace(_with_outcome(row, failed.outcome), confinement=supervisor.confinement), None
    except _Missing as missing:
        return replace(row, kind=FailureClass.MISSING, message=str(missing)), None
    except ModelFailure as failure:
        return replace(row, kind=failure.kind, message=failure.message), None
    except Exception as error:
        return _faulty(row, stage, error), None


def _faulty(row: Row, stage: Stage, error: Exception) -> Row:
    """The row where the disk of the scratch folder or of the dataset, or the network, is at fault."""
    if not storage.is_fault(error):
        raise error
    place = getattr(error, "filename", None) or stage.layout.root
    reason = getattr(error, "strerror", None) or error
    named = OSError(getattr(error, "errno", None), str(reason), str(place))
    message = explain_os_error(named)
    return replace(row, status=Status.FAILED, kind=FailureClass.INFRASTRUCTURE, message=message)


def scratch_prefix(run: str) -> str:
    """Scratch folders name the run and the process that own them."""
    return f"insideout-{run}-{os.getpid()}-"


class _Missing(Exception):
    """The input is not there, or cannot be read: the list is at fault, not the machine."""


@contextlib.contextmanager
def _fetched(task: Task, supervisor: Supervisor, turn: Turn) -> Iterator[Fetched]:
    """The input on this machine: itself, or a copy that is removed afterwards."""
    if storage.is_local(task.input):
        yield Fetched(task.input)
        return
    with tempfile.TemporaryDirectory(prefix="fetched-", dir=supervisor.workspace.input) as folder:
        try:
            found = fetch_model(task.input, task.source, Path(folder), turn)
        except FileNotFoundError as error:
            raise _Missing(
                f"{task.input}: no such file. Correct the path, or remove it from the list."
            ) from error
        yield found


def _job_done(
    task: Task, row: Row, staged: Staged, folder: Path, turn: Turn, threads: int
) -> tuple[Outcome, Path]:
    """What became of the job, and where its output lies."""
    output = folder / task.output.name
    place = Placement(
        input=staged.path,
        output=output,
        scratch=folder,
        threads=threads,
        input_sha256=row.input_sha256,
        companions_sha256=row.companions_sha256,
        notes=tuple(staged.notes),
    )
    return turn.run(task.job, place), output


def _with_output(row: Row, output: Path, supervisor: Supervisor) -> tuple[Row, Path | None]:
    """The row of a job that went well, and where its output lies, out of the child's reach."""
    if output.is_symlink() or not output.is_file():
        message = "The worker wrote no output."
        return replace(row, status=Status.FAILED, kind=FailureClass.ERROR, message=message), None
    return row, output.rename(supervisor.workspace.output / output.name)


def _committed(stage: Stage, task: Task, row: Row, output: Path | None) -> Row:
    """The row, once its output is in the dataset."""
    if output is None:
        return row
    try:
        row = replace(row, bytes=commit_file(output, task.output, stage.layout))
    except Exception as error:
        return _faulty(row, stage, error)
    finally:
        output.unlink(missing_ok=True)
    return row


def _recovered(stage: Stage, task: Task, row: Row) -> bool:
    """Whether the output of this input and configuration is in place, though no ledger row says so."""
    key = (input_key(row.input_sha256, row.companions_sha256), row.config_hash)
    return task.output.exists() and stage.recover(task.output) == key


def _with_outcome(row: Row, outcome: Outcome) -> Row:
    """The row, without the CPU-seconds: they would be half of it, and only `insideout bench` needs them."""
    return replace(
        row,
        status=outcome.status,
        kind=outcome.kind,
        message=outcome.message,
        returncode=outcome.returncode,
        signal=outcome.signal,
        seconds=round(outcome.seconds, 3),
        steps=outcome.steps,
        peak_rss_mib=outcome.peak_rss_mib,
        log_tail=outcome.log_tail,
        record=outcome.record,
    )


def _input_key(fetched: Fetched, source: str) -> dict[str, Any]:
    """The input's hash, size and time: while size and time stay, a later run need not read it again."""
    try:
        real = admit(fetched.path, source)
        size, changed = _stamp(fetched, fetched.path)
        return {"input_sha256": _sha256(real), "input_size": size, "input_mtime_ns": changed}
    except OSError as error:
        raise _Missing(
            f"{spelled(str(fetched.path))}: {error.strerror}. Correct the path, or remove it from the list."
        ) from error


def _companions_key(fetched: Fetched, staged: Staged) -> dict[str, Any]:
    """Names, sizes and times of the files that the input names, and one hash of their names and contents."""
    folder = fetched.path.parent
    absent = [[os.path.relpath(path, folder), ABSENT, 0] for path in staged.absent]
    if not staged.companions:
        return {"companions": absent or None}
    names = [os.path.relpath(path, folder) for path in staged.companions]
    hashes = [_sha256(path) for path in staged.companions]
    stamps = [_stamp(fetched, path) for path in staged.companions]
    whole = json.dumps(sorted(zip(names, hashes, strict=True)))
    return {
        "companions": [*([name, *stamp] for name, stamp in zip(names, stamps, strict=True)), *absent],
        "companions_sha256": hashlib.sha256(whole.encode("utf-8", "surrogateescape")).hexdigest(),
    }


def _stamp(fetched: Fetched, path: Path) -> tuple[int, int]:
    """Size and time where the file came from."""
    return fetched.stamps.get(path) or storage.stamp(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
