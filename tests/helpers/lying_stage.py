"""A stage for the tests: a render whose importer stretches what it reads by the number in its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bpy

from render import worker
from render.importing import blender
from render.importing.blender import Imported
from render.job import Placement, RenderJob, RenderRecord

JOB = RenderJob
_honest = dict(blender._READERS)


def process(job: RenderJob, place: Placement) -> RenderRecord:
    """A bundle of the model, through an importer that lies."""
    blender._READERS.update(dict.fromkeys(_honest, _stretched))
    return worker.process(job, place)


def _stretched(path: Path, kind: str, scratch: Path) -> Imported:
    imported = _honest[kind](path, kind, scratch)
    for mesh in bpy.data.meshes:
        for vertex in mesh.vertices:
            vertex.co.x *= float(path.stem)
    return replace(imported, importer=f"a liar's {imported.importer}")
