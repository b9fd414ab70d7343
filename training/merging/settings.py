"""The settings of `merge`, which are also its command-line flags. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.settings import at_least

MergeRule = Literal["union", "consensus", "mean"]
"""How clouds of one object are merged without learning (`training.merging.rules`)."""


@dataclass(frozen=True)
class MergeSettings:
    """Merge clouds of one object, from any generators, into one better cloud."""

    clouds: tuple[Path, ...]
    """Two or more .ply or .npz files in one frame; colors and labels are kept."""
    to: Path
    """A .ply, .npz or .glb file to write."""
    rule: MergeRule = "union"
    """union: a farthest-point sample of all points; consensus: of those that another cloud confirms; mean: of
    the points of the first cloud and their partners in the others."""
    radius: float | None = None
    """For `consensus`: the distance within which a point confirms another; None: two spacings."""
    points: int = 1024
    """Points of the merged cloud."""

    def __post_init__(self) -> None:
        at_least("points", self.points, 1)
