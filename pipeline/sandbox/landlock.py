"""Landlock: a process gives up the right to open anything but what a list of rules names.

Kernel 5.13 and newer; no privilege needed. It binds threads started later and executed programs, but not
descriptors that are already open. Documentation/userspace-api/landlock.rst in the kernel's source.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct

EXECUTE = 1 << 0
LIST = 1 << 3
READ = 1 << 2 | LIST
DEVICE = 1 << 15
"""ioctl on a device (ABI 5)."""

_ALL = (1 << 16) - 1
_LINKS_AND_NODES = 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12  # devices, sockets, pipes, symbolic links
WRITE = _ALL & ~(EXECUTE | DEVICE | _LINKS_AND_NODES)
"""Reading, and making, changing, renaming and removing regular files and folders."""

_OF_FILES = EXECUTE | 1 << 1 | 1 << 2 | 1 << 14 | DEVICE  # rights that mean something for a single file
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PR_SET_NO_NEW_PRIVS = 38
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def abi() -> int:
    """The kernel's Landlock version; 0 where there is none (too old, switched off, or denied)."""
    try:
        return _call(_CREATE_RULESET, 0, 0, 1)
    except OSError:
        return 0


def restrict(rules: list[tuple[str, int]]) -> int:
    """Deny this process all files but those in `rules`, (path, rights), and TCP, and signals to others.

    Returns the ABI used, 0 where the kernel has none. Paths that do not exist are skipped. Call it before
    starting threads: existing ones stay unconfined.
    """
    version = abi()
    if version == 0:
        return 0
    handled = _handled(version)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    attributes = struct.pack("=QQQ", handled, 3 if version >= 4 else 0, 3 if version >= 6 else 0)[:size]
    ruleset = _call(_CREATE_RULESET, ctypes.create_string_buffer(attributes, size), size, 0)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & handled)
        no_new_privileges()
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def no_new_privileges() -> None:
    """Landlock and seccomp require it of processes without privileges."""
    nothing = [ctypes.c_ulong(0)] * 3
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), *nothing) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")


def _handled(version: int) -> int:
    """The rights that this version can restrict; those it does not know stay open."""
    since = {13: 2, 14: 3, 15: 5}  # REFER, TRUNCATE, IOCTL_DEV
    return sum(1 << bit for bit in range(16) if version >= since.get(bit, 1))


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        if rights:
            beneath = struct.pack("=Qi", rights, descriptor)
            _call(_ADD_RULE, ruleset, 1, ctypes.create_string_buffer(beneath, len(beneath)), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: int | ctypes.Array[ctypes.c_char]) -> int:
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = _libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
