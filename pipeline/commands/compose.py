"""`insideout compose a.png b.png c.png --checkpoint BASE --to DIR`: pictures of one object to one cloud."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from pipeline.terminal import show
from training.merging.settings import ComposeSettings


@dataclass(frozen=True)
class Command(ComposeSettings):
    """Pictures of one object to one labeled cloud: masks, a cloud per picture, merged, refined, cut open."""

    image: Positional[Annotated[tuple[Path, ...], arg(metavar="IMAGE ...")]]
    """Two or more pictures of one object, or a folder of them; the object is what their alpha shows."""


def run(command: Command) -> int:
    """Compose, and print the files that were written."""
    from training.merging.compose import compose

    show(f"compose: {', '.join(map(str, compose(command, show)))}")
    return 0
