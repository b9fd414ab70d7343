"""One line that shows a run's progress: redrawn in a terminal, printed every 30 s elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from pipeline.terminal import show

_EVERY = 30.0  # seconds between lines where there is no terminal
_REDRAW = 0.2


class Progress:
    """Counts what is done and what is left."""

    def __init__(self, name: str, total: int, stream: TextIO | None = None):
        self.name, self.total = name, total
        self.ok = self.failed = 0
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._started = time.monotonic()
        self._shown = self._started if not self._terminal else 0.0

    def add(self, ok: bool) -> None:
        """Count one model."""
        self.ok += ok
        self.failed += not ok
        self.tick()

    def tick(self) -> None:
        """Show the line if it is due."""
        if time.monotonic() - self._shown > (_REDRAW if self._terminal else _EVERY):
            self.show()

    def say(self, text: str) -> None:
        """Print a permanent line; the progress line continues below it."""
        if self._terminal:
            self._stream.write("\r\x1b[K")
        show(text, file=self._stream)

    def show(self) -> None:
        """Show the line now."""
        self._shown = time.monotonic()
        self._stream.write(f"\r\x1b[K{self.line()}" if self._terminal else f"{self.line()}\n")
        self._stream.flush()

    def close(self) -> None:
        """Show the line for the last time."""
        self.show()
        if self._terminal:
            self._stream.write("\n")
            self._stream.flush()

    def line(self) -> str:
        """`render 12/40: 12 ok, 0 failed, 28 left, 0.41/s, ETA 1:08`."""
        done = self.ok + self.failed
        rate = done / max(time.monotonic() - self._started, 1e-9)
        left = self.total - done
        eta = f", ETA {clock(left / rate)}" if done and left else ""
        counts = f"{self.ok} ok, {self.failed} failed, {left} left"
        return f"{self.name} {done}/{self.total}: {counts}, {rate:.2f}/s{eta}"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
