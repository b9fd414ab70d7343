"""Which cores a child runs on: as many as its worker has, and no other worker's.

Blender's own thread settings are not always respected; a process's CPU affinity is. Workers on one machine
agree through names that only one process at a time can bind (abstract sockets: they leave no file and end
with their process). Where the container has a share of CPU time rather than cores, or too few cores are free,
the child runs on all, and the kernel divides them.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_OLD_QUOTA = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")


class Cores:
    """`count` cores for this process's child until `release`; `numbers` is empty if too few are free."""

    def __init__(self, count: int):
        self._held: list[socket.socket] = []
        self.numbers: tuple[int, ...] = ()
        if not _shared_by_time():
            self.numbers = self._take(count)
        if len(self.numbers) < count:
            self.release()

    def release(self) -> None:
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


def _shared_by_time() -> bool:
    """Whether a quota rather than a set of cores limits this container's CPU."""
    for path, unlimited in ((_QUOTA, "max"), (_OLD_QUOTA, "-1")):
        try:
            return path.read_text().split()[0] != unlimited
        except (OSError, IndexError):
            continue
    return False
