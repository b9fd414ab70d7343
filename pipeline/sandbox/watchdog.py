"""Ends what a killed process leaves behind: `python watchdog.py SOCKET MARK WORDS FOLDER...`.

A driver that is killed runs no clean-up, and of the Ray that it started some processes stay (measured: both
agents of the raylet, and all temporary files). Ray's workers are always killed, even at the end of a job. So
both have a watchdog: it waits for the end of a connection whose other end only its owner holds. Then, however
that ended, it kills every process whose environment says that it came of the owner, or that writes to a file
in the owner's folders (Ray's agents write their title over their environment), and removes those folders. It
is nobody's child, for Ray kills its workers' children. Standard library only: it starts fast.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

MARK = "INSIDEOUT_SESSION"  # in the environment of all that a session starts; its value is the first folder
_PATIENCE = 15.0  # seconds to go on killing: one that is stuck in a disk's driver never dies
_QUIET_LOOKS = 2  # a process may be born while its parent is killed: look until there was none twice
_LOOKS_AFTER = (1.0, 3.0, 5.0)  # seconds: what is just being started shows no environment yet
_OWNER_IS_WELL, _CLEARED = b".", b"!"
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # what ends a whole group must not end this


class Watchdog:
    """The owner's side: start it before there is anything to clear, `close` it at the end.

    `mark` is how an entry NAME=VALUE of the environment begins in all processes that come of the owner.
    `words` are for people, and said when the owner ended without `close`.
    """

    def __init__(self, mark: str, folders: Sequence[Path], words: str = ""):
        self._mark, self._folders = mark, folders
        theirs, self._socket = socket.socketpair()
        descriptor = theirs.fileno()
        command = [sys.executable, "-I", "-S", __file__, str(descriptor), mark, words, *map(str, folders)]
        environment = {key: value for key, value in os.environ.items() if key != MARK}
        with theirs, _stops_wait():
            subprocess.run(
                command,
                check=True,
                pass_fds=[descriptor],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if words else subprocess.DEVNULL,  # a log of Ray's would have it taken for Ray's
                start_new_session=True,  # a Ctrl-C in the terminal is not for it
            )

    def close(self) -> None:
        """Have it do its work now, and wait for its end; if somebody killed it, do its work."""
        with self._socket, contextlib.suppress(TimeoutError):  # then it goes on without us
            self._socket.settimeout(2 * _PATIENCE)
            if not self._has_cleared():
                clear(self._mark, self._folders)

    def _has_cleared(self) -> bool:
        try:
            self._socket.sendall(_OWNER_IS_WELL)
            self._socket.shutdown(socket.SHUT_WR)
            return self._socket.recv(1) == _CLEARED
        except (BrokenPipeError, ConnectionResetError):
            return False


@contextlib.contextmanager
def _stops_wait() -> Iterator[None]:
    """Within, they wait, also for what is started: a watchdog takes a moment to ignore them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main(arguments: list[str]) -> None:
    """Wait for the owner's end, then clear."""
    descriptor, mark, words, *names = arguments
    folders, owner = [Path(name) for name in names], os.getppid()
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)
    if os.fork():
        os._exit(0)
    with socket.socket(fileno=int(descriptor)) as line, contextlib.suppress(BrokenPipeError):
        said = line.recv(1)
        while said and line.recv(1):
            continue
        clear(mark, folders, owner)
        if words and said != _OWNER_IS_WELL:
            print(words, file=sys.stderr, flush=True)
        line.sendall(_CLEARED)
    if words and said != _OWNER_IS_WELL:
        for pause in _LOOKS_AFTER:
            time.sleep(pause)
            clear(mark, folders, owner)


def clear(mark: str, folders: Sequence[Path], spared: int = 0) -> None:
    """End what came of the owner; remove the folders, again where a dying process still wrote there.

    `spared` is the owner's process: Ray's log files stay open in it.
    """
    deadline = time.monotonic() + _PATIENCE
    end_all(mark, folders, spared)
    while any(folder.exists() for folder in folders) and time.monotonic() < deadline:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        end_all(mark, folders, spared)


def end_all(mark: str, folders: Sequence[Path] = (), spared: int = 0) -> None:
    """Kill what bears the mark in its environment or writes to a file in the folders, until nothing does."""
    entry, inside = f"\0{mark}".encode(), tuple(f"{os.path.realpath(folder)}/" for folder in folders)
    deadline, quiet = time.monotonic() + _PATIENCE, 0
    while quiet < _QUIET_LOOKS and time.monotonic() < deadline:
        found = [pid for pid in _others(spared) if _bears(pid, entry) or (inside and _writes(pid, inside))]
        for pid in found:
            _kill(pid)
        quiet = 0 if found else quiet + 1
        time.sleep(0.05)


def _others(spared: int) -> Iterator[int]:
    """All processes but this one and the spared one."""
    numbers = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return (pid for pid in numbers if pid not in (os.getpid(), spared))


def _bears(pid: int, entry: bytes) -> bool:
    """Whether the process was started with an entry that begins like this in its environment."""
    try:
        return entry in b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone meanwhile, or another user's
        return False


def _writes(pid: int, inside: tuple[str, ...]) -> bool:
    """Whether the process has a file below these folders open for writing: a reader is a stranger."""
    links = Path(f"/proc/{pid}/fd")
    try:
        return any(_is_written(links / name, inside) for name in os.listdir(links))
    except OSError:  # gone meanwhile, or another user's
        return False


def _is_written(link: Path, inside: tuple[str, ...]) -> bool:
    """Of one open file; the link's own permissions are those that it was opened with (proc(5))."""
    try:
        return os.readlink(link).startswith(inside) and os.lstat(link).st_mode & stat.S_IWUSR != 0
    except OSError:  # closed meanwhile
        return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    main(sys.argv[1:])
