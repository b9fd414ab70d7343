"""Ends what a driver leaves behind: `python watchdog.py PIPE FOLDER...`, started by the driver itself.

A driver that is killed runs no clean-up, and of the Ray that it started some processes stay (measured: both
agents of the raylet, and all temporary files). This process waits for the end of a pipe whose other end only
the driver holds. Then, however the driver ended, it kills every process that was started in the session (they
have MARK in their environment) and removes the session's folders. Standard library only: it starts fast.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

MARK = "INSIDEOUT_SESSION"  # in the environment of all that a session starts; its value is the first folder
_PATIENCE = 15.0  # seconds to go on killing: one that is stuck in a disk's driver never dies
_QUIET_LOOKS = 2  # a process may be born while its parent is killed: look until there was none twice
_DRIVER_IS_WELL = b"."


class Watchdog:
    """The driver's side: start it before Ray, `close` it after Ray."""

    def __init__(self, folders: Sequence[Path]):
        self._folders = folders
        pipe, self._pipe = os.pipe()
        command = [sys.executable, "-I", "-S", __file__, str(pipe), *map(str, folders)]
        environment = {key: value for key, value in os.environ.items() if key != MARK}
        try:
            self._process = subprocess.Popen(
                command,
                pass_fds=[pipe],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C in the terminal is not for it
            )
        finally:
            os.close(pipe)

    def close(self) -> None:
        """Have it do its work now, and wait for its end; if somebody killed it, do its work."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._pipe, _DRIVER_IS_WELL)
        os.close(self._pipe)
        with contextlib.suppress(subprocess.TimeoutExpired):  # it goes on without us
            if self._process.wait(2 * _PATIENCE) != 0:
                clear(self._folders)


def main(arguments: list[str]) -> None:
    """Wait for the driver's end, then clear."""
    pipe, folders = int(arguments[0]), [Path(name) for name in arguments[1:]]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # what ends a whole group of processes must not end this first
    said = b""
    while part := os.read(pipe, 16):
        said += part
    clear(folders)
    if said != _DRIVER_IS_WELL:
        text = "the driver is gone without a word. What it had started is ended; the same command goes on."
        print(f"insideout: {text}", file=sys.stderr)


def clear(folders: Sequence[Path]) -> None:
    """End the processes of the session whose first folder this is, and remove its folders."""
    end_all(f"{MARK}={folders[0]}")
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def end_all(mark: str) -> None:
    """Kill what has NAME=VALUE in its environment, until nothing has."""
    deadline, quiet = time.monotonic() + _PATIENCE, 0
    while quiet < _QUIET_LOOKS and time.monotonic() < deadline:
        found = list(marked(mark))
        for pid in found:
            _kill(pid)
        quiet = 0 if found else quiet + 1
        time.sleep(0.05)


def marked(mark: str) -> Iterator[int]:
    """The processes that were started with NAME=VALUE in their environment."""
    wanted = mark.encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:  # gone meanwhile, or another user's
                continue
            if wanted in environment.split(b"\0"):
                yield int(entry.name)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    main(sys.argv[1:])
