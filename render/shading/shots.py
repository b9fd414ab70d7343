"""One lit render after another with the same scene, by whichever engine is set, and what each shows.

Where color is denoised, renders also hold the base color of what the same samples meet: the denoiser's guide.
"""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import OpenEXR
from PIL import Image

from render.bundle import Camera
from render.shading.basecolor import Base
from render.shading.camera import ViewCamera
from render.shading.lights import Lights

_BASE = "InsideOut base"


class Shots:
    """Renders one view after another with the current settings."""

    def __init__(self, camera: ViewCamera, lights: Lights, outline: np.ndarray, scratch: Path):
        """`outline`, (N, 3), is as in `ViewCamera.move`."""
        self.camera, self.lights, self.outline, self.scratch = camera, lights, outline, scratch

    def take(self, camera: Camera) -> np.ndarray:
        """The view: (H, W, 4) uint8 RGBA, or after `record_base_colors` (H, W, 7) float32, linear and
        premultiplied: RGBA and base color."""
        records = bpy.context.scene.render.image_settings.file_format != "PNG"
        path = self.scratch / ("color.exr" if records else "color.png")
        self.camera.move(camera, self.outline)
        self.lights.aim(camera)
        bpy.context.scene.render.filepath = str(path)
        bpy.ops.render.render(write_still=True)
        pixels = _read_records(path) if records else _read_png(path)
        path.unlink()
        return self.camera.window.paste(pixels)


def record_base_colors(bases: dict[bpy.types.Material, Base]) -> None:
    """Let renders keep the materials' base colors."""
    bpy.context.view_layer.aovs.add().name = _BASE
    keep_floats()
    for material, base in bases.items():
        node = material.node_tree.nodes.new("ShaderNodeOutputAOV")
        node.aov_name = _BASE
        base.feed_color(material.node_tree, node.inputs["Color"])


def keep_floats() -> None:
    """Let renders be files of color and AOVs in float32, not compressed."""
    bpy.context.view_layer.use_pass_z = False
    settings = bpy.context.scene.render.image_settings
    settings.file_format, settings.color_depth, settings.exr_codec = "OPEN_EXR_MULTILAYER", "32", "NONE"


def end_records() -> None:
    """Renders no longer keep base colors."""
    aovs = bpy.context.view_layer.aovs
    aovs.remove(aovs[_BASE])


def end_session() -> None:
    """Free Cycles' copy of the scene; the next render reads all settings again."""
    bpy.context.scene.render.use_persistent_data = False


def use_samples(first: int, end: int, of: int) -> None:
    """Take samples `first` to `end` of a sequence of `of`: all of its parts together are the whole.

    The next part of the same sequence needs no new session.
    """
    scene = bpy.context.scene
    if scene.cycles.samples != of:
        end_session()
    scene.render.use_persistent_data = True
    scene.cycles.samples, scene.cycles.use_sample_subset = of, end - first < of
    scene.cycles.sample_offset, scene.cycles.sample_subset_length = first, end - first
    scene.update_tag()  # or else, where nothing else changes, a session goes on with the part before


def _read_png(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def _read_records(path: Path) -> np.ndarray:
    with OpenEXR.File(str(path)) as file:
        found = {name.split(".", 1)[1]: channel.pixels for name, channel in file.channels().items()}
    return np.concatenate([found["Combined"], found[_BASE][..., :3]], -1)
