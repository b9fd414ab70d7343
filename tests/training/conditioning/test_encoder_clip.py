"""CLIP's and DINOv2's towers: small random ones, saved and loaded by the real library."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from tests.helpers.tiny_clip import write_tiny_clip  # pyright: ignore[reportMissingImports]
from training.conditioning.encoder import load_images
from training.conditioning.encoder_clip import (
    CLIP_MEAN,
    CLIP_STD,
    ClipGrid,
    ClipImage,
    ClipText,
    DinoGrid,
    EncoderError,
    normalized,
)

transformers = pytest.importorskip("transformers", reason="pip install insideout3d[clip]")
IMAGES = [make_row(i, 1, 16)["image_00"] for i in range(3)]
MEAN, STD = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


def pixels_of(images: list[bytes], size: int) -> torch.Tensor:
    """By hand: (B, 3, size, size), normalized."""
    pixels = (load_images(images, size) / 255 - MEAN) / STD
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float()


def test_images_are_prepared_as_the_library_does() -> None:
    """A square image without transparency, as OpenAI's own preprocessing, bit by bit."""
    rough = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    image = Image.fromarray(rough).resize((512, 512), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    theirs = transformers.CLIPImageProcessorPil()(images=image, return_tensors="pt")["pixel_values"]
    pixels = load_images([buffer.getvalue()], 224)
    ours = normalized(pixels, CLIP_MEAN, CLIP_STD, torch.device("cpu"), torch.float32)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def last_block(folder: Path) -> torch.Tensor:
    """The output of the whole model's last vision block, (B, 1 + cells, width)."""
    model = transformers.CLIPModel.from_pretrained(folder)
    caught: list[torch.Tensor] = []

    def catch(block: object, inputs: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        caught.append(output[0] if isinstance(output, tuple) else output)

    model.vision_model.encoder.layers[-1].register_forward_hook(catch)
    with torch.inference_mode():
        model.get_image_features(pixel_values=pixels_of(IMAGES, 56))
    return caught[0]


def test_the_grid_is_the_last_block_before_the_norm_without_the_class_token(clip: Path) -> None:
    encoder = ClipGrid(str(clip), 56)
    grid = encoder(IMAGES)
    assert grid.shape == (3, encoder.features, encoder.cells) == (3, 32, 16)
    torch.testing.assert_close(grid, last_block(clip)[:, 1:].transpose(1, 2), atol=1e-5, rtol=1e-5)


def test_cells_stand_row_by_row(clip: Path) -> None:
    """A change in the image's top right patch changes the tower's fourth patch first."""
    encoder = ClipGrid(str(clip), 56)
    white = np.full((1, 56, 56, 3), 255, np.uint8)
    dark = white.copy()
    dark[:, :14, 42:] = 0
    change = (encoder.encode(dark) - encoder.encode(white)).norm(dim=1)[0]
    assert int(change.argmax()) == 3


def test_the_vectors_are_the_joint_space_at_unit_length(clip: Path) -> None:
    model = transformers.CLIPModel.from_pretrained(clip)
    tokens = transformers.CLIPTokenizer.from_pretrained(clip)(["a chair"], return_tensors="pt")
    with torch.inference_mode():
        both = model(**tokens, pixel_values=pixels_of(IMAGES, 56))
    image, text = ClipImage(str(clip), 56), ClipText(str(clip))
    torch.testing.assert_close(image(IMAGES), both.image_embeds, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(text(["a chair"]), both.text_embeds, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(image(IMAGES).norm(dim=1), torch.ones(3))
    assert (image.features, image.cells, text.features, text.cells) == (24, 0, 24, 0)


def test_a_text_does_not_depend_on_its_batch_and_a_long_one_is_cut(clip: Path) -> None:
    encoder = ClipText(str(clip))
    together = encoder(["a chair", "a table a table a table"])
    torch.testing.assert_close(together[:1], encoder(["a chair"]), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-3)
    assert encoder(["a chair " * 50]).shape == (1, 24)


@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2_gives_its_normed_patches(tmp_path: Path, registers: int) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 70}
    if registers:
        config = transformers.Dinov2WithRegistersConfig(**sizes, num_register_tokens=registers, patch_size=14)
        model = transformers.Dinov2WithRegistersModel(config)
    else:
        config = transformers.Dinov2Config(**sizes, patch_size=14)
        model = transformers.Dinov2Model(config)
    model.save_pretrained(tmp_path)
    encoder = DinoGrid(str(tmp_path), 56)
    grid = encoder(IMAGES)
    assert grid.shape == (3, 32, 16)
    pixels = (load_images(IMAGES, 56) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.inference_mode():
        hidden = model.eval()(pixel_values=torch.from_numpy(pixels).permute(0, 3, 1, 2).float())
    expected = hidden.last_hidden_state[:, 1 + registers :].transpose(1, 2)
    torch.testing.assert_close(grid, expected, atol=1e-5, rtol=1e-5)


def test_other_weights_have_another_identity(clip: Path, tmp_path: Path) -> None:
    model = transformers.CLIPModel.from_pretrained(clip)
    assert ClipGrid(str(clip), 56).identity == ClipGrid(str(clip), 56).identity
    with torch.no_grad():
        model.vision_model.encoder.layers[1].mlp.fc1.weight.mul_(1.5)
    model.save_pretrained(tmp_path)
    assert ClipGrid(str(tmp_path), 56).identity != ClipGrid(str(clip), 56).identity


def test_what_cannot_be_loaded_says_so(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"nowhere: the encoder could not be loaded.*encoder_path"):
        ClipGrid(str(tmp_path / "nowhere"), 56)
    with pytest.raises(EncoderError, match="takes 56 pixels"):
        ClipGrid(str(clip), 224)
    half = tmp_path / "half"
    transformers.CLIPVisionModel.from_pretrained(clip).save_pretrained(half)
    with pytest.raises(EncoderError, match="weights are missing"):
        ClipGrid(str(half), 56)
    with pytest.raises(TypeError, match="takes texts"):
        ClipText(str(clip)).encode(np.zeros((1, 56, 56, 3), np.uint8))
