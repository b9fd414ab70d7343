"""A stage for the tests: import and freeze one model in a child process, and measure what is there."""

from __future__ import annotations

import json

import numpy as np

from render.importing.blender import import_model
from render.job import Job, Placement, Record
from render.scene import freeze as scene

JOB = Job


def process(job: Job, place: Placement) -> Record:
    """Write the box, the area, the triangles and the placed parts of the model to the output, as JSON."""
    scene.reset()
    imported = import_model(place.input, place.scratch)
    frozen = scene.freeze(place.input.name, imported.offset)
    corners = (frozen.mesh.vertices.astype(np.float64) / frozen.scale + frozen.center)[frozen.mesh.faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    measures = {
        "format": imported.format,
        "low": corners.min((0, 1)).tolist(),
        "high": corners.max((0, 1)).tolist(),
        "area": float(np.linalg.norm(cross, axis=1).sum() / 2),
        "parts": frozen.counts["placed"],
        "triangles": len(corners),
    }
    place.output.write_text(json.dumps(measures))
    return Record()
