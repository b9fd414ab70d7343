"""`insideout export DATASET UID --to FILE`: one model for other tools."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from pipeline.arguments import Dataset, Uid
from pipeline.terminal import show


@dataclass(frozen=True)
class Command:
    """Write one model of a dataset in a format that other tools open."""

    dataset: Positional[Dataset]
    """The dataset folder."""
    uid: Positional[Uid]
    """The model's uid, or its source path."""
    to: Path
    """FILE.ply (colored points), FILE.npz (Point-E's format), FILE.png (the model cut open), or a folder
    (NeRF dataset)."""
    albedo: bool = False
    """Unlit colors instead of lit ones."""
    points: Literal["outside", "hidden", "solid", "all"] = "outside"
    """Points in a .ply or .npz; `all` labels them 0 (outside), 1 (hidden) and 2 (solid)."""


def run(command: Command) -> int:
    """Export, and print where to."""
    from fuse.export.model import export

    written = export(command.dataset, command.uid, command.to, command.albedo, command.points)
    show(f"export: {written}")
    return 0
