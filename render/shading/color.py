"""The lit views: engine settings, and one image per view in Blender's `Standard` view transform."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np

from render.bundle import Camera
from render.cameras import box_around
from render.config import RenderConfig
from render.seeds import seed_for
from render.shading.basecolor import Base
from render.shading.camera import ViewCamera
from render.shading.coverage import Occluder, coverage
from render.shading.denoiser import Denoiser, cleaned, straight
from render.shading.lights import Lights
from render.shading.sample_count import FEWEST, FEWEST_CLEAR, HALF, MOST, Trial, errors, samples_needed
from render.shading.shots import Shots, end_records, end_session, record_base_colors, use_samples
from render.srgb import linear_to_srgb

ENGINES = {"cycles": "CYCLES", "eevee": "BLENDER_EEVEE_NEXT", "workbench": "BLENDER_WORKBENCH"}
BOUNCES = 2  # further bounces add nothing that a colored cloud could show
GLASS_BOUNCES = 6
TRIALS = 2  # views that say how many samples a model needs
ALPHA_SAMPLES = 16  # of transparent materials, where color has fewer
SPREAD = 0.07  # of a pixel's denoised light to each side: with the box, Cycles' default filter within 5 %
CARD_LAYERS = 64  # stacked alpha cards after which a ray turns black


def lit_views(
    config: RenderConfig,
    uid: str,
    cameras: list[Camera],
    occluder: Occluder | None,
    bases: dict[bpy.types.Material, Base],
    outline: np.ndarray,
    threads: int,
    scratch: Path,
) -> tuple[list[np.ndarray], int]:
    """Lit views, each (H, W, 4) uint8 sRGB with straight alpha, and samples per pixel; `outline` (N, 3) as in
    `ViewCamera.move`.

    `occluder` is the scene's, unless some alpha varies over its surface. `bases` are its materials' base
    colors.
    """
    lights = Lights(config, uid)
    _use_engine(config, seed_for(config.seed, uid, "noise"), threads)
    shots = Shots(ViewCamera(config.resolution), lights, outline, scratch)
    if config.denoise != "off" and config.denoised:
        record_base_colors(bases)
        with Denoiser(config.denoise, threads) as denoiser:
            images, samples = _denoised_views(cameras, occluder, shots, config, denoiser)
        end_records()
    else:
        images, samples = [shots.take(camera) for camera in cameras], config.color_samples
    end_session()
    return images, samples


def _denoised_views(
    cameras: list[Camera], occluder: Occluder | None, shots: Shots, config: RenderConfig, denoiser: Denoiser
) -> tuple[list[np.ndarray], int]:
    """Denoised color with an alpha of its own, and the number of samples.

    Samples stay within their pixel, and `_spread` widens the filter afterwards: so each serves the pixels
    beside it too, and the denoiser meets less noise, none of it shared between pixels.
    """
    bpy.context.scene.cycles.pixel_filter_type = "BOX"
    if config.samples:
        samples = config.samples
        use_samples(0, samples, samples)
        shown, clean = [shots.take(camera) for camera in cameras], {}
    else:
        fewest = FEWEST_CLEAR if occluder is None or occluder.has_clear else FEWEST
        shown, clean, samples = _as_needed(cameras, shots, denoiser, fewest)
    colors = [
        _widened(clean[i] if i in clean else cleaned(image, denoiser), image[..., 3])
        for i, image in enumerate(shown)
    ]
    alphas = [image[..., 3] for image in shown]
    if occluder is not None:
        end_session()  # the occluder has the geometry too
        alphas = [coverage(alpha, camera, occluder) for alpha, camera in zip(alphas, cameras, strict=True)]
    else:
        if samples < ALPHA_SAMPLES:
            _only_alpha(shots.lights, samples)
            known = samples / ALPHA_SAMPLES
            alphas = [
                known * alpha + (1 - known) * shots.take(camera)[..., 3]
                for alpha, camera in zip(alphas, cameras, strict=True)
            ]
        alphas = [_spread(alpha, SPREAD) for alpha in alphas]
    return [_bytes(color, alpha) for color, alpha in zip(colors, alphas, strict=True)], samples


def _as_needed(
    cameras: list[Camera], shots: Shots, denoiser: Denoiser, fewest: int
) -> tuple[list[np.ndarray], dict[int, np.ndarray], int]:
    """The views (H, W, 7) from as many samples as the model needs, at least `fewest`, those (H, W, 3) that
    are already denoised, and the number of samples.

    A few views are tried first. All their samples are used.
    """
    tried = [(2 * i + 1) * len(cameras) // (2 * TRIALS) for i in range(min(TRIALS, len(cameras)))]
    halves = [_part(0, HALF, cameras, tried, shots), _part(HALF, 2 * HALF, cameras, tried, shots)]
    shown = {i: (halves[0][i] + halves[1][i]) / 2 for i in tried}
    clean = {i: cleaned(image, denoiser) for i, image in shown.items()}
    trials = [_trial(halves[0][i], halves[1][i], shown[i], clean[i], denoiser) for i in tried]
    samples = samples_needed(errors(trials), fewest)
    if samples > 2 * HALF:
        clean, share = {}, 2 * HALF / samples
        further = _part(2 * HALF, samples, cameras, tried, shots)
        shown = {i: share * image + (1 - share) * further[i] for i, image in shown.items()}
    shown |= _part(0, samples, cameras, [i for i in range(len(cameras)) if i not in shown], shots)
    return [shown[i] for i in range(len(cameras))], clean, samples


def _part(
    first: int, end: int, cameras: list[Camera], views: list[int], shots: Shots
) -> dict[int, np.ndarray]:
    """The views (H, W, 7) of these indices, from samples `first` to `end` of MOST."""
    use_samples(first, end, MOST)
    return {i: shots.take(cameras[i]) for i in views}


def _trial(
    first: np.ndarray, second: np.ndarray, both: np.ndarray, clean: np.ndarray, denoiser: Denoiser
) -> Trial:
    """Of a view's halves and their mean, (H, W, 7), and the mean denoised, (H, W, 3)."""
    there = (first[..., 3] > 0) & (second[..., 3] > 0)

    def seen(color: np.ndarray, image: np.ndarray) -> np.ndarray:
        return linear_to_srgb(_widened(color, image[..., 3])[there].clip(0, 1))

    raw = [seen(straight(image), image) for image in (first, second, both)]
    return Trial(*raw, clean_first=seen(cleaned(first, denoiser), first), clean_both=seen(clean, both))


def _only_alpha(lights: Lights, taken: int) -> None:
    """The rest of ALPHA_SAMPLES, after those `taken`: what the camera's rays meet, without any light."""
    end_session()
    lights.turn_off()
    use_samples(taken, ALPHA_SAMPLES, ALPHA_SAMPLES)
    cycles = bpy.context.scene.cycles
    cycles.max_bounces = cycles.diffuse_bounces = cycles.glossy_bounces = cycles.transmission_bounces = 0


def _widened(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H, W, 3) linear straight color, each pixel's light spread by SPREAD as (H, W) alpha weighs it."""
    result, box = color.copy(), box_around(alpha > 0, margin=1)
    alpha = alpha[box]
    share = _spread(alpha, SPREAD)
    known = share > 0
    for channel in np.moveaxis(result[box], 2, 0):
        channel[known] = _spread(channel * alpha, SPREAD)[known] / share[known]
    return result


def _bytes(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H, W, 3) linear straight color and (H, W) alpha -> (H, W, 4) uint8 sRGB, straight."""
    there, rgba = alpha > 0, np.zeros((*alpha.shape, 4), np.uint8)
    shown = np.column_stack([linear_to_srgb(color[there].clip(0, 1)), alpha[there].clip(0, 1)])
    rgba[there] = np.rint(shown * 255).astype(np.uint8)
    return rgba


def _spread(image: np.ndarray, share: float) -> np.ndarray:
    """(H, W): each pixel gives a `share` of itself to each side, both ways. Beyond the border is 0."""
    for _ in range(2):
        spread = (1 - 2 * share) * image
        spread[1:] += share * image[:-1]
        spread[:-1] += share * image[1:]
        image = spread.T  # so the other axis comes next, and at last all is as it was
    return image


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
    cycles.samples, cycles.seed = config.color_samples, noise_seed & 0x7FFFFFFF
    cycles.use_adaptive_sampling = cycles.use_sample_subset = cycles.use_denoising = False
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
    eevee.taa_render_samples = config.color_samples
    eevee.use_raytracing = False


def _workbench(_: RenderConfig, __: int) -> None:
    shading = bpy.context.scene.display.shading
    shading.light, shading.studio_light, shading.color_type = "STUDIO", "paint.sl", "TEXTURE"
    bpy.context.scene.display.render_aa = "8"
