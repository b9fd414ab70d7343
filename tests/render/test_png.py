"""PNG files hold exactly what was written, by the judgment of another library."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from render.bundle import png


@pytest.mark.parametrize("smooth", [False, True, None])
@pytest.mark.parametrize(
    ("shape", "kind", "mode"),
    [
        ((37, 53), np.uint8, "L"),
        ((37, 53), np.uint16, "I;16"),
        ((37, 53, 3), np.uint8, "RGB"),
        ((37, 53, 4), np.uint8, "RGBA"),
        ((1, 1, 4), np.uint8, "RGBA"),
    ],
)
def test_pillow_reads_what_was_written(
    shape: tuple[int, ...], kind: type[np.unsignedinteger], mode: str, smooth: bool | None
) -> None:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)
    pixels[shape[0] // 2 :] = 7  # rows that are best filtered otherwise
    with Image.open(io.BytesIO(png.encode(pixels, smooth)), formats=["PNG"]) as image:
        assert image.mode == mode
        assert (np.array(image) == pixels).all()


def test_a_shaded_image_is_smaller_when_filtered() -> None:
    shade = (np.arange(256)[:, None] * 150 + np.arange(256) * 37).astype(np.uint16)
    assert len(png.encode(shade, smooth=True)) < 0.5 * len(png.encode(shade, smooth=False))
