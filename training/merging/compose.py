"""From pictures of one object to one labeled cloud, cut open: masks, a cloud per picture, merged, refined.

    compose(ComposeSettings((Path("a.png"), Path("b.png"), Path("c.png")), Path("BASE"), Path("out")))

Each step is a verb of its own (`segment`, `generate`, `merge`); together they need no files in between, but
write them all, so that one can look at them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image

from fuse.dataset.shard import decode
from fuse.preview.cutaway import draw_inside, marked, on_gray
from fuse.preview.picture import BACKGROUND, draw_cloud
from render.failures import UserError
from training.conditioning.image_files import read_views
from training.conditioning.shown import BLANK, View
from training.data.channels import from_network, hidden_of
from training.generator import Generator, refine, upsampler_for
from training.learner import pick_device
from training.merging.merger import merge_by, open_merger
from training.merging.pictures import shown_by
from training.merging.rules import rule_of
from training.merging.settings import FROM_PICTURES, ComposeSettings, MergeRule
from training.output.cloud_files import write_points
from training.output.seen import seen_by
from training.segmentation.files import gray
from training.segmentation.layer_cloud import LayerPredictor
from training.segmentation.segmenter import Segmenter

TILE = 256
"""Pixels of a tile of the picture."""
LAYERS = "layers"
"""The file of the cloud of all pictures' layers."""


def compose(settings: ComposeSettings, report: Callable[[str], None] = print) -> list[Path]:
    """Write masks, a cloud for each picture, the merged and the refined cloud, and a picture of all of it.

    Returns the files. UserError for pictures, checkpoints and settings that do not fit, before it generates.
    """
    given = read_views(settings.image, settings.cameras)
    views = [view for _, view in given]
    base = Generator(settings.checkpoint, segmenter=settings.segmenter, **settings.opening)
    segmenter, layers = base.segmenter or _segmenter(settings), _layers(settings)
    points, merger = settings.points or base.config.points, _merger(settings)
    upsampler = upsampler_for(base, points, settings.upsampler, **settings.opening)
    _check(settings, base, views)

    masks = _masks(segmenter, views)
    views = [replace(view, behind=base.guess) for view in views]
    clouds = list(base.sample([[view] for view in views], points, settings.sampling, report=report))
    if layers is not None:
        clouds.append(layers.cloud(views)[: base.model.channels])
    merged = merger(clouds, views, points)
    report(f"merged {len(clouds)} clouds into {points} points by {settings.merge}")
    cloud = merged
    if upsampler is not None:
        cloud = refine(upsampler, [views], merged[None], settings.sampling, report)[0]
    names = [f"{i}-{file.stem}" for i, (file, _) in enumerate(given)]
    names += [LAYERS] if layers is not None else []
    return _write(settings.to, names, masks, clouds, merged, cloud, views)


Merger = Callable[[Sequence[np.ndarray], Sequence[View], int], np.ndarray]


def _merger(settings: ComposeSettings) -> Merger:
    """What merges clouds (C, N), those of the views first: a rule, or a network that may look at views."""
    rules: dict[str, MergeRule] = {name: name for name in get_args(MergeRule)}
    if settings.merge in rules:
        return partial(_by_rule, rules[settings.merge])
    if not Path(settings.merge).exists():
        raise UserError(f"{settings.merge}: neither a rule ({', '.join(rules)}) nor a merger's checkpoint.")
    network = open_merger(Path(settings.merge), settings.device, settings.encoder_path)
    sampling = replace(settings.sampling, guidance=1.0)

    def merged(clouds: Sequence[np.ndarray], views: Sequence[View], points: int) -> np.ndarray:
        if not network.config.merge_images:  # views say from where; a cloud of layers is from nowhere
            views = [*views, *[View(BLANK)] * (len(clouds) - len(views))]
        return merge_by(network, clouds, views, points, sampling)

    return merged


def _by_rule(name: MergeRule, clouds: Sequence[np.ndarray], views: Sequence[View], points: int) -> np.ndarray:
    shown = shown_by(clouds, views, points) if name in FROM_PICTURES else None
    return rule_of(name, shown=shown)(clouds, points)


def _segmenter(settings: ComposeSettings) -> Segmenter | None:
    """What predicts masks to look at, for a base that is not shown any."""
    if settings.segmenter is None:
        return None
    return Segmenter(settings.segmenter, pick_device(settings.device), settings.encoder_path)


def _layers(settings: ComposeSettings) -> LayerPredictor | None:
    """What predicts the surfaces along the pictures' rays."""
    if settings.layers is None:
        return None
    return LayerPredictor(settings.layers, pick_device(settings.device), settings.encoder_path)


def _check(settings: ComposeSettings, base: Generator, views: Sequence[View]) -> None:
    if base.takes != "image" or base.config.model == "upsample":
        raise UserError(
            f"{base.path}: not a model that makes a cloud of a picture. Give such a --checkpoint."
        )
    if len(views) < 2:
        raise UserError("Give two or more pictures of one object.")
    if settings.merge in FROM_PICTURES and settings.cameras is None:
        raise UserError(f"rule {settings.merge} needs the pictures' --cameras.")
    if settings.layers and settings.cameras is None:
        raise UserError(f"{settings.layers}: layers need the pictures' --cameras.")
    if base.config.frame != "object" and settings.cameras is None:
        raise UserError(f"{base.path}: its clouds stand as in their pictures. Give --cameras to merge them.")


def _masks(segmenter: Segmenter | None, views: Sequence[View]) -> list[np.ndarray]:
    """The probability of an inside at the pixels of each view, (H, W) float32; none without a segmenter."""
    if segmenter is None:
        return []
    return [found.interior for found in segmenter.at_pixels([view.image for view in views])]


def _write(
    to: Path,
    names: Sequence[str],
    masks: Sequence[np.ndarray],
    clouds: Sequence[np.ndarray],
    merged: np.ndarray,
    cloud: np.ndarray,
    views: Sequence[View],
) -> list[Path]:
    """The files: masks, clouds by `names`, the merged cloud, the refined one, the picture."""
    to.mkdir(parents=True, exist_ok=True)
    written = []
    for name, mask in zip(names, masks, strict=False):
        written.append(to / f"{name}.mask.png")
        Image.fromarray(gray(mask, None)).save(written[-1])
    cameras = np.array([view.camera for view in views if view.camera is not None])
    for name, one in zip([*names, "merged", "cloud"], [*clouds, merged, cloud], strict=True):
        written.append(to / f"{name}.ply")
        write_points(written[-1], one, seen_by(one[:3].T, cameras) if len(cameras) else None)
    written.append(to / "picture.png")
    draw([view.image for view in views], masks, clouds, cloud).save(written[-1])
    return written


def draw(
    images: Sequence[bytes], masks: Sequence[np.ndarray], clouds: Sequence[np.ndarray], cloud: np.ndarray
) -> Image.Image:
    """Rows of tiles: pictures; their masks (H, W), red; their clouds (C, N); and of the last cloud, (C, N),
    the outside, hidden points within the faint outside, and both cut open."""
    pictures = [_pixels(image) for image in images]
    rows = [[on_gray(one) for one in pictures]]
    if masks:
        rows.append([marked(one, mask) for one, mask in zip(pictures, masks, strict=True)])
    rows.append([np.asarray(draw_cloud(*from_network(one), TILE)) for one in clouds])
    (xyz, rgb), hidden = from_network(cloud), hidden_of(cloud)
    hidden = np.zeros(len(xyz), bool) if hidden is None else hidden
    inside = draw_inside(xyz[~hidden], rgb[~hidden], xyz[hidden], rgb[hidden], TILE)
    sheet = Image.new("RGB", (TILE * max(3, *map(len, rows)), TILE * (len(rows) + 1)), BACKGROUND)
    for down, row in enumerate(rows):
        for right, pixels in enumerate(row):
            tile = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            tile.thumbnail((TILE, TILE))
            larger = tile.resize((TILE, TILE * tile.height // tile.width)) if tile.width < TILE else tile
            sheet.paste(larger, (right * TILE, down * TILE))
    sheet.paste(inside, (0, len(rows) * TILE))
    return sheet


def _pixels(image: bytes) -> np.ndarray:
    """A picture's pixels, (H, W, 4) uint8."""
    return decode({"image_": image}, "image_")
