"""Many models in one picture: their thumbnails on light gray, each above a short text."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from fuse.preview.picture import BACKGROUND

THUMB = 96
"""Pixels across a thumbnail."""
_ELEVATION = 0.35  # z of the view direction that shows an object best
_QUALITY = 80  # of a WebP
_TEXT = 14  # pixels below each thumbnail
_LETTER = 6  # pixels across a letter of the default font


def best_view(poses: Sequence[Sequence[float] | np.ndarray]) -> int:
    """The place of the camera that shows an object best, among camera-to-world matrices, (4, 4) or (16,)."""
    heights = [np.ravel(pose)[10] for pose in poses]  # z of the camera's backward axis
    return int(np.argmin(np.abs(np.array(heights) - _ELEVATION)))


def webp(rgba: np.ndarray, across: int = THUMB) -> bytes:
    """(H, W, 4) uint8, straight alpha -> WebP of at most `across` pixels."""
    image = Image.fromarray(rgba)
    image.thumbnail((across, across), Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=2)
    return buffer.getvalue()


def thumb_sheet(pictures: Sequence[tuple[bytes, str]], across: int, title: str = "") -> Image.Image:
    """Thumbnails (WebP or PNG) with their texts, `across` in a row, below a title."""
    top = 2 * _TEXT if title else 0
    size = (THUMB * across, top + (THUMB + _TEXT) * -(-len(pictures) // across))
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((4, _TEXT // 2), _ascii(title, size[0]), fill="black")
    for index, (data, text) in enumerate(pictures):
        x, y = index % across * THUMB, top + index // across * (THUMB + _TEXT)
        picture = Image.open(io.BytesIO(data)).convert("RGBA")
        sheet.paste(picture, (x + (THUMB - picture.width) // 2, y + (THUMB - picture.height) // 2), picture)
        draw.text((x + 2, y + THUMB), _ascii(text, THUMB), fill="black")
    return sheet


def _ascii(text: str, width: int) -> str:
    """What the built-in font can show, in `width` pixels."""
    return text.encode("latin-1", "replace").decode("latin-1")[: width // _LETTER - 1]
