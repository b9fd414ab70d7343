"""PNG files hold exactly what was written, by the judgment of another library."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from render.bundle import png

Number = type[np.unsignedinteger]
every_kind = pytest.mark.parametrize(
    ("channels", "kind", "mode"),
    [((), np.uint8, "L"), ((), np.uint16, "I;16"), ((3,), np.uint8, "RGB"), ((4,), np.uint8, "RGBA")],
)
every_filter = pytest.mark.parametrize("smooth", [False, True])


def noise(size: tuple[int, int], channels: tuple[int, ...], kind: Number) -> np.ndarray:
    largest = np.iinfo(kind).max
    return np.random.default_rng(0).integers(0, largest, (*size, *channels), kind, endpoint=True)


@every_filter
@every_kind
@pytest.mark.parametrize("size", [(37, 53), (1, 1)])
def test_pillow_reads_what_was_written(
    size: tuple[int, int], channels: tuple[int, ...], kind: Number, mode: str, smooth: bool
) -> None:
    pixels = noise(size, channels, kind)
    pixels[size[0] // 2 :] = 7  # rows that are best filtered otherwise
    with Image.open(io.BytesIO(png.encode(pixels, smooth)), formats=["PNG"]) as image:
        assert image.mode == mode
        assert (np.array(image) == pixels).all()


@every_filter
@every_kind
def test_what_was_written_is_read(channels: tuple[int, ...], kind: Number, mode: str, smooth: bool) -> None:
    pixels = noise((67, 67), channels, kind)
    pixels[20:40] = pixels[20]  # best filtered by the row above
    found = png.decode(png.encode(pixels, smooth), mode, 67)
    assert found is not None and found.dtype == kind and np.array_equal(found, pixels)


@every_filter
@every_kind
@pytest.mark.parametrize("box", [np.s_[20:31, 5:23], np.s_[:1, 60:], np.s_[66:, :2], np.s_[:0, :0]])
def test_most_of_an_image_may_be_empty(
    channels: tuple[int, ...], kind: Number, mode: str, smooth: bool, box: tuple[slice, slice]
) -> None:
    pixels = np.zeros((67, 67, *channels), kind)
    pixels[box] = noise((67, 67), channels, kind)[box]
    found = png.decode(png.encode(pixels, smooth), mode, 67)
    assert found is not None and np.array_equal(found, pixels)


def test_files_of_others_and_damaged_ones_are_left_to_pillow() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.cumsum(pixels, 0).astype(np.uint8)).save(buffer, "PNG")  # with filters of its own
    mine = png.encode(pixels, True)
    assert png.decode(buffer.getvalue(), "RGB", 32) is None
    assert png.decode(mine, "RGBA", 32) is None and png.decode(mine, "RGB", 33) is None
    for length in (0, 20, 40, len(mine) // 2, len(mine) - 1):
        assert png.decode(mine[:length], "RGB", 32) is None
    assert png.decode(mine[:60] + bytes(8) + mine[68:], "RGB", 32) is None


def test_a_shaded_image_is_smaller_when_filtered() -> None:
    shade = (np.arange(256)[:, None] * 150 + np.arange(256) * 37).astype(np.uint16)
    assert len(png.encode(shade, smooth=True)) < 0.5 * len(png.encode(shade, smooth=False))
