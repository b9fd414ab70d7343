"""`insideout catalog MODELS --to models.csv`: a collection's catalog as a list for `render`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from pipeline.terminal import show


@dataclass(frozen=True)
class Command:
    """Make a list for `render` of a collection's own catalog: Objaverse, Amazon Berkeley Objects, Google
    Scanned Objects or Sweet Home 3D. The list has captions, categories, licenses and authors."""

    models: Positional[Annotated[Path, arg(metavar="MODELS")]]
    """The collection's folder, as it was downloaded or unpacked."""
    to: Path
    """The CSV to write; inside MODELS, its paths are relative."""
    require_license: bool = False
    """Leave out models whose license the catalog does not name."""


def run(command: Command) -> int:
    """Write the list, and say what is in it."""
    from pipeline.catalogs.listing import write_list

    name, listed, left = write_list(command.models, command.to, command.require_license)
    show(f"catalog: {name}, {listed} models in {command.to}" + (f"; {left} without license" if left else ""))
    return 0
