"""`insideout samples DIR`: make the embedded sample models."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Command:
    """Make the embedded sample models with Blender: many formats and materials, with known insides."""

    folder: Positional[Annotated[Path, arg(metavar="FOLDER")]]
    """The folder to write them to."""


def run(command: Command) -> int:
    """In a process of its own, for bpy is never loaded into this one. Its output shows only on failure."""
    command.folder.mkdir(parents=True, exist_ok=True)
    program = [sys.executable, "-m", "render.samples", str(command.folder)]
    done = subprocess.run(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
    else:
        print(done.stdout.rstrip().rpartition("\n")[2])
    return done.returncode
