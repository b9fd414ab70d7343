"""The image encoder on real images and the real weights."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from training.conditioning.encoder import EfficientNetLite0, EfficientNetLite0Fine, load_pixels


@pytest.fixture(scope="module")
def encoder() -> EfficientNetLite0:
    return EfficientNetLite0()


def encode_png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_alpha_is_put_on_white_and_the_image_kept_square() -> None:
    pixels = np.zeros((20, 40, 4), np.uint8)
    pixels[:, :20] = (200, 0, 0, 255)
    square = load_pixels(encode_png(pixels), 40)
    assert square.shape == (40, 40, 3)
    assert (square[20, 5] == (200, 0, 0)).all()
    assert (square[20, 35] == 255).all()  # transparent black
    assert (square[2, 5] == 255).all()  # the margin of a wide image


def test_weights_know_objects(encoder: EfficientNetLite0) -> None:
    """Views of one object are nearer to each other than to any other object's."""
    rows = [make_row(i, 2, 16) for i in range(8)]
    grids = encoder([row[f"image_{view:02d}"] for row in rows for view in range(2)])
    assert grids.shape == (16, encoder.features, encoder.cells)
    flat = torch.nn.functional.normalize(grids.mean(2), dim=1)
    likeness = (flat @ flat.T).fill_diagonal_(-1)
    assert (likeness.argmax(1) // 2 == torch.arange(16) // 2).all()


def test_the_network_is_frozen(encoder: EfficientNetLite0) -> None:
    image = make_row(0, 1, 16)["image_00"]
    first, alone = encoder([image]), encoder([image, make_row(1, 1, 16)["image_00"]])[:1]
    torch.testing.assert_close(first, alone, atol=1e-4, rtol=1e-4)  # batch norm does not look at its batch
    assert not first.requires_grad


def test_decoded_images_give_the_same(encoder: EfficientNetLite0) -> None:
    images = [make_row(i, 1, 16)["image_00"] for i in range(3)]
    pixels = np.stack([load_pixels(image, encoder.size) for image in images])
    assert torch.equal(encoder.encode(pixels), encoder(images))


def test_the_fine_map_is_what_the_last_map_is_made_of(encoder: EfficientNetLite0) -> None:
    fine, image = EfficientNetLite0Fine(), make_row(0, 1, 16)["image_00"]
    tokens = fine([image])
    assert tokens.shape == (1, fine.features, fine.cells) == (1, 112, 196)
    net, x = fine._net, tokens.unflatten(2, (14, 14))
    for block in net._blocks[11:]:
        x = block(x)
    last = net._swish(net._bn1(net._conv_head(x))).flatten(2)
    torch.testing.assert_close(last, encoder([image]), atol=1e-4, rtol=1e-4)


def test_a_text_is_refused(encoder: EfficientNetLite0) -> None:
    with pytest.raises(TypeError, match="'a chair' is text"):
        encoder(["a chair"])


def png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **({"format": "PNG"} | options))  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def test_images_are_read_as_a_viewer_shows_them() -> None:
    ramp = np.linspace(0, 1, 32 * 32).reshape(32, 32)
    expected = np.rint(ramp * 255)
    deep = png(Image.fromarray((ramp * 65535).astype(np.uint16)))
    real = png(Image.fromarray(ramp.astype(np.float32)), format="TIFF")
    for image in (deep, real):
        assert np.abs(load_pixels(image, 32)[..., 0] - expected).max() <= 1
    upright = Image.new("RGB", (32, 32), "white")
    upright.paste((255, 0, 0), (0, 0, 32, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: a viewer turns the picture by 90 degrees
    turned = png(upright.transpose(Image.Transpose.ROTATE_90), format="JPEG", quality=95, exif=exif)
    assert np.abs(load_pixels(turned, 32).astype(int) - np.array(upright)).mean() < 3
