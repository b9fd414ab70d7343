"""The supervisor's side of one child process: its pipes, the tail of its log, its memory, its end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import site
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.inputs.workspace import Workspace
from pipeline.sandbox.confine import Confine, Plan, has_gpu
from pipeline.sandbox.cores import Cores
from pipeline.sandbox.protocol import (
    HEADER,
    Hello,
    Message,
    ProtocolError,
    decode_message,
)
from pipeline.sandbox.watchdog import MARK, end_all
from render.failures import FailureClass

_POLL = 0.05  # seconds between looks at memory and deadline
_TREE_EVERY = 0.5  # seconds between looks for grandchildren: a look at all processes of the machine
_LOG_KEPT = 16 << 10  # bytes
_TAIL = 4000  # characters of the log in a ledger row
_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / (1 << 20)
_PASSED = re.compile(
    "PATH|LANG|LC_.*|TZ|LD_LIBRARY_PATH|LD_PRELOAD|VIRTUAL_ENV|PYTHON(HASHSEED|FAULTHANDLER|DONTWRITEBYTECODE)"
    "|(CUDA|NVIDIA|HIP|ROCR|GPU|ONEAPI|SYCL)_.*|(LIBGL|MESA|GALLIUM|EGL|__EGL|__GLX|CYCLES|TBB)_.*"
)
_HOMES = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "BLENDER_USER_RESOURCES")
_THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
)

# PR_SET_PDEATHSIG follows the thread that forked: all children start from this one, which outlives them.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


@dataclass(frozen=True)
class Limits:
    """What a child may use."""

    timeout: float = 900  # seconds per job
    start_timeout: float = 180  # seconds to load the stage's module
    memory_mib: int = 8192  # resident, of the child and all below it
    recycle_models: int = 200
    recycle_mib: int = 3072
    threads: int = 1
    confine: Confine = "off"  # a confined child reads and writes in its supervisor's workspace only


class BrokenChild(Exception):
    """The child cannot be used any more: the ledger's class and message for its model."""

    def __init__(self, kind: FailureClass, message: str):
        super().__init__(message)
        self.kind, self.message = kind, message


@dataclass(frozen=True)
class _Clock:
    """How long a child may take for what it was asked."""

    until: float  # of time.monotonic
    allowed: float  # seconds, for the message
    late: FailureClass

    def check(self) -> None:
        if time.monotonic() > self.until:
            raise BrokenChild(self.late, f"No answer within {self.allowed:g} s.")


class Child:
    """One process, the pipes to it, its log's tail, its memory, and its temporary folder."""

    def __init__(self, module: str, limits: Limits, workspace: Workspace):
        self.limits = limits
        self.confinement: str | None = None  # the level reached, once it has greeted
        self._cores = Cores(limits.threads)
        self._home = Path(tempfile.mkdtemp(prefix="home-", dir=workspace.work))
        self.served = 0
        self.peak_mib = 0.0
        self._log = bytearray()
        self._buffer = bytearray()
        self._looked = 0.0
        self._tree: list[int] = []
        self._tree_seen = 0.0
        jobs, self._jobs = os.pipe()
        self._results, results = os.pipe()
        self._output, output = os.pipe()
        theirs = (jobs, results, output)
        plan = _plan(limits, workspace, self._cores.first)
        try:
            self.process: subprocess.Popen[bytes] = _spawner.submit(
                _spawn,
                [module, str(os.getpid()), str(jobs), str(results)],
                plan,
                limits.threads,
                output,
                self._home,
            ).result()
        except BaseException:
            self._close()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        for descriptor in (self._jobs, self._results, self._output):
            os.set_blocking(descriptor, False)
        self._watched = [self._results, self._output]

    def greet(self) -> None:
        """Wait until the stage's module is loaded."""
        infrastructure = FailureClass.INFRASTRUCTURE
        try:
            until = time.monotonic() + self.limits.start_timeout
            hello = self._receive(Hello, _Clock(until, self.limits.start_timeout, infrastructure))
        except BrokenChild as broken:
            starved = broken.kind is FailureClass.OUT_OF_MEMORY
            kind = FailureClass.OUT_OF_MEMORY if starved else infrastructure
            self._drain_log()
            last = (self.log_tail() or "").splitlines()[-1:]  # of a traceback, what is wrong
            reason = " ".join([broken.message, *last])
            raise BrokenChild(kind, f"The worker process did not start: {reason}") from broken
        if not hello.ready:
            raise BrokenChild(infrastructure, f"The worker process did not start: {hello.message}")
        self.confinement = hello.confinement
        self._cores.widen(self.process.pid)

    def ask(self, frame: bytes, kind: type[Message], until: float) -> Message:
        """Send a frame and wait for its answer, until a time of `time.monotonic`."""
        clock = _Clock(until, self.limits.timeout, FailureClass.TIMEOUT)
        try:
            self._send(frame, clock)
        except BrokenPipeError as error:
            raise BrokenChild(FailureClass.CRASH, "The process closed its job pipe.") from error
        return self._receive(kind, clock)

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def stop(self) -> None:
        """Close the job pipe, which ends the child, and kill it if it does not leave in time."""
        os.close(self._jobs)
        self._jobs = -1
        self._drain_log()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        self.kill()

    def kill(self) -> int:
        """Kill the child and all that it started, reap it, close the pipes; returns its return code."""
        if self.alive():
            self.process.kill()
        returncode = self.process.wait()
        end_all(f"TMPDIR={self._home}")  # what it leaves behind would be adopted by init, out of our sight
        self._drain_log()
        self._close()
        return returncode

    def resident_mib(self) -> float:
        """Resident memory of the child and everything below it."""
        if self._may_fork() and time.monotonic() - self._tree_seen > _TREE_EVERY:
            self._tree = _below(self.process.pid)
            self._tree_seen = time.monotonic()
        return sum(_resident_mib(pid) for pid in (self.process.pid, *self._tree))

    def has_company(self) -> bool:
        """Whether a process that it started is left, such as a daemon: it is the parent of its orphans."""
        return self._may_fork() and bool(_below(self.process.pid))

    def _may_fork(self) -> bool:
        """Whether seccomp allows it: if not, there is no need to scan the machine's processes."""
        return not (self.confinement or "").startswith("full")

    def log_tail(self) -> str | None:
        """The end of what the process has printed; None for nothing."""
        return self._log.decode("utf-8", "replace")[-_TAIL:].strip() or None

    def forget_log(self) -> None:
        """Drop what was printed so far: it belongs to the previous model."""
        self._drain_log()
        self._log.clear()

    def _send(self, frame: bytes, clock: _Clock) -> None:
        """Write a frame; a child that does not read it cannot keep us longer than the clock allows."""
        reading = [one for one in self._watched if one != self._results]
        remaining = memoryview(frame)
        while remaining:
            if self._jobs in self._wait(reading, [self._jobs], clock):
                remaining = remaining[os.write(self._jobs, remaining) :]

    def _receive(self, kind: type[Message], clock: _Clock) -> Message:
        """The next frame."""
        while True:
            ready = self._wait(self._watched, [], clock)
            if self._results in ready and (body := self._read_frame(kind.largest)) is not None:
                self._drain_log()
                self.peak_mib = max(self.peak_mib, self.resident_mib())
                return self._decoded(body, kind)

    def _wait(self, reading: list[int], writing: list[int], clock: _Clock) -> list[int]:
        """Which descriptors are ready after a moment; watches log, memory and clock meanwhile."""
        readable, writable, _ = select.select(reading, writing, [], _POLL)
        if self._output in readable:
            self._drain_log()
        if time.monotonic() - self._looked >= _POLL:
            self._looked = time.monotonic()
            self._watch_memory()
        clock.check()
        return [*readable, *writable]

    def _decoded(self, body: bytes, kind: type[Message]) -> Message:
        try:
            if self._buffer:
                raise ProtocolError("more than one frame")
            return decode_message(body, kind)
        except ProtocolError as error:
            raise BrokenChild(FailureClass.CRASH, f"The process broke the protocol: {error}.") from error

    def _read_frame(self, largest: int) -> bytes | None:
        """Read what has arrived; a frame's bytes once it is complete."""
        part = os.read(self._results, 1 << 20)
        if not part:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
            raise BrokenChild(FailureClass.CRASH, "The process closed its result pipe.")
        self._buffer += part
        if len(self._buffer) < HEADER.size:
            return None
        size = HEADER.unpack_from(self._buffer)[0]
        if size > largest:
            raise BrokenChild(FailureClass.CRASH, "The process broke the protocol: a frame is too large.")
        if len(self._buffer) < HEADER.size + size:
            return None
        body = bytes(self._buffer[HEADER.size : HEADER.size + size])
        del self._buffer[: HEADER.size + size]
        return body

    def _watch_memory(self) -> None:
        resident = self.resident_mib()
        self.peak_mib = max(self.peak_mib, resident)
        if resident > self.limits.memory_mib:
            raise BrokenChild(
                FailureClass.OUT_OF_MEMORY,
                f"{resident:.0f} MiB resident, {self.limits.memory_mib} allowed. --memory-mib allows more.",
            )

    def _drain_log(self) -> None:
        """Read what was printed, so that the child never blocks on it, and keep the end."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(64):  # of 64 KiB: a child that prints endlessly must not keep us from the clock
                part = os.read(self._output, 1 << 16)
                if not part:
                    self._watched = [self._results]
                    break
                self._log += part
                del self._log[:-_LOG_KEPT]

    def _close(self) -> None:
        for descriptor in (self._jobs, self._results, self._output):
            if descriptor >= 0:
                os.close(descriptor)
        self._jobs = self._results = self._output = -1
        self._cores.release()
        shutil.rmtree(self._home, ignore_errors=True)


def _spawn(
    arguments: list[str], plan: Plan, threads: int, output: int, home: Path
) -> subprocess.Popen[bytes]:
    """Start the child, in our process group: Ray ends a dead worker's group."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "pipeline.sandbox.child", *arguments, json.dumps(plan.to_json())],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=tuple(map(int, arguments[2:4])),
        env=_environment(threads, home),
        cwd=home,
    )


def _plan(limits: Limits, workspace: Workspace, cores: tuple[int, ...]) -> Plan:
    """What the child may touch: Python and our packages, its folders, the cores that it starts on."""
    own = [Path(path) for path in (*_module_path(), *_added_folders())]
    installed = {sys.prefix, sys.base_prefix, sys.exec_prefix, site.getusersitepackages()}
    packages = [str(entry) for folder in own for entry in folder.glob("*") if _is_code(entry)]
    libraries = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    return Plan(
        confine=limits.confine,
        program=(*sorted(installed), *packages, *map(os.path.abspath, libraries)),
        listed=tuple(map(str, own)),
        read=(str(workspace.input),),
        write=(str(workspace.work),),
        cores=cores,
        memory=limits.memory_mib << 20,
        gpu=has_gpu(),
    )


def _added_folders() -> list[str]:
    """Folders that `.pth` files add to the module path."""
    sites = (*site.getsitepackages(), site.getusersitepackages())
    files = (file for folder in sites for file in sorted(Path(folder).glob("*.pth")))
    lines = (line for file in files for line in file.read_text(errors="replace").splitlines())
    return list(dict.fromkeys(line for line in lines if os.path.isabs(line) and os.path.isdir(line)))


def _is_code(entry: Path) -> bool:
    """Whether an entry of a module path is a module or a package, Python or native."""
    return entry.suffix in (".py", ".so") or any(entry.glob("__init__.*")) or entry.suffix == ".dist-info"


def _module_path() -> list[str]:
    """Where the child finds modules besides Python's own folders: this checkout, and PYTHONPATH."""
    package = str(Path(__file__).resolve().parents[2])
    given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return list(dict.fromkeys([package, *map(os.path.abspath, given)]))


def _environment(threads: int, home: Path) -> dict[str, str]:
    """What the child needs of our environment, without credentials; limits of thread pools."""
    kept = {name: value for name, value in os.environ.items() if name == MARK or _PASSED.fullmatch(name)}
    return {
        **kept,
        **dict.fromkeys(_THREAD_LIMITS, str(threads)),
        **dict.fromkeys(_HOMES, str(home)),
        "MALLOC_ARENA_MAX": "2",
        "MESA_SHADER_CACHE_DIR": str(home.parent / "shaders"),  # EEVEE's; outlives the child, not the worker
        "PYTHONPATH": os.pathsep.join(_module_path()),
    }


def _below(pid: int) -> list[int]:
    """The living processes below `pid`."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry.name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
                if state != b"Z":
                    children.setdefault(int(parent), []).append(int(entry.name))
    found = list(children.get(pid, ()))
    for other in found:  # it grows during the loop
        found += children.get(other, ())
    return found


def _resident_mib(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MIB
    except (OSError, IndexError):
        return 0.0
