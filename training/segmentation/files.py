"""Masks of pictures in files: what `insideout segment` writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from render.failures import UserError
from training.conditioning.image_files import image_files, read_image
from training.learner import pick_device
from training.segmentation.segmenter import Segmenter
from training.segmentation.settings import SegmentSettings


def segment(settings: SegmentSettings, report: Callable[[str], None] = print) -> list[Path]:
    """Write the mask of each picture, and the number of surfaces if asked for; returns the files.

    UserError for what is no picture, no segmenter, or no place to write to; before anything is written.
    """
    files = [file for path in settings.image for file in image_files(path)]
    pictures = [read_image(file) for file in files]
    masks = targets(settings.to, files)
    numbers = targets(settings.layers, files) if settings.layers else [None] * len(files)
    segmenter = Segmenter(settings.checkpoint, pick_device(settings.device), settings.encoder_path)
    written = []
    for picture, mask, number in zip(pictures, masks, numbers, strict=True):
        found = segmenter.at_pixels([picture])[0]
        written.append(_write(mask, gray(found.interior, settings.threshold)))
        if number:
            written.append(_write(number, found.layers.round().clip(0, 255).astype(np.uint8)))
        report(f"segment: {mask}  {(found.interior >= 0.5).mean():.0%} of the picture has an inside")
    return written


def gray(interior: np.ndarray, threshold: float | None) -> np.ndarray:
    """Probabilities (H, W) as a mask, (H, W) uint8: 0 to 255, or 255 from the threshold on and 0 below."""
    if threshold is None:
        return (interior.clip(0, 1) * 255).round().astype(np.uint8)
    return np.where(interior >= threshold, np.uint8(255), np.uint8(0))


def targets(to: Path, files: Sequence[Path]) -> list[Path]:
    """A .png for each picture: `to` itself, or in the folder `to`. UserError for one over a picture."""
    if to.suffix.lower() == ".png" and not to.is_dir():
        if len(files) > 1:
            raise UserError(f"{to}: {len(files)} masks do not fit into one file. Give a folder.")
        found = [to]
    elif to.suffix and not to.is_dir():
        raise UserError(f"{to}: masks are .png files. Name one, or a folder.")
    else:
        found = [to / f"{file.stem}.png" for file in files]
    if len(set(found)) < len(found):
        raise UserError(f"{to}: several pictures have one name. Segment them one after the other.")
    if taken := {path.resolve() for path in found} & {file.resolve() for file in files}:
        raise UserError(f"{min(taken)}: this is a picture. Write its mask elsewhere.")
    return found


def _write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path
