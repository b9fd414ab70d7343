"""The contents of model files according to Blender, for tests that must not load Blender themselves.

`python -m tests.helpers.contents FOLDER OUT.npz` imports every model that FOLDER/samples.csv lists and writes
its images and, for each object instance, its name, base color and world-space triangles.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from render.importing.blender import import_model


def main(folder: Path, target: Path) -> None:
    arrays, models = {}, {}
    for row in csv.DictReader((folder / "samples.csv").open()):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        with tempfile.TemporaryDirectory() as scratch:
            import_model(folder / row["path"], Path(scratch))
            objects = []
            for n, (record, triangles) in enumerate(instances()):
                objects.append(record)
                arrays[f"{row['path']}:{n}"] = triangles
            models[row["path"]] = {"objects": objects, "images": images()}
    np.savez(target, models=json.dumps(models), **arrays)


def instances() -> list[tuple[dict[str, Any], np.ndarray]]:
    """Each visible mesh of the scene: a record and its (T, 3, 3) float64 triangles in world space."""
    found = []
    for instance in bpy.context.evaluated_depsgraph_get().object_instances:
        obj = instance.object
        if obj.type != "MESH":
            continue
        mesh = obj.to_mesh()
        mesh.calc_loop_triangles()
        vertices = np.empty((len(mesh.vertices), 3), np.float32)
        mesh.vertices.foreach_get("co", vertices.ravel())
        corners = np.array([t.vertices[:] for t in mesh.loop_triangles], dtype=np.int64).reshape(-1, 3)
        matrix = np.array(instance.matrix_world)
        record = {"name": obj.name, "is_instance": instance.is_instance, "root": obj.parent is None}
        record["color"] = color_of(mesh)
        found.append((record, (vertices.astype(float) @ matrix[:3, :3].T + matrix[:3, 3])[corners]))
        obj.to_mesh_clear()
    return found


def color_of(mesh: Any) -> list[float] | None:
    """Linear RGB: the mean of the vertex colors, or else the Base Color, ignoring its texture."""
    if mesh.color_attributes:
        data = mesh.color_attributes[0].data
        values = np.empty((len(data), 4), np.float32)
        data.foreach_get("color", values.ravel())
        return values[:, :3].mean(axis=0).tolist()
    for material in mesh.materials:
        for node in material.node_tree.nodes if material and material.node_tree else ():
            if node.type == "BSDF_PRINCIPLED":
                return list(node.inputs["Base Color"].default_value)[:3]
    return None


def images() -> dict[str, list[int]]:
    """Name and size of each image; missing files have size 0."""
    return {i.name: list(i.size) for i in bpy.data.images if i.source == "FILE"}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
