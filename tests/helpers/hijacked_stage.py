"""A stage whose child a model takes over as soon as it is read: the model's first line says how."""

from __future__ import annotations

import ctypes
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from render.job import Job, Placement, Record
from render.references import orders

JOB = Job
OUTSIDE = "outside.txt"
"""Beside the models' folder: no model may have it."""


def process(job: Job, place: Placement) -> Record:
    place.output.write_bytes(place.input.read_bytes())
    return Record()


class _Junk:
    """An answer without a type."""

    def __init__(self, values: Any):
        self.values = values

    def model_dump(self, mode: str) -> Any:
        return self.values


def _links(*links: Any, **more: Any) -> _Junk:
    return _Junk({"kind": "obj", "links": links, "coded": False, **more})


def _write(raw: bytes) -> _Junk:
    """Bytes where a frame belongs, on every descriptor; then silence."""
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, raw)
        except OSError:
            continue
    time.sleep(3600)
    return _Junk(None)


def _allocate(_: Any) -> _Junk:
    held = []
    while True:
        held.append(bytearray(os.urandom(1 << 20)) * 16)
        time.sleep(0.01)


def _made(order: dict[str, Any], make: Callable[[str], object]) -> _Junk:
    """Instead of a rewritten file, or of an unpacked folder, something else."""
    if order["do"] == "scan":
        return _links((("/etc/passwd",), (), (), None))  # foreign: asks for a rewritten copy
    make(order["target"] if order["do"] == "rewrite" else order["folder"])
    return _Junk({"changed": True} if order["do"] == "rewrite" else {"model": OUTSIDE})


def _unpacked(order: dict[str, Any], name: str) -> _Junk:
    folder = Path(order["folder"])
    folder.mkdir()
    (folder / OUTSIDE).symlink_to(Path.home())
    return _Junk({"model": name})


DEEDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "segfault": lambda _: ctypes.string_at(0),
    "leave": lambda _: os._exit(3),
    "hang": lambda _: time.sleep(3600),
    "a pattern without end": lambda _: re.match("(a+)+$", "a" * 60 + "b"),
    "allocate": _allocate,
    "no result": lambda _: _Junk(None),
    "a number": lambda _: _Junk(7),
    "another result": lambda _: _Junk({"changed": True}),
    "more fields": lambda _: _links(path="/etc/passwd"),
    "names that are none": lambda _: _links(((7,), (), (), None)),
    "no name": lambda _: _links(((), (), (), None)),
    "a name without end": lambda _: _links((("a" * 5000,), (), (), None)),
    "too many names": lambda _: _links(*[(("a",), (), (), None)] * 70_000),
    "spans before the file": lambda _: _links((("a",), ((-5, 3),), (), None)),
    "too many bytes": lambda _: _write(b"\x7f\xff\xff\xff"),
    "no JSON": lambda _: _write(b"\0\0\0\4oops"),
    "nested JSON": lambda _: _write((100_000).to_bytes(4, "big") + b"[" * 100_000),
    "no file": lambda order: _made(order, lambda path: None),
    "a link": lambda order: _made(order, lambda path: os.symlink(Path.home(), path)),
    "a pipe": lambda order: _made(order, os.mkfifo),
    "a path out of the archive": lambda order: _unpacked(order, "../../../outside.txt"),
    "an absolute path": lambda order: _unpacked(order, "/etc/passwd"),
    "a link in the archive": lambda order: _unpacked(order, OUTSIDE),
}

_obey = orders.obey


def obey(order: dict[str, Any]) -> Any:
    path = Path(order.get("path") or order["archive"])
    deed = path.read_bytes().partition(b"\n")[0].removeprefix(b"# ").decode("latin-1")
    return DEEDS[deed](order) if deed in DEEDS else _obey(order)


orders.obey = obey
