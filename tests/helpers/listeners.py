"""A server on loopback, TCP and UDP, and sockets of the UNIX kind, that count who comes."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from pathlib import Path


class Listeners:
    """Accepts on one TCP port, receives on one UDP port, and on a UNIX socket by path and an abstract one."""

    def __init__(self, folder: Path):
        self.path = str(folder / "s")
        self.abstract = f"\0insideout-test-{folder.name}-{id(self)}"
        self._sockets = {
            "tcp": _bound(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            "udp": _bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "unix": _bound(socket.AF_UNIX, socket.SOCK_STREAM, self.path),
            "abstract": _bound(socket.AF_UNIX, socket.SOCK_STREAM, self.abstract),
        }
        self.seen: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def tcp(self) -> int:
        return self._sockets["tcp"].getsockname()[1]

    @property
    def udp(self) -> int:
        return self._sockets["udp"].getsockname()[1]

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for one in self._sockets.values():
            one.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as ready:
            for name, one in self._sockets.items():
                ready.register(one, selectors.EVENT_READ, name)
            while not self._stop.is_set():
                for key, _ in ready.select(0.05):
                    self._meet(str(key.data))

    def _meet(self, name: str) -> None:
        self.seen.append(name)
        with contextlib.suppress(OSError):
            if name == "udp":
                self._sockets[name].recv(65536)
            else:
                self._sockets[name].accept()[0].close()


def _bound(family: int, kind: int, address: object) -> socket.socket:
    one = socket.socket(family, kind)
    one.bind(address)  # type: ignore[arg-type]
    if kind == socket.SOCK_STREAM:
        one.listen()
    return one
