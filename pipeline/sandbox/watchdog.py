"""Ends what a killed process leaves behind: `python watchdog.py SOCKET MARK WORDS FOLDER...`.

A driver that is killed runs no clean-up, and part of the Ray that it started stays (measured: both agents of
the raylet, and all temporary files). Ray always kills its workers, even at the end of a job. So both have a
watchdog. It waits for the end of a connection whose other end only its owner holds. Then it kills every
process that carries the owner's mark in its environment, or that writes to a file in the owner's folders
(Ray's agents overwrite their environment with their title), and removes those folders: real ones of this
user with the marker that `claim` puts into them, never what a link leads to. It is nobody's child, because
Ray kills its workers' children. Standard library only: it starts fast.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

MARK = "INSIDEOUT_SESSION"  # in the environment of every process of a session; its value is the first folder
OWNER = ".insideout"
"""In a folder that `claim` has made: its own name, written there."""
_LONGEST_NAME = 256
_PATIENCE = 15.0  # seconds to keep killing: a process stuck in a disk's driver never dies
_QUIET_LOOKS = 2  # a process may start while its parent is killed: stop after two scans without a find
_LOOKS_AFTER = (1.0, 3.0, 5.0)  # seconds: a process that is just starting shows no environment yet
_OWNER_IS_WELL, _CLEARED = b".", b"!"
_STOPPED_FOR = 20.0  # seconds that a guarded owner may be stopped (SIGSTOP, a frozen container)
_LOOK = 1.0  # seconds between looks at a guarded owner
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # sent to a whole group; must not end the watchdog


class Watchdog:
    """The owner's side: start it before there is anything to clear, `close` it at the end.

    `mark` is the beginning of an entry NAME=VALUE in the environment of all processes that the owner starts.
    `words` are printed for people if the owner ends without `close`.
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
                # One of Ray's logs open in it would make it look like one of Ray's processes.
                stderr=None if words else subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C in the terminal must not reach it
            )

    @contextlib.contextmanager
    def guard(self, seconds: float) -> Iterator[None]:
        """Have the owner killed if it is not done by then, or if it is stopped meanwhile."""
        self._say(f"{seconds:.1f}\n".encode())
        try:
            yield
        finally:
            self._say(b"0\n")

    def _say(self, words: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # somebody killed it: run unguarded
            self._socket.sendall(words)

    def close(self) -> None:
        """Let it do its work now, and wait for its end; if it was killed, do its work here."""
        with self._socket, contextlib.suppress(TimeoutError):  # then it continues without us
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
    """Hold stop signals back, also for what is started: a watchdog takes a moment to ignore them."""
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
        well = _watch(line, owner)
        clear(mark, folders, owner)
        if words and not well:
            print(words, file=sys.stderr, flush=True)
        line.sendall(_CLEARED)
    if words and not well:
        for pause in _LOOKS_AFTER:
            time.sleep(pause)
            clear(mark, folders, owner)


def _watch(line: socket.socket, owner: int) -> bool:
    """Wait for the end of the connection; returns whether the owner announced it. Enforces guards."""
    last, deadline, stopped = b"", float("inf"), 0.0
    while True:
        armed = deadline < float("inf")
        if not select.select([line], [], [], _LOOK if armed else None)[0]:
            stopped = stopped + _LOOK if _is_stopped(owner) else 0.0
            if time.monotonic() > deadline or stopped > _STOPPED_FOR:
                _kill(owner)
            continue
        words = line.recv(4096)
        if not words:
            return last == _OWNER_IS_WELL
        last = words[-1:]
        for seconds in words.removesuffix(_OWNER_IS_WELL).split():
            deadline = time.monotonic() + float(seconds) if float(seconds) else float("inf")


def _is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False


def claim(folder: Path) -> None:
    """Make a folder, and the marker in it by which `clear` knows it. FileExistsError if it is there."""
    folder.mkdir(mode=0o700)
    (folder / OWNER).write_text(folder.name)


def is_own_folder(folder: Path) -> bool:
    """Whether this is a real folder of this user with the marker; neither name nor link proves it."""
    try:
        with open(folder / OWNER, opener=_without_links) as marker:
            return _is_real(folder) and marker.read(_LONGEST_NAME) == folder.name
    except (OSError, ValueError):
        return False


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _is_real(folder: Path) -> bool:
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def clear(mark: str, folders: Sequence[Path], spared: int = 0, title: str = "") -> None:
    """End the owner's processes; remove its folders, again if a dying process still wrote there.

    `spared` is the owner's process, in which Ray's log files stay open. `title` is how a process must call
    itself to be ended for writing into the folders alone: a caller that does not know them to be its own has
    to give one.
    """
    deadline = time.monotonic() + _PATIENCE
    own = [folder for folder in folders if is_own_folder(folder)]
    end_all(mark, own, spared, title)
    while any(map(is_own_folder, own)) and time.monotonic() < deadline:
        for folder in own:
            with contextlib.suppress(OSError):
                _remove(folder)
        end_all(mark, own, spared, title)


def _remove(folder: Path) -> None:
    """Remove a folder, its marker last: what is left after an interruption is still known."""
    for entry in list(os.scandir(folder)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != OWNER:
            os.unlink(entry)
    if os.listdir(folder) == [OWNER]:
        (folder / OWNER).unlink()
        folder.rmdir()


def end_all(mark: str, folders: Sequence[Path] = (), spared: int = 0, title: str = "") -> None:
    """Kill what carries the mark in its environment or writes into the folders, until nothing does."""
    entry, inside = f"\0{mark}".encode(), tuple(f"{os.path.realpath(folder)}/" for folder in folders)
    deadline, quiet = time.monotonic() + _PATIENCE, 0
    while quiet < _QUIET_LOOKS and time.monotonic() < deadline:
        found = [pid for pid in _others(spared) if _bears(pid, entry) or _intrudes(pid, inside, title)]
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
    except OSError:  # it has ended, or is another user's
        return False


def _intrudes(pid: int, inside: tuple[str, ...], title: str) -> bool:
    """Whether the process has this title, if one is asked for, and writes into the folders."""
    return bool(inside) and _title(pid).startswith(title) and _writes(pid, inside)


def _title(pid: int) -> str:
    """What the process calls itself."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace")
    except OSError:  # it has ended
        return ""


def _writes(pid: int, inside: tuple[str, ...]) -> bool:
    """Whether the process has a file in these folders open for writing; readers are not ours."""
    links = Path(f"/proc/{pid}/fd")
    try:
        return any(_is_written(links / name, inside) for name in os.listdir(links))
    except OSError:  # it has ended, or is another user's
        return False


def _is_written(link: Path, inside: tuple[str, ...]) -> bool:
    """Of one open file; the link's own permissions are the modes that it was opened with (proc(5))."""
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
