"""A stage whose model tries to get out: each attempt, and what came of it (`ok`, or the error's name)."""

from __future__ import annotations

import array
import ctypes
import fcntl
import json
import mmap
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from render.job import Job, Placement, Record

_libc = ctypes.CDLL(None, use_errno=True)


class EscapeJob(Job):
    """What to try, and the places that the attempts reach for."""

    uid: str = "escape"
    config_hash: str = "test"
    places: dict[str, Any]


class EscapeRecord(Record):
    model_config = ConfigDict(extra="allow")


JOB = EscapeJob


def process(job: EscapeJob, place: Placement) -> Record:
    places = job.places
    if "do" in places:
        return EscapeRecord(did=json.dumps(ATTEMPTS[places["do"]](places), default=repr))  # type: ignore[call-arg]
    tried = {name: _try(attempt, places) for name, attempt in ATTEMPTS.items() if name not in COSTLY}
    return EscapeRecord.model_validate(tried)


def _try(attempt: Callable[[dict[str, Any]], object], job: dict[str, Any]) -> str:
    try:
        attempt(job)
    except OSError as error:
        return type(error).__name__
    return "ok"


def _system(number: int, *arguments: int) -> None:
    result = _libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _environment_of_parent(_: dict[str, Any]) -> bytes:
    return Path(f"/proc/{os.getppid()}/environ").read_bytes()


def _memory_of_parent(_: dict[str, Any]) -> None:
    with open(f"/proc/{os.getppid()}/mem", "rb"):
        pass


def _link(job: dict[str, Any]) -> None:
    link = Path(job["work"], "link")
    link.unlink(missing_ok=True)
    link.symlink_to(job["marker"])


def _with_input(job: dict[str, Any], use: Callable[[int], object]) -> None:
    """Do something to a descriptor that is open for reading only."""
    descriptor = os.open(Path(job["input"], "model.obj"), os.O_RDONLY)
    try:
        use(descriptor)
    finally:
        os.close(descriptor)


def _set_flags(descriptor: int) -> None:
    """Set the file's flags (chattr) to what they are."""
    flags = array.array("I", [0])
    fcntl.ioctl(descriptor, 0x80086601, flags)
    fcntl.ioctl(descriptor, 0x40086602, flags)


def _hard_link(job: dict[str, Any]) -> bytes:
    link = Path(job["work"], "hard")
    link.unlink(missing_ok=True)
    link.hardlink_to(job["marker"])
    return link.read_bytes()


def _empty(path: Path) -> None:
    """A right to read is all that this needs where Landlock is older than 3."""
    os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))


def _move_input(job: dict[str, Any]) -> None:
    """To where it could be written: staged files may be links to the originals."""
    moved = Path(job["work"], "moved")
    moved.hardlink_to(Path(job["input"], "model.obj"))
    moved.unlink()


def _connect(family: int, address: object) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(5)
        one.connect(address)  # type: ignore[arg-type]


def _datagram(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"hello", ("127.0.0.1", port))


def _fork(_: dict[str, Any]) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _attach(_: dict[str, Any]) -> None:
    _system(101, 0x4206, os.getppid(), 0, 0)  # PTRACE_SEIZE
    _system(101, 17, os.getppid(), 0, 0)  # PTRACE_DETACH


def _limit_parent(_: dict[str, Any]) -> None:
    import resource

    resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)


def _anonymous_file(_: dict[str, Any]) -> None:
    os.close(os.memfd_create("hidden"))


def _io_uring(_: dict[str, Any]) -> None:
    parameters = mmap.mmap(-1, 4096)
    _system(425, 1, ctypes.addressof(ctypes.c_char.from_buffer(parameters)))


def _threads(_: dict[str, Any]) -> None:
    done = []
    threads = [threading.Thread(target=done.append, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 4


def _spin(_: dict[str, Any]) -> dict[str, Any]:
    """Four threads of native work for a second: the cores that were really used."""
    import hashlib

    stop = time.monotonic() + 1.5
    block = b"x" * (1 << 20)

    def work() -> None:
        while time.monotonic() < stop:
            hashlib.sha256(block)  # lets go of the interpreter's lock

    threads = [threading.Thread(target=work) for _ in range(4)]
    before = time.process_time(), time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    used = (time.process_time() - before[0]) / (time.monotonic() - before[1])
    return {"cores": used, "allowed": sorted(os.sched_getaffinity(0))}


ATTEMPTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "read the marker": lambda job: Path(job["marker"]).read_bytes(),
    "read it by ..": lambda job: Path(os.path.relpath(job["marker"], job["work"])).read_bytes(),
    "read it by a link in the input": lambda job: Path(job["link"]).read_bytes(),
    "read /etc/passwd": lambda _: Path("/etc/passwd").read_bytes(),
    "list the root": lambda _: os.listdir("/"),
    "parent's environment": _environment_of_parent,
    "parent's memory": _memory_of_parent,
    "make a link": _link,
    "make a hard link": _hard_link,
    "write the input": lambda job: Path(job["input"], "new").write_bytes(b"x"),
    "change the input": lambda job: os.close(os.open(Path(job["input"], "model.obj"), os.O_RDWR)),
    "empty the input": lambda job: _empty(Path(job["input"], "model.obj")),
    "move the input": _move_input,
    "write the marker": lambda job: os.close(os.open(job["marker"], os.O_WRONLY)),
    "write /dev/shm": lambda _: os.close(os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR)),
    "chmod the marker": lambda job: os.chmod(job["marker"], 0o600),
    "utime the marker": lambda job: os.utime(job["marker"]),
    "TCP": lambda job: _connect(socket.AF_INET, ("127.0.0.1", job["tcp"])),
    "UDP": lambda job: _datagram(job["udp"]),
    "UNIX socket": lambda job: _connect(socket.AF_UNIX, job["unix"]),
    "abstract socket": lambda job: _connect(socket.AF_UNIX, job["abstract"]),
    "fork": _fork,
    "exec": lambda _: subprocess.run(["/bin/true"], check=True),
    "signal the parent": lambda _: os.kill(os.getppid(), 0),
    "signal its group": lambda _: os.kill(0, 0),
    "signal everybody": lambda _: os.kill(-1, 0),
    "a lease on the input": lambda job: _with_input(
        job, lambda d: fcntl.fcntl(d, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    ),
    "flags of the input": lambda job: _with_input(job, _set_flags),
    "signals of the input": lambda job: _with_input(
        job, lambda d: fcntl.fcntl(d, fcntl.F_SETOWN, os.getppid())
    ),
    "trace the parent": _attach,
    "parent's limits": _limit_parent,
    "anonymous file": _anonymous_file,
    "io_uring": _io_uring,
    "all cores": lambda _: os.sched_setaffinity(0, range(os.cpu_count() or 1)),
    # and what must go on working
    "read the input": lambda job: Path(job["input"], "model.obj").read_bytes(),
    "write the work": lambda job: Path(job["work"], "out").write_bytes(b"x"),
    "start threads": _threads,
    "read a system library": lambda _: Path("/usr/bin/env").read_bytes(),
    "signal itself": lambda _: os.kill(os.getpid(), 0),
    "spin": _spin,
}
COSTLY = {"spin"}
ALLOWED = {"read the input", "write the work", "start threads", "read a system library", "signal itself"}
