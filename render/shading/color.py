"""The lit views: engine settings, and one image per view in Blender's `Standard` view transform."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix
from PIL import Image

from render.bundle import Camera
from render.cameras import image_box
from render.config import RenderConfig
from render.seeds import seed_for
from render.shading.lights import Lights

ENGINES = {"cycles": "CYCLES", "eevee": "BLENDER_EEVEE_NEXT", "workbench": "BLENDER_WORKBENCH"}
BOUNCES = 2  # further bounces add nothing that a colored cloud could show
GLASS_BOUNCES = 6
CARD_LAYERS = 64  # stacked alpha cards after which a ray turns black


def new_camera(resolution: int) -> bpy.types.Object:
    """Create the scene's only camera and set its square image size."""
    scene = bpy.context.scene
    camera = bpy.data.objects.new("InsideOut camera", bpy.data.cameras.new("InsideOut camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    render = scene.render
    render.resolution_x = render.resolution_y = resolution
    render.resolution_percentage = 100
    render.pixel_aspect_x = render.pixel_aspect_y = 1
    return camera


def move_camera(camera_object: bpy.types.Object, camera: Camera, outline: np.ndarray) -> None:
    """Move Blender's camera to a view.

    `outline`, points (N, 3) whose hull contains the model, sets the clip range and the part of the image that
    is rendered: no rays are traced for the other pixels.
    """
    distance = float(np.linalg.norm(camera.camera_to_world[:3, 3]))
    radius = float(np.linalg.norm(outline, axis=1).max())
    camera_object.data.sensor_fit = "HORIZONTAL"
    camera_object.data.angle = camera.fov
    camera_object.data.clip_start = max(1e-3, (distance - radius) * 0.5)
    camera_object.data.clip_end = (distance + radius) * 2
    camera_object.matrix_world = Matrix(camera.camera_to_world.tolist())
    render = bpy.context.scene.render
    low, high = image_box(camera, outline, render.resolution_x)
    render.use_border, render.use_crop_to_border = True, False
    render.border_min_x, render.border_min_y = low
    render.border_max_x, render.border_max_y = high


def lit_views(
    config: RenderConfig, uid: str, cameras: list[Camera], outline: np.ndarray, threads: int, scratch: Path
) -> list[np.ndarray]:
    """Lit views, each (H, W, 4) uint8 sRGB with straight alpha; `outline` (N, 3) as in `move_camera`."""
    lights = Lights(config, uid)
    _use_engine(config, seed_for(config.seed, uid, "noise"), threads)
    camera_object = new_camera(config.resolution)
    path = scratch / "color.png"
    images = []
    for camera in cameras:
        move_camera(camera_object, camera, outline)
        lights.aim(camera)
        bpy.context.scene.render.filepath = str(path)
        bpy.ops.render.render(write_still=True)
        with Image.open(path) as image:
            images.append(np.array(image))
        path.unlink()
    bpy.context.scene.render.use_persistent_data = (
        False  # frees the session, so that sample settings are read again
    )
    return images


def _use_engine(config: RenderConfig, noise_seed: int, threads: int) -> None:
    """Set everything that a lit view's appearance depends on."""
    scene = bpy.context.scene
    render = scene.render
    render.engine = ENGINES[config.engine]
    render.film_transparent = True
    render.use_persistent_data = True
    render.use_motion_blur = render.use_simplify = False
    render.dither_intensity = 0
    render.threads_mode, render.threads = "FIXED", threads
    settings = render.image_settings
    settings.file_format, settings.color_mode, settings.color_depth, settings.compression = (
        "PNG",
        "RGBA",
        "8",
        0,
    )
    scene.display_settings.display_device = "sRGB"
    scene.view_settings.view_transform, scene.view_settings.look = "Standard", "None"
    scene.view_settings.exposure, scene.view_settings.gamma = 0, 1
    {"cycles": _cycles, "eevee": _eevee, "workbench": _workbench}[config.engine](config, noise_seed)


def _cycles(config: RenderConfig, noise_seed: int) -> None:
    cycles = bpy.context.scene.cycles
    cycles.device = "GPU" if config.device != "cpu" and _use_gpu(required=config.device == "gpu") else "CPU"
    cycles.samples, cycles.seed = config.samples, noise_seed & 0x7FFFFFFF
    cycles.use_adaptive_sampling = cycles.use_denoising = False
    cycles.max_bounces = GLASS_BOUNCES
    cycles.diffuse_bounces = cycles.glossy_bounces = BOUNCES
    cycles.transmission_bounces = GLASS_BOUNCES
    cycles.volume_bounces = 0
    cycles.transparent_max_bounces = CARD_LAYERS
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.sample_clamp_indirect = 4


def _use_gpu(required: bool = False) -> bool:
    """Enable the first GPU back end with a device. Raises RuntimeError if one is required but missing."""
    preferences = bpy.context.preferences.addons["cycles"].preferences
    for kind in ("OPTIX", "CUDA", "HIP", "ONEAPI", "METAL"):
        try:
            preferences.compute_device_type = kind
        except TypeError:  # this build of Blender lacks the back end
            continue
        preferences.refresh_devices()
        found = [device for device in preferences.devices if device.type == kind]
        if found:
            for device in preferences.devices:
                device.use = device == found[0]
            return True
    if required:
        raise RuntimeError("--device gpu: Cycles finds no GPU; use --device auto or cpu")
    return False


def _eevee(config: RenderConfig, _: int) -> None:
    eevee = bpy.context.scene.eevee
    eevee.taa_render_samples = config.samples
    eevee.use_raytracing = False


def _workbench(_: RenderConfig, __: int) -> None:
    shading = bpy.context.scene.display.shading
    shading.light, shading.studio_light, shading.color_type = "STUDIO", "paint.sl", "TEXTURE"
    bpy.context.scene.display.render_aa = "8"
