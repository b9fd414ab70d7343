"""The process that touches models: `python -P -m pipeline.sandbox.child MODULE PARENT JOBS RESULTS PLAN`.

The supervisor starts it. It confines itself as PLAN (a `pipeline.sandbox.confine.Plan`, as JSON) says, reads framed
JSON jobs from the descriptor JOBS, calls `MODULE.process(job)` for each, and writes framed JSON answers to
RESULTS. A frame is a big-endian uint32 length and that many bytes. Standard output and error belong to the
native libraries and never carry the protocol.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import json
import os
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from pipeline.sandbox.confine import NotConfined, Plan, apply

HEADER = struct.Struct(">I")
LARGEST_FRAME = 16 << 20  # bytes; a record is a few hundred
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
            process = importlib.import_module(module).process
        except NotConfined as refusal:
            write_frame(writer, {"ready": False, "message": str(refusal)})
            return 1
        except BaseException:
            write_frame(writer, {"ready": False, "message": traceback.format_exc()})
            return 1
        write_frame(writer, {"ready": True, "confinement": level})
        for job in read_frames(reader):
            write_frame(writer, answer(process, job))
            sys.stdout.flush()
            sys.stderr.flush()
    return 0


def answer(process: Callable[[dict[str, Any]], dict[str, Any]], job: dict[str, Any]) -> dict[str, Any]:
    """Do one job: `{"status": "ok", "record": ...}`, or "failed" with `class` and `message`."""
    from render.failures import ModelFailure

    try:
        return {"status": "ok", "record": process(job)}
    except ModelFailure as failure:
        return {"status": "failed", "class": failure.kind, "message": failure.message}
    except MemoryError as error:
        return {"status": "failed", "class": "out_of_memory", "message": str(error) or "MemoryError"}
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        summary = "".join(traceback.format_exception_only(error)).strip()
        return {"status": "failed", "class": "error", "message": f"{summary} ({_where(error)})"}


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends; leave if it is gone already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL)) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(97)


def adopt_orphans() -> None:
    """Have the kernel make this process the parent of orphans below it, so that a daemon stays in sight."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1)) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def read_frames(reader: BinaryIO) -> Iterator[dict[str, Any]]:
    """Frames until the other end closes."""
    while header := _read_exactly(reader, HEADER.size):
        yield json.loads(_read_exactly(reader, HEADER.unpack(header)[0]))


def write_frame(writer: BinaryIO, message: dict[str, Any]) -> None:
    """Send one frame."""
    remaining = memoryview(encode_frame(message))
    while remaining:
        remaining = remaining[writer.write(remaining) :]


def encode_frame(message: dict[str, Any]) -> bytes:
    """One frame's bytes."""
    body = json.dumps(message).encode()
    return HEADER.pack(len(body)) + body


def _read_exactly(reader: BinaryIO, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = reader.read(size - len(parts))
        if not part:
            return b""
        parts += part
    return parts


def _where(error: BaseException) -> str:
    """The innermost line of our own that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return (
        f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno} in {frames[-1].name}"
        if frames
        else "no traceback"
    )


def _flush_native_output_by_line() -> None:
    """C buffers a pipe by blocks: a crash would take the last lines, the ones that say why, with it."""
    libc = ctypes.CDLL(None)
    libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, 1, 0)  # 1 is _IOLBF
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
