"""One run at a time in an object store: a lock object that its owner keeps rewriting.

A store has no locks that end with a process, and clocks differ. So a lock is dead when its content has not
changed for a while, as observed by whoever wants it: beside a living run a second one gives up within
seconds; after a killed one it waits a minute, then continues, or at once on the machine where the owner is
known to be dead.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from fuse.dataset import storage
from render.failures import UserError

_BEAT = 10.0  # seconds between signs of life
_DEAD = 60.0  # seconds without one
_LOOK = 2.0


@contextlib.contextmanager
def remote_lock(path: Path, beat: float = _BEAT, dead: float = _DEAD) -> Iterator[None]:
    """Hold the lock object `path`. UserError if another run is alive; a lost lock ends this process's run."""
    lock = _Lock(path, beat)
    lock.acquire(dead)
    lock.start()
    try:
        yield
    finally:
        lock.release()


class _Lock:
    def __init__(self, path: Path, beat: float):
        self.path, self.beat = path, beat
        self.owner = {"host": socket.gethostname(), "pid": os.getpid(), "id": uuid.uuid4().hex}
        self._beats = 0
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lock", daemon=True)

    def acquire(self, dead: float) -> None:
        while not storage.create(self._content(), self.path):
            found = self._read()
            if found is None:
                continue
            if "id" not in _parse(found):
                raise UserError(f"{self.path}: not a lock that a run has made. Remove it if nobody needs it.")
            if not self._owner_is_gone(found):
                self._watch(found, dead)
            if self._read() == found:
                storage.remove([self.path])

    def start(self) -> None:
        self._thread.start()

    def release(self) -> None:
        self._released.set()
        self._thread.join()
        if self._ours(self._read()):
            storage.remove([self.path])

    def _keep(self) -> None:
        """Rewrite the lock; end this run if another one considered it dead and is writing now."""
        while not self._released.wait(self.beat):
            try:
                if not self._ours(self._read()):
                    print(f"insideout: {self.path} is another run's now: stopping.", file=sys.stderr)
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
                self._beats += 1
                storage.publish_bytes(self._content(), self.path)
            except Exception as error:
                if not storage.is_fault(error):  # unreachable: others see no change either
                    raise

    def _watch(self, found: bytes, dead: float) -> None:
        """Return when the lock has not changed for `dead` seconds, or is gone; UserError when it changes."""
        print(f"{self.path}: is another run alive? Looking for {dead:.0f} s.", file=sys.stderr, flush=True)
        deadline = time.monotonic() + dead
        while time.monotonic() < deadline:
            time.sleep(min(_LOOK, dead / 4))
            now = self._read()
            if now is None:
                return
            if now != found:
                owner = _parse(now)
                raise UserError(
                    f"{self.path.parent}: another run is writing here (process {owner.get('pid')} on "
                    f"{owner.get('host')}). Wait for it, or choose another folder."
                )

    def _read(self) -> bytes | None:
        try:
            return storage.read_bytes(self.path)
        except FileNotFoundError:
            return None

    def _content(self) -> bytes:
        return json.dumps({**self.owner, "beat": self._beats}).encode()

    def _ours(self, found: bytes | None) -> bool:
        return found is not None and _parse(found).get("id") == self.owner["id"]

    def _owner_is_gone(self, found: bytes) -> bool:
        owner = _parse(found)
        here = owner.get("host") == self.owner["host"]
        return here and not Path("/proc", str(owner.get("pid"))).exists()


def _parse(found: bytes) -> dict[str, object]:
    try:
        values = json.loads(found)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
