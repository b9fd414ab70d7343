"""The process that opens models: `python -P -m pipeline.sandbox.child MODULE PARENT JOBS RESULTS PLAN`.

The supervisor starts it. It confines itself as PLAN (a `pipeline.sandbox.confine.Plan`, as JSON) says, reads
frames from the descriptor JOBS and answers each on the descriptor RESULTS (`pipeline.sandbox.protocol`). A
frame is an order to read a model's bytes (`render.references.orders`), or a job for the stage:
`MODULE.process(job, place)` (`render.job`). Standard output and error belong to the native libraries and
never carry the protocol.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

from pipeline.sandbox.confine import NotConfined, Plan, apply

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main(arguments: list[str]) -> int:
    """Serve jobs until the supervisor closes the pipe."""
    module, parent, jobs, results = arguments[0], *map(int, arguments[1:4])
    die_with(parent)
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    faulthandler.enable()
    _flush_native_output_by_line()
    for descriptor in (jobs, results):
        os.set_inheritable(descriptor, False)
    with open(jobs, "rb", buffering=0) as reader, open(results, "wb", buffering=0) as writer:
        try:
            level = apply(Plan.from_json(json.loads(arguments[4])))
            worker: Any = importlib.import_module(module)
        except NotConfined as refusal:
            _write(writer, {"ready": False, "message": str(refusal)})
            return 1
        except BaseException as error:
            traceback.print_exc()
            _write(writer, {"ready": False, "message": _headline(error)})
            return 1
        _write(writer, {"ready": True, "confinement": level})
        for frame in _frames(reader):
            _write(writer, answer(worker, frame))
            sys.stdout.flush()
            sys.stderr.flush()
    return 0


class Worker(Protocol):
    """What a stage's worker module has."""

    JOB: type[Any]
    """The stage's `render.job.Job`."""

    @staticmethod
    def process(job: Any, place: Any) -> Any:
        """Do one job; returns a `render.job.Record`, raises ModelFailure."""


def answer(worker: Worker, frame: dict[str, Any]) -> dict[str, Any]:
    """Do what a frame asks for: the fields of a `pipeline.sandbox.protocol.Answer` or `Obeyed`."""
    from pipeline.sandbox.protocol import LONGEST_MESSAGE
    from render.failures import FailureClass, ModelFailure, Status

    def failed(kind: FailureClass, message: str) -> dict[str, Any]:
        text = message.encode("utf-8", "backslashreplace").decode()
        return {"status": Status.FAILED, "kind": kind, "message": text[:LONGEST_MESSAGE]}

    try:
        return {"status": Status.OK, **(_obeyed(frame) if "order" in frame else _done(worker, frame))}
    except ModelFailure as failure:
        return failed(failure.kind, failure.message)
    except MemoryError as error:
        return failed(FailureClass.OUT_OF_MEMORY, str(error) or "MemoryError")
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        return failed(FailureClass.ERROR, f"{_headline(error)} ({_where(error)})")


def _obeyed(frame: dict[str, Any]) -> dict[str, Any]:
    from render.references import orders

    return {"result": orders.obey(frame["order"]).model_dump(mode="json")}


def _done(worker: Worker, frame: dict[str, Any]) -> dict[str, Any]:
    from render.job import Placement

    job, place = worker.JOB.model_validate(frame["job"]), Placement.model_validate(frame["place"])
    values = worker.process(job, place).model_dump(mode="json")
    times = {name: values.pop(name) for name in ("seconds", "cpu_seconds")}
    return {"record": values, **times}


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends; leave if it has ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL)) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(97)


def adopt_orphans() -> None:
    """Make this process the parent of orphans below it, so that a daemon stays in sight."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1)) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _frames(reader: BinaryIO) -> Iterator[dict[str, Any]]:
    """Frames until the other end closes."""
    from pipeline.sandbox.protocol import HEADER

    while header := _read_exactly(reader, HEADER.size):
        yield json.loads(_read_exactly(reader, HEADER.unpack(header)[0]))


def _write(writer: BinaryIO, message: dict[str, Any]) -> None:
    from pipeline.sandbox.protocol import encode

    remaining = memoryview(encode(message))
    while remaining:
        remaining = remaining[writer.write(remaining) :]


def _read_exactly(reader: BinaryIO, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = reader.read(size - len(parts))
        if not part:
            return b""
        parts += part
    return parts


def _headline(error: BaseException) -> str:
    """The exception in one line, as the last line of a traceback."""
    return "".join(traceback.format_exception_only(error)).strip()


def _where(error: BaseException) -> str:
    """The innermost line that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "no traceback"
    return f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno} in {frames[-1].name}"


def _flush_native_output_by_line() -> None:
    """C buffers a pipe by blocks: a crash would take the last lines, the ones that say why, with it."""
    libc = ctypes.CDLL(None)
    libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, 1, 0)  # 1 is _IOLBF
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
