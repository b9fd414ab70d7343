"""Whether a file is still what it was, by size and time: asked of the file system or a store's listing."""

from __future__ import annotations

import hashlib
import os
from array import array

import numpy as np

ABSENT = -1
"""The size of a file that is named and not there: when it comes, the model is another one."""


class Stamps:
    """Sizes and times of remote files, from listings: 16 bytes per file instead of a request per file."""

    def __init__(self) -> None:
        self._found = array("Q")
        self._sorted: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, path: str, size: int, mtime_ns: int) -> None:
        """Take in a listed file."""
        self._found.extend((_hash(path), _hash(f"{size} {mtime_ns}")))

    def match(self, path: str, size: int, mtime_ns: int) -> bool:
        """Whether the listing showed this file with this size and time; with size ABSENT, no such file."""
        if self._sorted is None:
            pairs = np.array(self._found, np.uint64).reshape(-1, 2)
            order = np.argsort(pairs[:, 0])
            self._sorted = pairs[order, 0], pairs[order, 1]
        paths, stamps = self._sorted
        at = int(np.searchsorted(paths, np.uint64(_hash(path))))
        there = at < len(paths) and int(paths[at]) == _hash(path)
        if size == ABSENT:
            return not there
        return there and int(stamps[at]) == _hash(f"{size} {mtime_ns}")


class LocalStamps:
    """Sizes and times of local files: the file system answers in microseconds."""

    def match(self, path: str, size: int, mtime_ns: int) -> bool:
        """Whether the file has this size and time; with size ABSENT, whether there is none."""
        try:
            stat = os.stat(path)
        except OSError:
            return size == ABSENT
        return (stat.st_size, stat.st_mtime_ns) == (size, mtime_ns)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest())
