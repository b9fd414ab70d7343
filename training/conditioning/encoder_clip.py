"""CLIP's and DINOv2's frozen towers as encoders, through the `transformers` library.

    encoder = ClipGrid("openai/clip-vit-large-patch14")     # or a local folder with the model's files

`ClipGrid` is Point-E's condition: the patch tokens of the last block before the final norm, 256 x 1,024 for
ViT-L/14, without the class token. `ClipImage` and `ClipText` return unit vectors of the joint space, 768
wide; `DinoGrid` returns DINOv2's normalized patch tokens, with or without registers. On a GPU they compute in
half precision. Install with `pip install insideout3d[clip]`; EfficientNet needs none of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from render.failures import UserError
from training.conditioning.encoder import Item, fingerprint, load_images

CLIP_L14 = "openai/clip-vit-large-patch14"
DINO_L14 = "facebook/dinov2-large"
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class EncoderError(UserError):
    """An encoder that cannot be loaded; the message says from where, why, and what to do."""


class ClipGrid:
    """CLIP's patch tokens, (B, width, cells): the output of its image tower's last block.

    `size` in pixels; 0: what the model takes.
    """

    name = "clip_grid"
    takes = "image"

    def __init__(self, source: str = CLIP_L14, size: int = 224, device: torch.device | str = "cpu"):
        self._net, self._dtype = _load("CLIPVisionModelWithProjection", source, device)
        config = self._net.config
        size = size or config.image_size
        if size != config.image_size:
            raise EncoderError(
                f"{source} takes {config.image_size} pixels. Set image_size to that, not {size}."
            )
        self.size = size
        self.features = config.hidden_size
        self.cells = (size // config.patch_size) ** 2
        self.identity = f"{self.name}-{size}-{fingerprint(self._net)}"

    def __call__(self, items: Sequence[Item]) -> Tensor:
        return self.encode(load_images(items, self.size))

    @torch.inference_mode()
    def encode(self, pixels: np.ndarray) -> Tensor:
        """As `Encoder.encode`: (B, size, size, 3) uint8 -> (B, features, cells)."""
        hidden = self._run(pixels).last_hidden_state  # the class token first
        return hidden[:, 1:].transpose(1, 2).float().contiguous()

    def _run(self, pixels: np.ndarray) -> Any:
        return self._net(pixel_values=normalized(pixels, CLIP_MEAN, CLIP_STD, self._net.device, self._dtype))


class ClipImage(ClipGrid):
    """CLIP's vector of an image, (B, features), of unit length."""

    name = "clip_image"

    def __init__(self, source: str = CLIP_L14, size: int = 224, device: torch.device | str = "cpu"):
        super().__init__(source, size, device)
        self.features, self.cells = self._net.config.projection_dim, 0

    @torch.inference_mode()
    def encode(self, pixels: np.ndarray) -> Tensor:
        """As `Encoder.encode`: (B, size, size, 3) uint8 -> (B, features)."""
        return torch.nn.functional.normalize(self._run(pixels).image_embeds.float(), dim=1)


class ClipText:
    """CLIP's vector of a text, (B, features), of unit length; texts that are too long are truncated."""

    name = "clip_text"
    takes = "text"
    cells = 0
    size = 0

    def __init__(self, source: str = CLIP_L14, device: torch.device | str = "cpu"):
        self._net, _ = _load("CLIPTextModelWithProjection", source, device)
        self._tokenize = _tokenizer(source)
        self.features = self._net.config.projection_dim
        self.identity = f"{self.name}-{fingerprint(self._net)}"

    @torch.inference_mode()
    def __call__(self, items: Sequence[Item]) -> Tensor:
        texts = [item if isinstance(item, str) else item.decode() for item in items]
        longest = self._net.config.max_position_embeddings
        tokens = self._tokenize(
            texts, padding=True, truncation=True, max_length=longest, return_tensors="pt"
        ).to(self._net.device)
        return torch.nn.functional.normalize(self._net(**tokens).text_embeds.float(), dim=1)

    def encode(self, pixels: np.ndarray) -> Tensor:
        """Raises TypeError: it takes texts, not pixels (B, size, size, 3)."""
        raise TypeError("clip_text takes texts. Choose clip_grid or clip_image for images.")


class DinoGrid:
    """DINOv2's patch tokens after its final norm, (B, width, cells)."""

    name = "dinov2_grid"
    takes = "image"

    def __init__(self, source: str = DINO_L14, size: int = 224, device: torch.device | str = "cpu"):
        self._net, self._dtype = _load("AutoModel", source, device)
        config = self._net.config
        if size % config.patch_size:
            raise EncoderError(f"{source} has patches of {config.patch_size}: set image_size to a multiple.")
        self.size = size
        self.features = config.hidden_size
        self.cells = (size // config.patch_size) ** 2
        self.identity = f"{self.name}-{size}-{fingerprint(self._net)}"

    def __call__(self, items: Sequence[Item]) -> Tensor:
        return self.encode(load_images(items, self.size))

    @torch.inference_mode()
    def encode(self, pixels: np.ndarray) -> Tensor:
        """As `Encoder.encode`: (B, size, size, 3) uint8 -> (B, features, cells)."""
        x = normalized(pixels, IMAGENET_MEAN, IMAGENET_STD, self._net.device, self._dtype)
        tokens = self._net(pixel_values=x).last_hidden_state  # class, registers, patches
        return tokens[:, -self.cells :].transpose(1, 2).float().contiguous()


def normalized(
    pixels: np.ndarray,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) of `dtype`: (x / 255 - mean) / std per channel."""
    x = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255
    middle, spread = (torch.tensor(values, device=device)[:, None, None] for values in (mean, std))
    return ((x - middle) / spread).to(dtype)


def _load(kind: str, source: str, device: torch.device | str) -> tuple[Any, torch.dtype]:
    """A frozen pretrained tower and its precision. EncoderError if it is missing or incomplete."""
    dtype = torch.float16 if torch.device(device).type == "cuda" else torch.float32
    library = _library()
    loud = library.logging.get_verbosity()
    library.logging.set_verbosity_error()  # it would list the other tower's weights
    try:
        net, report = getattr(library, kind).from_pretrained(source, output_loading_info=True)
    except (OSError, ValueError) as error:
        raise EncoderError(_remedy(source, error)) from error
    finally:
        library.logging.set_verbosity(loud)
    # The library initializes missing weights at random and continues.
    if missing := sorted(map(str, report["missing_keys"])):
        raise EncoderError(_remedy(source, f"{len(missing)} weights are missing, {missing[0]} first"))
    return net.to(device, dtype).eval().requires_grad_(False), dtype


def _tokenizer(source: str) -> Any:
    try:
        return _library().CLIPTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise EncoderError(_remedy(source, error)) from error


def _library() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise EncoderError(f"{error}. CLIP and DINOv2 come with `pip install insideout3d[clip]`.") from error
    return transformers


def _remedy(source: str, error: object) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"{source}: the encoder could not be loaded ({first}). Set encoder_path to a folder with the "
        "model's config.json and weights, or to a model's name on the hub if it can be reached; or set "
        "encoder to efficientnet_lite0, which needs neither."
    )
