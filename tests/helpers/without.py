"""Run verbs one after another in a process in which some modules are not installed.

    python tests/helpers/without.py bpy,open3d verify DATASET -- status DATASET

One process, because most of a verb's time is importing torch. Prints a line of JSON per verb, and one about
the process.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Iterator
from typing import Any


class Hiding:
    """A finder that does not find some modules, else another one."""

    def __init__(self, finder: Any, absent: set[str]):
        self.finder, self.absent = finder, absent

    def find_spec(self, name: str, *more: Any) -> Any:
        """What `importlib` asks for."""
        return None if name.partition(".")[0] in self.absent else self.finder.find_spec(name, *more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


def commands(words: list[str]) -> Iterator[list[str]]:
    """The words between `--`."""
    while words:
        at = words.index("--") if "--" in words else len(words)
        yield words[:at]
        words = words[at + 1 :]


def main(absent: set[str], words: list[str]) -> None:
    """Run each command; print its exit code, what it wrote, and how long it took."""
    sys.meta_path[:] = [Hiding(finder, absent) for finder in sys.meta_path]
    from pipeline import cli

    for command in commands(words):
        out, err = io.StringIO(), io.StringIO()
        code: object = 0
        began = time.monotonic()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.main(command)
            except SystemExit as end:
                code = end.code
        written = {"out": out.getvalue(), "err": err.getvalue()}
        print(json.dumps({"verb": command[0], "code": code, "seconds": time.monotonic() - began, **written}))
    print(json.dumps({"code": cli.__file__, "python": sys.version}))


if __name__ == "__main__":
    main(set(sys.argv[1].split(",")), sys.argv[2:])
