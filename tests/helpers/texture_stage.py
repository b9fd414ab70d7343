"""A stage for the tests: import one model, relink its textures, and say which images there are."""

from __future__ import annotations

import json

import bpy
import numpy as np

from render.importing.blender import import_model
from render.job import Job, Placement, Record
from render.scene.textures import relink_textures

JOB = Job


def process(job: Job, place: Placement) -> Record:
    """Write to the output what became of the model's textures, as JSON."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    imported = import_model(place.input, place.scratch)
    missing, notes = relink_textures(place.input, imported.format)
    used = {
        node.image
        for material in bpy.data.materials
        if material.users and material.node_tree
        for node in material.node_tree.nodes
        if node.type == "TEX_IMAGE" and node.image
    }
    found = {
        "missing": missing,
        "notes": [*imported.notes, *notes],
        "colors": sorted(_color(image) for image in used),
        "materials": sum(material.users > 0 for material in bpy.data.materials),
    }
    place.output.write_text(json.dumps(found))
    return Record()


def _color(image: bpy.types.Image) -> list[int]:
    """The color of an image of one color, as bytes."""
    pixels = np.array(image.pixels[:]).reshape(-1, 4)[:, :3]
    return np.round(pixels.mean(0) * 255).astype(int).tolist()
