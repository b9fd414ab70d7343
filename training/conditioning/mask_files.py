"""Interior masks that a user gives with pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from render.failures import DAMAGE, UserError
from training.conditioning.encoder import to_rgba
from training.conditioning.masks import Masks
from training.conditioning.shown import FAINT

WALLS = 2
"""Surfaces along a ray through an object, and as many again around an inside: where nobody counted them."""


def read_masks(mask: Path, layers: Path | None, image: bytes) -> Masks:
    """The masks of a picture from files of its size: white where an inside lies, and numbers of surfaces.

    Without `layers`, `WALLS` are taken where the picture's alpha shows the object, twice that at an inside.
    """
    with Image.open(io.BytesIO(image)) as opened:
        alpha = np.asarray(to_rgba(opened).getchannel("A")) > FAINT
    interior = _gray(mask, alpha.shape) > 127
    counted = WALLS * (alpha.astype(np.uint8) + interior) if layers is None else _gray(layers, alpha.shape)
    return Masks(_png(interior.astype(np.uint8) * 255), _png(counted))


def _gray(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A picture's gray values, (H, W) uint8. UserError where it cannot be read or has another size."""
    try:
        with Image.open(path) as opened:
            values = np.asarray(opened.convert("L"))
    except (OSError, *DAMAGE, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable mask ({error}). Give a PNG.") from error
    if values.shape != shape:
        raise UserError(f"{path}: {values.shape[::-1]} pixels, its image has {shape[::-1]}. Make them equal.")
    return values


def _png(values: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(data, "PNG")
    return data.getvalue()
