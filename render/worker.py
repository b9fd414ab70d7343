"""One model inside a Blender process, from start to finish: import, freeze, render, write the bundle.

Runs in a child process that serves many models. The engine sends jobs (`render.job`) and commits the output.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from render.bundle import Camera, View, write_bundle
from render.cameras import enclosing_points, place_cameras
from render.failures import FailureClass, ModelFailure
from render.importing.blender import Imported, import_model
from render.importing.second import second_reading
from render.importing.witness import disagreement
from render.job import Placement, RenderJob, RenderRecord
from render.scene import freeze as scene
from render.scene.textures import relink_textures
from render.shading import materials
from render.shading.basecolor import base_colors
from render.shading.color import lit_views
from render.shading.coverage import Occluder
from render.shading.interior import interior_masks
from render.stopwatch import Stopwatch
from render.surfaces.finding import find_surfaces
from render.surfaces.rays import Surfaces

JOB = RenderJob
_SOURCE = {"uid", "source", "caption", "category", "license", "split", "weight", "config_hash"}
"""Fields of the job that meta.json repeats."""


def process(job: RenderJob, place: Placement) -> RenderRecord:
    """Render the model at `place.input` into a bundle at `place.output`. Raises ModelFailure."""
    config, path, scratch, threads = job.config, place.input, place.scratch, place.threads
    watch = Stopwatch()
    with watch("import"):
        scene.reset()
        imported = import_model(path, scratch)
    with watch("freeze"):
        frozen = scene.freeze(path.name, imported.offset)
    with watch("check"):
        imported, frozen = _checked(path, imported, frozen, scratch)
    with watch("freeze"):
        missing, relinked = relink_textures(path, imported.format)
        shown = materials.prepare(frozen.objects, imported.format)
    cameras = place_cameras(config, job.uid, frozen.radius)
    outline = enclosing_points(frozen.mesh.vertices)
    with watch("color"):
        alphas = materials.triangle_alphas(frozen.objects)
        occluder = None if alphas is None else Occluder(frozen.mesh, alphas)
        bases, guesses = base_colors()
        rgba, samples = lit_views(config, job.uid, cameras, occluder, bases, outline, threads, scratch)
        del occluder  # as large as the mesh
    with watch("geometry"):
        found = find_surfaces(frozen.objects, frozen.mesh, bases, cameras, outline, config, threads, scratch)
        views = [_view(*one) for one in zip(cameras, rgba, found.views, strict=True)]
        _require_visible(path.name, views)
    if config.hidden:
        with watch("interior"):
            masks = interior_masks(views)
            views = [replace(view, interior=mask) for view, mask in zip(views, masks, strict=True)]
    with watch("write"):
        meta = _meta(job, place, imported, frozen, missing, [*relinked, *shown, *guesses], samples, found.way)
        write_bundle(place.output, views, frozen.mesh, meta)
    return RenderRecord(
        views=len(views),
        faces=len(frozen.mesh.faces),
        importer=imported.importer,
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    )


def _checked(
    path: Path, imported: Imported, frozen: scene.FrozenScene, scratch: Path
) -> tuple[Imported, scene.FrozenScene]:
    """The model, or, where the file itself says otherwise, a reading that agrees with it, or else a note."""
    world = frozen.mesh.vertices.astype(np.float64) / frozen.scale + frozen.center
    doubt = disagreement(path, imported.format, world, frozen.mesh.faces)
    imported = replace(imported, held=None)
    if doubt is None:
        return imported, frozen
    again = second_reading(path, imported, doubt, scratch)
    if again is None:
        return replace(imported, notes=[*imported.notes, str(doubt)]), frozen
    return again, scene.freeze(path.name, again.offset)


def _view(camera: Camera, rgba: np.ndarray, surfaces: Surfaces) -> View:
    seen, *behind = surfaces.layers()
    first = seen.layer(surfaces.shape)
    return View(camera, rgba, first.depth, first.albedo, first.normal, behind)


def _require_visible(path_name: str, views: list[View]) -> None:
    """Raise ModelFailure `empty` where no ray of any view meets a surface."""
    if not any((view.depth > 0).any() for view in views):
        used = sorted(material.name for material in bpy.data.materials if material.users)
        raise ModelFailure(
            FailureClass.EMPTY,
            f"{path_name}: none of its faces is visible in any view. Either the opacity of its materials "
            f"({', '.join(used[:5])}) is 0, or it is thinner than a pixel: then raise --resolution.",
        )


def _meta(
    job: RenderJob,
    place: Placement,
    imported: Imported,
    frozen: scene.FrozenScene,
    missing: list[str],
    notes: list[str],
    samples: int,
    surfaces: str,
) -> dict[str, Any]:
    """The contents of meta.json: where the model came from, what it contains, how it was rendered."""
    return {
        **job.model_dump(include=_SOURCE),
        "source_sha256": place.input_sha256,
        **({"companions_sha256": place.companions_sha256} if place.companions_sha256 else {}),
        "format": imported.format,
        "importer": imported.importer,
        "center": frozen.center.tolist(),
        "scale": frozen.scale,
        "counts": frozen.counts,
        "missing_textures": missing,
        "notes": [*place.notes, *imported.notes, *frozen.notes, *notes],
        "engine": job.config.engine,
        "samples": samples,
        "surfaces": surfaces,
        "denoise": job.config.denoise if job.config.denoised else "off",
        "seed": job.config.seed,
        "blender": bpy.app.version_string,
    }
