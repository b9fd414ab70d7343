"""The sample set: models built in Blender, for demos and tests that need no download. All are CC0-1.0.

    python -m render.samples DIR

Together they cover textures, vertex colors, metal, glass, emission, cut-out leaves, instances, several root
objects, every file format that Blender writes, and known insides: objects named "Inside ..." cannot be seen
from outside the model.

May import: bpy, numpy, Pillow, `render.srgb`. Start reading with `catalog.py`, then `shells.py`.
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

LICENSE = "CC0-1.0"


def make_samples(folder: Path) -> list[Path]:
    """Write every sample model, and samples.csv, which lists them, to `folder`; return the models' paths.

    Needs bpy in this process and empties its scene. Raises RuntimeError if an exporter writes nothing.
    """
    from render.samples.catalog import SAMPLES
    from render.samples.files import save
    from render.samples.stage import Stage

    folder = Path(folder).resolve()
    paths = []
    for sample in SAMPLES:
        with tempfile.TemporaryDirectory(prefix="samples-") as scratch:
            sample.build(Stage(Path(scratch)))
            save(folder / sample.path)
        paths.append(folder / sample.path)
    _write_list(folder / "samples.csv", [(s.path, s.caption, s.category, LICENSE) for s in SAMPLES])
    return paths


def _write_list(path: Path, rows: list[tuple[str, str, str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "caption", "category", "license"))
        writer.writerows(rows)
