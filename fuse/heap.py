"""Memory that a process has freed, given back to the system.

glibc keeps what lies below memory in use, and a process that has handled one large mesh has it in pieces: the
next arrays, of other sizes, are put on top.
"""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return what is free to the system, in a few milliseconds; nothing where the C library cannot."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
