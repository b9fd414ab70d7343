"""`insideout segment image.png --checkpoint C --to mask.png`: what lies inside, from a picture alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from pipeline.terminal import show
from training.segmentation.settings import SegmentSettings


@dataclass(frozen=True)
class Command(SegmentSettings):
    """Predict from pictures alone where an inside lies behind, and how many surfaces there are."""

    image: Positional[Annotated[tuple[Path, ...], arg(metavar="IMAGE ...")]]
    """Pictures, or folders of pictures; the object is what their alpha shows."""


def run(command: Command) -> int:
    """Predict, and print the files that were written."""
    from training.segmentation.files import segment

    show(f"segment: {', '.join(map(str, segment(command)))}")
    return 0
