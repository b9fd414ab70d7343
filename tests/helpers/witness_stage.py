"""A stage for the tests: what `render.importing.witness` says of a model and of several meshes made of it."""

from __future__ import annotations

import json

import numpy as np

from render.importing.witness import disagreement
from render.job import Job, Placement, Record

JOB = Job


def process(job: Job, place: Placement) -> Record:
    """Write the note on each mesh to the output, as JSON; they are in asked.npz by number."""
    with np.load(place.scratch / "asked.npz") as asked:
        meshes = [(asked[f"vertices_{i}"], asked[f"faces_{i}"]) for i in range(len(asked.files) // 2)]
    kind = place.input.suffix[1:]
    doubts = [disagreement(place.input, kind, *mesh) for mesh in meshes]
    place.output.write_text(json.dumps([doubt and doubt.words for doubt in doubts]))
    return Record()
