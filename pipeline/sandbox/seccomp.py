"""A seccomp filter for a process that only computes: no sockets, no other processes, no changes of rights.

The kernel runs a small program (classic BPF) on every system call. Ours refuses a list of them with EPERM or
EACCES, so that libraries see an error instead of dying; everything else, threads too, is allowed. A list of
what is refused cannot be complete: it is the second line of defense, behind Landlock.
Documentation/userspace-api/seccomp_filter.rst; numbers: arch/x86/entry/syscalls/syscall_64.tbl, and
include/uapi/asm-generic/unistd.h for aarch64.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass

from pipeline.sandbox.landlock import no_new_privileges

_PR_SET_SECCOMP, _FILTER = 22, 2
_LOAD, _RETURN = 0x20, 0x06
_EQUAL, _AT_LEAST, _ANY_BIT = 0x15, 0x35, 0x45
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x50000, 0x80000000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24  # offsets in struct seccomp_data
# What changes a file through a descriptor that is open for reading only: FS_IOC_SETFLAGS (64 and 32 bits),
# FS_IOC_FSSETXATTR, FS_IOC_SETVERSION, FS_IOC_ENABLE_VERITY, FS_IOC_SET_ENCRYPTION_POLICY; terminal input
# TIOCSTI.
_IOCTLS = (0x40086602, 0x40046602, 0x401C5820, 0x40087602, 0x40806685, 0x800C6613, 0x5412)
# F_SETLEASE, F_NOTIFY, F_SETSIG, F_SETOWN, F_SETOWN_EX, F_SET_FILE_RW_HINT
_FCNTLS = (1024, 1026, 10, 8, 15, 1038)
_X32 = 0x40000000
_CLONE_THREAD = 0x10000
_CLONE3 = 435
_libc = ctypes.CDLL(None, use_errno=True)

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


@dataclass(frozen=True)
class _Numbers:
    """A machine's system calls."""

    audit: int  # AUDIT_ARCH_*
    socket: int
    clone: int
    on_self: tuple[int, ...]
    """kill, tgkill: allowed with our own process as the first argument; 0 would be our whole group."""
    on_self_or_0: tuple[int, ...]
    """prlimit64: 0 is our own process too."""
    ioctl: int
    fcntl: int
    denied: tuple[int, ...]


def _words(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))


# Denied, in this order: fork, vfork, execve, execveat; ptrace, process_vm_*; io_uring; perf, bpf,
# userfaultfd; keys; mount, pivot_root, chroot, namespaces, the new mount calls; handles; pidfd_open,
# pidfd_getfd, pidfd_send_signal; modules, kexec; setsid, setpgid; truncate, chmod, chown, utime, xattr,
# mknod; memfd; System V and POSIX queues and memory; vmsplice; sched_setaffinity, setpriority, ioprio_set;
# signals with data, tkill; setxattrat, removexattrat, file_setattr.
_MACHINES = {
    "x86_64": _Numbers(
        0xC000003E,
        socket=41,
        clone=56,
        on_self=(62, 234),
        on_self_or_0=(302,),
        ioctl=16,
        fcntl=72,
        denied=_words(
            "57 58 59 322 101 310 311 425 426 427 298 321 323 248 249 250 165 166 155 161 272 308 "
            "303 304 428 429 430 432 442 434 438 424 175 176 313 246 112 109 76 90 91 92 93 94 132 "
            "235 260 261 268 280 452 319 447 188 189 190 197 198 199 133 259 29 64 68 240 278 203 "
            "141 251 129 297 200 463 466 469"
        ),
    ),
    "aarch64": _Numbers(
        0xC00000B7,
        socket=198,
        clone=220,
        on_self=(129, 131),
        on_self_or_0=(261,),
        ioctl=29,
        fcntl=25,
        denied=_words(
            "221 281 117 270 271 425 426 427 241 280 282 217 218 219 40 39 41 51 97 268 264 265 428 "
            "429 430 432 442 434 438 424 105 106 273 104 157 154 45 52 53 54 55 88 452 279 447 5 6 "
            "7 14 15 16 33 194 190 186 180 75 122 140 30 138 240 130 463 466 469"
        ),
    ),
}


def install() -> bool:
    """Install the filter for this thread and those it starts. False where the kernel or machine has none."""
    numbers = _MACHINES.get(platform.machine())
    if numbers is None:
        return False
    program = b"".join(struct.pack("=HBBI", *line) for line in _program(numbers, os.getpid()))
    code = ctypes.create_string_buffer(program, len(program))
    holder = _Program(len(program) // 8, ctypes.addressof(code))
    try:
        no_new_privileges()
    except OSError:
        return False
    nothing = [ctypes.c_ulong(0)] * 2
    return _libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_FILTER), ctypes.byref(holder), *nothing) == 0


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _program(numbers: _Numbers, own: int) -> list[Instruction]:
    """The filter's lines: another architecture's calls kill, the listed ones fail, the rest pass."""
    lines = [_load(_ARCHITECTURE), (_EQUAL, 1, 0, numbers.audit), _end(_KILL), _load(_NUMBER)]
    lines += [(_AT_LEAST, 0, 1, _X32), _error(errno.ENOSYS)]
    lines += [(_EQUAL, 0, 1, numbers.socket), _error(errno.EACCES)]
    lines += [
        (_EQUAL, 0, 1, _CLONE3),
        _error(errno.ENOSYS),
    ]
    lines += [(_EQUAL, 0, 4, numbers.clone), _load(_FIRST_ARGUMENT), (_ANY_BIT, 0, 1, _CLONE_THREAD)]
    lines += [_end(_ALLOW), _error(errno.EPERM)]
    for number in numbers.on_self:
        lines += [(_EQUAL, 0, 4, number), _load(_FIRST_ARGUMENT), (_EQUAL, 0, 1, own)]
        lines += [_end(_ALLOW), _error(errno.EPERM)]
    for number in numbers.on_self_or_0:
        lines += [(_EQUAL, 0, 5, number), _load(_FIRST_ARGUMENT), (_EQUAL, 1, 0, 0), (_EQUAL, 0, 1, own)]
        lines += [_end(_ALLOW), _error(errno.EPERM)]
    for number, commands in ((numbers.ioctl, _IOCTLS), (numbers.fcntl, _FCNTLS)):
        lines += [(_EQUAL, 0, 2 + 2 * len(commands), number), _load(_SECOND_ARGUMENT)]
        lines += [line for command in commands for line in ((_EQUAL, 0, 1, command), _error(errno.EPERM))]
        lines += [_end(_ALLOW)]
    for number in numbers.denied:
        lines += [(_EQUAL, 0, 1, number), _error(errno.EPERM)]
    return [*lines, _end(_ALLOW)]


def _load(offset: int) -> Instruction:
    return (_LOAD, 0, 0, offset)


def _end(value: int) -> Instruction:
    return (_RETURN, 0, 0, value)


def _error(number: int) -> Instruction:
    return _end(_ERROR | number)
