"""`insideout score GENERATED TRUE`: how good are clouds, in the measures that papers use?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from pipeline.terminal import show
from training.settings import Scoring


@dataclass(frozen=True)
class Command(Scoring):
    """Score clouds against true clouds: files or folders of PLY or npz, paired by name."""

    generated: Positional[Annotated[Path, arg(metavar="CLOUDS")]]
    """The clouds to score: a .ply or .npz file, or a folder of them."""
    true: Positional[Annotated[Path, arg(metavar="TRUE")]]
    """The true clouds, likewise."""
    baseline: Path | None = None
    """Other clouds of the same objects: paired differences to these are printed too."""
    captions: Path | None = None
    """A JSON file, texts by the clouds' names, for the R-precision of --clip."""
    to: Path | None = None
    """A JSON file to write, with the value of every pair."""


def run(command: Command) -> int:
    """Score, and print a table."""
    from training.scores.clouds import read_clouds
    from training.scores.report import compare, score
    from training.scores.retrieval import read_captions

    generated, true = read_clouds(command.generated), read_clouds(command.true)
    captions = read_captions(command.captions) if command.captions else None
    report = score(generated, true, command, captions)
    show(*report.lines())
    if command.baseline:
        show(f"difference to {command.baseline}, paired:")
        for name, found in compare(generated, read_clouds(command.baseline), true, command).items():
            show(f"  {name}: {found}")
    if command.to:
        command.to.parent.mkdir(parents=True, exist_ok=True)
        command.to.write_text(json.dumps(report.record(), indent=1))
    return 0
