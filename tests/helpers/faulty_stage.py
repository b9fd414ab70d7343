"""A stage whose models do what models do to Blender: the job's input file says what."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from render.failures import FailureClass, ModelFailure
from render.job import Job, Placement, Record

served = 0
daemon_pid: int | None = None


JOB = Job


class FaultyRecord(Record):
    pid: int
    served: int
    daemon: int | None


def process(job: Job, place: Placement) -> Record:
    global served
    served += 1
    order = json.loads(place.input.read_text())
    deed = order.get("do", "ok")
    DEEDS.get(deed, lambda _: None)(order)
    if deed == "no_output":
        return Record()
    output = {"source_sha256": place.input_sha256, "config_hash": job.config_hash, "order": order}
    place.output.write_text(json.dumps(output, sort_keys=True))
    return FaultyRecord(pid=os.getpid(), served=served, daemon=daemon_pid, seconds={deed: 0.0})


def segfault(_: dict[str, Any]) -> None:
    print("about to read address 0")
    ctypes.string_at(0)


def hang(order: dict[str, Any]) -> None:
    time.sleep(order.get("seconds", 3600))


def spin(_: dict[str, Any]) -> None:
    while True:
        pass


def allocate(_: dict[str, Any]) -> None:
    held = []
    while True:
        held.append(bytearray(os.urandom(1 << 20)) * 16)
        time.sleep(0.01)


def allocate_below(_: dict[str, Any]) -> None:
    code = "import time; held = bytearray(b'x' * (400 << 20)); time.sleep(60)"
    subprocess.run([sys.executable, "-c", code], check=True)


def shout(_: dict[str, Any]) -> None:
    line = b"x" * 99 + b"\n"
    for _round in range(1000):
        os.write(1, line * 1000)
    os.write(2, b"the last words\n")


def garbage(_: dict[str, Any]) -> None:
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b"\xff\xff\xff\xff not a frame")
        except OSError:
            continue
    time.sleep(60)


def close_pipes(_: dict[str, Any]) -> None:
    os.closerange(3, 64)
    time.sleep(60)


def promise_much(_: dict[str, Any]) -> None:
    """The head of a frame that never comes."""
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b"\x00\x0f\xff\xff")
        except OSError:
            continue
    time.sleep(3600)


def daemonize(_: dict[str, Any]) -> None:
    """Leave a process behind that is nobody's child, in a session of its own, and all went well."""
    global daemon_pid
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if (pid := os.fork()) == 0:
            os.closerange(0, 64)
            time.sleep(600)
        os.write(writer, str(pid).encode())
        os._exit(0)
    os.wait()
    daemon_pid = int(os.read(reader, 16))


def daemonize_and_crash(order: dict[str, Any]) -> None:
    daemonize(order)
    print(f"daemon {daemon_pid}")
    segfault(order)


def stop_itself(_: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def end_itself(_: dict[str, Any]) -> None:
    """As the kernel's killer or an operator would."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_the_supervisor(_: dict[str, Any]) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def die_later(_: dict[str, Any]) -> None:
    """Answer this job, and be dead before the next."""
    signal.signal(signal.SIGALRM, lambda *_: os._exit(7))
    signal.setitimer(signal.ITIMER_REAL, 0.2)


def refuse(_: dict[str, Any]) -> None:
    raise ModelFailure(FailureClass.EMPTY, "no face in it")


def blunder(_: dict[str, Any]) -> None:
    raise ZeroDivisionError("of our own making")


def leave(_: dict[str, Any]) -> None:
    os._exit(3)


def quit_python(_: dict[str, Any]) -> None:
    sys.exit(4)


DEEDS = {
    "segfault": segfault,
    "abort": lambda _: os.abort(),
    "hang": hang,
    "spin": spin,
    "allocate": allocate,
    "allocate_below": allocate_below,
    "shout": shout,
    "garbage": garbage,
    "die_later": die_later,
    "refuse": refuse,
    "blunder": blunder,
    "leave": leave,
    "leave_well": lambda _: os._exit(0),
    "close_pipes": close_pipes,
    "promise_much": promise_much,
    "daemonize": daemonize,
    "daemonize_and_crash": daemonize_and_crash,
    "stop_itself": stop_itself,
    "end_itself": end_itself,
    "kill_the_supervisor": kill_the_supervisor,
    "quit_python": quit_python,
}
