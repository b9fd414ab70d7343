"""A process confines itself before it touches untrusted files: Landlock for files, seccomp for the rest.

    level = apply(plan)      # first thing in the child: before any thread, numpy or bpy

Afterwards the process can read its Python, its system libraries and its input folder, and write its work
folder. It has no socket, no fork, no exec and no way to another process, and cannot undo that. No privilege
is needed. What each layer stops, and what neither stops: docs/security.md. Layers:
`pipeline.sandbox.landlock`, `pipeline.sandbox.seccomp`.
"""

from __future__ import annotations

import contextlib
import mimetypes
import os
import re
import resource
import socket
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline.sandbox import landlock, seccomp

Confine = Literal["auto", "require", "off"]

_FSIZE = 16 << 30  # bytes of one file that a child writes
_FILES = 512  # open at once
_HEADROOM = 4 << 30  # bytes of address space beyond the cap: libraries and stacks are mapped but not resident
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full")
_RANDOM = ("/dev/urandom", "/dev/random")
_SYSTEM = ("/usr", "/lib", "/lib64", "/nix/store", "/gnu/store")
_SETTINGS = (
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime"),
    *("/etc/os-release", "/etc/fonts", *map(str, mimetypes.knownfiles)),
    *("/etc/glvnd", "/etc/vulkan", "/etc/OpenCL", "/etc/egl", "/etc/drirc"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/filesystems"),
    *("/sys/devices/system",),
)
_GPU = (
    "/dev/dri",
    "/dev/kfd",
    "/dev/nvidia-caps",
    "/dev/nvidia-modeset",
    "/dev/nvidia-uvm",
    "/dev/nvidiactl",
)
_GPU_SETTINGS = (
    *("/proc/driver/nvidia", "/proc/devices", "/proc/modules", "/opt/rocm"),
    *("/sys/bus/pci", "/sys/class/drm", "/sys/class/kfd", "/sys/devices", "/sys/module"),
)


def has_gpu() -> bool:
    """Whether this machine has a graphics device."""
    return any(os.path.exists(path) for path in ("/dev/nvidiactl", "/dev/kfd", "/dev/dri"))


class NotConfined(Exception):
    """`require` was asked for, and a layer is missing; the message names it and the remedy."""


@dataclass(frozen=True)
class Plan:
    """What a child is allowed; it receives this as JSON."""

    confine: Confine = "off"
    program: tuple[str, ...] = ()
    """Folders of Python and of our own code: read, and mapped as code."""
    listed: tuple[str, ...] = ()
    """Folders on the module path that may be listed, but not read."""
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()
    """Cores to start on (`pipeline.sandbox.cores`); none: the parent's."""
    memory: int = 0
    """Resident bytes above which the supervisor kills; the address space may be larger. 0: no limit."""
    gpu: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the command line of the child."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Plan:
        """The plan that `to_json` wrote."""
        known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**known)


def apply(plan: Plan) -> str:
    """Confine this process for good. Returns the level for the ledger: `full (landlock 7, seccomp)`.

    `partial (...)` names what is missing. Raises NotConfined where `require` asks for more than there is.
    """
    if plan.cores:
        with contextlib.suppress(PermissionError):  # where a container refuses it, it runs on all
            os.sched_setaffinity(0, plan.cores)
    _limit(plan)
    if plan.confine == "off":
        return "off"
    if len(os.listdir("/proc/self/task")) != 1:
        raise NotConfined("Confinement came too late: an existing thread would stay unconfined.")
    missing = []
    try:
        abi = landlock.restrict(_rules(plan))
    except OSError:
        abi = 0
    filtered = seccomp.install()
    if abi == 0 or _reads("/"):
        missing.append("no landlock: the kernel is older than 5.13, or it is switched off")
    if not filtered or _connects() or _forks():
        missing.append("no seccomp filter: the kernel or the container refuses it")
    if not missing:
        return f"full (landlock {abi}, seccomp)"
    if plan.confine == "require":
        raise NotConfined(f"--confine require, but {'; '.join(missing)}. See docs/security.md, or use auto.")
    return f"partial ({'; '.join(missing)})"


def seals_input(level: str) -> bool:
    """Whether a child of this level cannot change the files that it may read.

    Landlock 2 and older lets it open them with O_TRUNC, which empties them.
    """
    found = re.match(r"full \(landlock (\d+)", level)
    return found is not None and int(found[1]) >= 3


def _limit(plan: Plan) -> None:
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: _FSIZE, resource.RLIMIT_NOFILE: _FILES}
    if plan.memory and not plan.gpu:  # CUDA reserves address space by the hundred GiB
        limits[resource.RLIMIT_AS] = plan.memory + _HEADROOM
    for kind, value in limits.items():
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _rules(plan: Plan) -> list[tuple[str, int]]:
    """(path, rights) of everything that may be opened."""
    rules = [(path, landlock.READ | landlock.EXECUTE) for path in (*_SYSTEM, *plan.program)]
    rules += [(path, landlock.READ) for path in (*_SETTINGS, *_RANDOM, *plan.read)]
    rules += [(path, landlock.LIST) for path in plan.listed]
    rules += [(path, landlock.WRITE) for path in (*_DEVICES, *plan.write)]
    if plan.gpu:
        devices = [f"/dev/{name}" for name in os.listdir("/dev") if name.startswith("nvidia")]
        rules += [(path, landlock.WRITE | landlock.DEVICE) for path in (*_GPU, *devices)]
        rules += [(path, landlock.READ) for path in _GPU_SETTINGS]
    return rules


def _reads(folder: str) -> bool:
    """Whether a folder outside all rules can still be listed."""
    try:
        os.listdir(folder)
    except PermissionError:
        return False
    return True


def _connects() -> bool:
    try:
        socket.socket().close()
    except PermissionError:
        return False
    return True


def _forks() -> bool:
    """Whether another process can be started; it ends at once."""
    try:
        child = os.fork()
    except PermissionError:
        return False
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True
