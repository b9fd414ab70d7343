"""`insideout sheet DATASET --to SHEET.png`: the models of a dataset in one picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from pipeline.arguments import Dataset
from pipeline.terminal import show
from render.failures import at_least


@dataclass(frozen=True)
class Command:
    """Make a contact sheet of a dataset: lit view, depth, albedo and cloud of each model, side by side."""

    dataset: Positional[Dataset]
    """The dataset folder."""
    to: Path
    """The PNG to write."""
    models: tuple[str, ...] = ()
    """Uids or source paths; default: the first models."""
    size: int = 192
    """Width of a picture in pixels."""
    across: int = 2
    """Models per row."""
    most: int = 24
    """Maximum number of models."""

    def __post_init__(self) -> None:
        for name in ("size", "across", "most"):
            at_least(name, getattr(self, name), 1)


def run(command: Command) -> int:
    """Draw, and print how many."""
    from fuse.preview.sheet import write_sheet

    settings = {name: value for name, value in vars(command).items() if name != "dataset"}
    show(f"sheet: {write_sheet(command.dataset, **settings)} models in {command.to}")
    return 0
