"""What each step of a job takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Wall and CPU seconds per step: `with watch("merge"): ...` adds to that step. CPU seconds count all
    threads of the process."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self._add(self.seconds, step, time.perf_counter() - wall)
        self._add(self.cpu_seconds, step, time.process_time() - cpu)

    @staticmethod
    def _add(times: dict[str, float], step: str, seconds: float) -> None:
        times[step] = round(times.get(step, 0.0) + seconds, 4)
