"""`insideout merge a.ply b.ply c.ply --to out.ply`: clouds of one object to one better cloud."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from pipeline.terminal import show
from training.merging.settings import MergeSettings


@dataclass(frozen=True)
class Command(MergeSettings):
    """Merge clouds of one object, from any generators, into one better cloud."""

    clouds: Positional[Annotated[tuple[Path, ...], arg(metavar="CLOUD ...")]]
    """Two or more .ply or .npz files in one frame; colors and labels are kept."""


def run(command: Command) -> int:
    """Merge, and print the file that was written."""
    from training.merging.files import merge

    show(f"merge: {merge(command)}")
    return 0
