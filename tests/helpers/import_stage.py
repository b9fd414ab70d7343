"""A stage for the tests: import one model in a child process and say what stands in the scene."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from render.importing.blender import import_model
from render.job import Job, Placement, Record

MOST = 300  # corners reported


JOB = Job


def process(job: Job, place: Placement) -> Record:
    """Write what stands in the scene to the output, as JSON."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    imported = import_model(place.input, place.scratch)
    points: list[np.ndarray] = [np.zeros((0, 3))]
    corners: list[list[float]] = []
    faces = 0
    for instance in bpy.context.evaluated_depsgraph_get().object_instances:
        if instance.object.type != "MESH":
            continue
        mesh, matrix = instance.object.data, np.array(instance.matrix_world)
        local = np.array([vertex.co for vertex in mesh.vertices]).reshape(-1, 3)
        points.append(local @ matrix[:3, :3].T + matrix[:3, 3] + imported.offset)
        faces += len(mesh.polygons)
        corners += _corners(mesh, points[-1])
    everything = np.concatenate(points)
    images = [i for i in bpy.data.images if i.source == "FILE"]
    found = {
        "format": imported.format,
        "importer": imported.importer,
        "notes": imported.notes,
        "faces": faces,
        "low": everything.min(0).tolist() if len(everything) else None,
        "high": everything.max(0).tolist() if len(everything) else None,
        "corners": corners[:MOST],
        "bases": {m.name: _base(m) for m in bpy.data.materials if m.users},
        "images": sorted(Path(bpy.path.abspath(i.filepath)).name for i in images),
        "loaded": sum(min(i.size) > 0 for i in images),
        "types": sorted({thing.type for thing in bpy.context.scene.objects}),
        "texts": len(bpy.data.texts),
        "frame": bpy.context.scene.frame_current,
        "view_transform": bpy.context.scene.view_settings.view_transform,
    }
    place.output.write_text(json.dumps(found))
    return Record()


def _corners(mesh: Any, world: np.ndarray) -> list[list[float]]:
    """World position and linear color of each corner: x, y, z, r, g, b; then u, v if any."""
    color = mesh.color_attributes.active_color if mesh.color_attributes else None
    uv = mesh.uv_layers.active
    rows = []
    for loop in list(mesh.loops)[:MOST]:
        row = [float(x) for x in world[loop.vertex_index]]
        if color is not None:
            row += list(color.data[loop.vertex_index if color.domain == "POINT" else loop.index].color)[:3]
        if uv is not None:
            row += list(uv.uv[loop.index].vector)
        rows.append(row)
    return rows


def _base(material: Any) -> list[float] | None:
    nodes = material.node_tree.nodes if material.use_nodes else []
    shader = next((node for node in nodes if node.type == "BSDF_PRINCIPLED"), None)
    return (
        None
        if shader is None
        else [*shader.inputs["Base Color"].default_value[:3], shader.inputs["Alpha"].default_value]
    )
