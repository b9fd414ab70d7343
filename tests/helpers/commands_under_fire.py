"""Real `insideout` commands that get killed: start one, find its processes, compare what it leaves."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.helpers.places import ROOT

_LONGEST = 240.0  # seconds a command may take on a busy machine


@dataclass
class Command:
    """One `insideout` command, in a session of its own, with a temporary folder that no other command has."""

    arguments: tuple[str, ...]
    temporary: Path

    def __post_init__(self) -> None:
        self.temporary.mkdir(parents=True, exist_ok=True)
        self.log = self.temporary.parent / f"{uuid.uuid4().hex}.log"
        self.started = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli", *self.arguments],
                cwd=ROOT,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        ours = {"PYTHONPATH": str(ROOT), "TMPDIR": str(self.temporary)}
        return {**os.environ, **ours, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}

    def ended(self) -> int:
        """The exit code, when it has come to an end."""
        return self.process.wait(_LONGEST)

    def text(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace")

    def alive(self) -> list[psutil.Process]:
        """Every process that comes of this command."""
        return list(using(self.temporary))

    def child(self) -> psutil.Process | None:
        """A process that touches models."""
        return next((process for process in self.alive() if "pipeline.sandbox.child" in words(process)), None)

    def supervisor(self) -> psutil.Process | None:
        """The Ray worker above that process."""
        child = self.child()
        try:
            return child and child.parent()
        except psutil.NoSuchProcess:
            return None

    def server(self, name: str) -> psutil.Process | None:
        """`raylet` or `gcs_server`."""
        return next((process for process in self.alive() if process.name() == name), None)

    def kill(self, find: Callable[[], psutil.Process | None], number: int = signal.SIGKILL) -> bool:
        """Send a signal to what `find` finds, once it is there; False if the command ends before that."""
        while self.process.poll() is None:
            try:
                if (target := find()) is not None:
                    target.send_signal(number)
                    return True
            except psutil.NoSuchProcess:
                continue
            time.sleep(0.02)
        return False


def contents(out: Path) -> dict[str, str]:
    """File -> sha256 of a dataset, without the ledger, which holds times."""
    files = (path for path in out.rglob("*") if path.is_file())
    found = {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return {name: digest for name, digest in sorted(found.items()) if not name.startswith("ledger/")}


def nothing_left(commands: list[Command]) -> str:
    """Empty if no process and no temporary file of these commands is left. Waits a little for their end."""
    deadline = time.monotonic() + 20
    while True:
        orphans = [" ".join(words(process)) for command in commands for process in command.alive()]
        files = [str(path) for command in commands for path in command.temporary.iterdir()]
        if not (orphans or files) or time.monotonic() > deadline:
            return "\n".join(orphans + files)
        time.sleep(0.1)


def cube(path: Path, height: float) -> None:
    """An OBJ of a box, 1 x 1 x `height`, outside up."""
    corners = [f"v {x} {y} {z * height}" for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    faces = ["f 1 2 4 3", "f 5 7 8 6", "f 1 5 6 2", "f 3 4 8 7", "f 1 3 7 5", "f 2 6 8 4"]
    path.write_text("\n".join([*corners, *faces, ""]))


def using(temporary: Path) -> Iterator[psutil.Process]:
    """Every process whose temporary folder is this one or below it: all that comes of a command."""
    wanted = f"={temporary}".encode()  # not only TMPDIR: Ray's agents overwrite some of their environment
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and wanted in (entry / "environ").read_bytes():
                yield psutil.Process(int(entry.name))
        except (OSError, psutil.NoSuchProcess):
            continue


def end(processes: Iterable[psutil.Process]) -> None:
    """Kill what a test that failed has left, so that what follows shows that test's error and no other."""
    killed = list(processes)
    for process in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(killed, timeout=10)


def below(pid: int, text: str) -> list[psutil.Process]:
    """The processes below this one whose command line has this text."""
    found = psutil.Process(pid).children(recursive=True)
    return [process for process in found if text in " ".join(words(process))]


def words(process: psutil.Process) -> list[str]:
    """Its command line; nothing if it is gone."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
