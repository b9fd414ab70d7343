"""Which cores a child runs on: as many as its worker has, and no other worker's.

Blender's own thread settings are not always respected; a process's CPU affinity is. Workers on one machine
agree through names that only one process at a time can bind (abstract sockets: they leave no file and end
with their process).

Where the container has a share of CPU time rather than cores, or too few cores are free, the child runs on
all, and the kernel divides them. It still starts on no more than it has threads: oneTBB, which Blender uses,
counts them once, while it is loaded, and a thread of it beyond those that Blender is told to use may busy
itself with waiting. The child's filter forbids it to change its cores, so the supervisor gives it the others
once it is loaded. What that saves: docs/cluster.md.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_OLD_QUOTA = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")


class Cores:
    """`count` cores for this process's child until `release`; `numbers` is empty if too few are free.

    `first` are those to start it on. `widen` it once it is loaded.
    """

    def __init__(self, count: int):
        self._held: list[socket.socket] = []
        self.numbers: tuple[int, ...] = ()
        if not _shared_by_time():
            self.numbers = self._take(count)
        if len(self.numbers) < count:
            self.release()
        self._allowed = os.sched_getaffinity(0)
        self.first = self.numbers or _some(self._allowed, count)

    def widen(self, pid: int) -> None:
        """Let a loaded child run on all cores, if none are its own: every thread of it that has fewer.

        A thread that starts meanwhile has the cores of the one that started it: look again until none is new.
        """
        seen: set[int] = set()
        while not self.numbers and (narrow := self._narrow(pid) - seen):
            for thread in narrow:
                with contextlib.suppress(OSError):  # it has ended, or the platform refuses: leave it
                    os.sched_setaffinity(thread, self._allowed)
            seen |= narrow

    def _narrow(self, pid: int) -> set[int]:
        """The threads of a process that may not run on all cores; none of one that has ended."""
        found: set[int] = set()
        with contextlib.suppress(OSError):
            for thread in map(int, os.listdir(f"/proc/{pid}/task")):
                with contextlib.suppress(OSError):
                    if os.sched_getaffinity(thread) != self._allowed:
                        found.add(thread)
        return found

    def release(self) -> None:
        """Leave the cores to others."""
        for name in self._held:
            name.close()
        self._held, self.numbers = [], ()

    def _take(self, count: int) -> tuple[int, ...]:
        taken: list[int] = []
        for core in sorted(os.sched_getaffinity(0)):
            if len(taken) < count and self._bind(core):
                taken.append(core)
        return tuple(taken)

    def _bind(self, core: int) -> bool:
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            name.bind(f"\0insideout-core-{core}")
        except OSError:
            name.close()
            return False
        self._held.append(name)
        return True


def _some(allowed: set[int], count: int) -> tuple[int, ...]:
    """`count` cores by chance: children that start together must not all load on the same one."""
    chosen = random.SystemRandom().sample(sorted(allowed), min(count, len(allowed)))
    return tuple(sorted(chosen))


def _shared_by_time() -> bool:
    """Whether a quota rather than a set of cores limits this container's CPU."""
    for path, unlimited in ((_QUOTA, "max"), (_OLD_QUOTA, "-1")):
        try:
            return path.read_text().split()[0] != unlimited
        except (OSError, IndexError):
            continue
    return False
