"""`insideout draw DATASET --checkpoint A B --to DIR`: clouds of a dataset's objects, for mergers to learn."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from pipeline.arguments import Dataset
from pipeline.terminal import show
from training.merging.settings import DrawSettings


@dataclass(frozen=True)
class Command(DrawSettings):
    """Draw clouds of a dataset's objects from checkpoints: what a merger and an upsampler learn from."""

    dataset: Positional[Dataset]
    """The dataset folder."""


def run(command: Command) -> int:
    """Draw, and print what there is."""
    from training.merging.draw import draw

    draws = draw(command, show)
    show(f"draw: {len(draws)} objects in {draws.folder}")
    return 0
