"""What a network is shown of B objects: V views each, as the keyword tensors of its condition.

- `embeddings` (B, V, features, cells), or (B, V, features) of an encoder of vectors: the encoder's tokens.
- `cameras` (B, V, 19), `known` (B, V) bool: the views' cameras, and whether the network is told them.
- `pixels` (B, V, 4, 64, 64): premultiplied RGBA, 0..1, to sample where a point falls.

The last two are there only for networks that use them (`ViewUse`). A text is `embeddings` (B, features).
"""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.conditioning.cameras import camera_numbers
from training.conditioning.encoder import to_rgba
from training.conditioning.encoder_cache import CachedEncoder

SIDE = 64
"""Side of the pictures that points are projected into."""
Condition = dict[str, Tensor]  # keyword tensors of a network, the batch first
_PER_VIEW = ("embeddings", "cameras", "known", "pixels")


@dataclass(frozen=True)
class ViewUse:
    """What a network takes of a view beside the encoder's tokens."""

    cameras: bool = False
    pixels: bool = False


class ViewReader:
    """Images and their cameras to a condition; decoded pictures are kept, up to `limit_mib`."""

    def __init__(self, encoder: CachedEncoder, use: ViewUse, device: torch.device, limit_mib: float = 128):
        self._encoder, self._use, self._device = encoder, use, device
        self._limit = int(limit_mib * 2**20 / (4 * SIDE * SIDE))
        self._kept: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def read(
        self,
        images: Sequence[Sequence[bytes]],
        cameras: Tensor | None = None,
        known: Tensor | None = None,
        decoded: np.ndarray | None = None,
    ) -> Condition:
        """The condition of B objects with V images each.

        `cameras` (B, V, 19), None: unknown; `known` (B, V) bool, None: all that are given; `decoded`
        (B, V, size, size, 3) uint8 saves the encoder decoding.
        """
        count, views = len(images), len(images[0])
        flat = [image for shown in images for image in shown]
        pixels = None if decoded is None else decoded.reshape(-1, *decoded.shape[2:])
        embeddings = self._encoder(flat, pixels).to(self._device)
        condition = {"embeddings": embeddings.unflatten(0, (count, views))}
        if self._use.cameras:
            condition |= self._pinholes(count, views, cameras, known)
        if self._use.pixels:
            stack = np.stack([self._small(image) for image in flat])
            small = torch.from_numpy(stack).to(self._device).float() / 255
            condition["pixels"] = small.permute(0, 3, 1, 2).unflatten(0, (count, views)).contiguous()
        return condition

    def _pinholes(self, count: int, views: int, cameras: Tensor | None, known: Tensor | None) -> Condition:
        if cameras is None:
            cameras = torch.from_numpy(camera_numbers(np.eye(4), 1.0)).expand(count, views, -1)
            known = torch.zeros(count, views, dtype=torch.bool)
        if known is None:
            known = torch.ones(count, views, dtype=torch.bool)
        return {"cameras": cameras.to(self._device), "known": known.to(self._device)}

    def _small(self, image: bytes) -> np.ndarray:
        key = hashlib.sha256(image).digest()
        if key not in self._kept:
            self._kept[key] = small_pixels(image)
        self._kept.move_to_end(key)
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return self._kept[key]


def small_pixels(image: bytes, side: int = SIDE) -> np.ndarray:
    """A picture on a transparent square, (side, side, 4) uint8, premultiplied, so that averages are true."""
    with Image.open(io.BytesIO(image)) as opened:
        rgba = to_rgba(opened).convert("RGBa")
    longest = max(rgba.size)
    if rgba.size != (longest, longest):
        square = Image.new("RGBa", (longest, longest))
        square.paste(rgba, ((longest - rgba.width) // 2, (longest - rgba.height) // 2))
        rgba = square
    filter = Image.Resampling.BOX if longest >= side else Image.Resampling.BILINEAR
    return np.asarray(rgba.resize((side, side), filter))


def withheld(condition: Condition, keep: Tensor | None = None) -> Condition:
    """The condition of objects that nothing is shown of: where `keep`, (B,) bool, is false; None: all.

    Embeddings and pixels become zeros, (B, ...) as they are, and no camera is known. A coarse cloud stays.
    """

    def blank(value: Tensor) -> Tensor:
        if keep is None:
            return torch.zeros_like(value)
        return value * keep.to(value.device).view(-1, *[1] * (value.dim() - 1))

    return condition | {
        name: blank(condition[name]) for name in ("embeddings", "known", "pixels") if name in condition
    }


def some_views(condition: Condition, views: slice) -> Condition:
    """The condition with some of its views; what has no views, (B, C, n) coarse clouds, stays."""
    return condition | {name: condition[name][:, views] for name in _PER_VIEW if name in condition}


def views_of(condition: Condition) -> int:
    """The number of views V of a condition; its embeddings are (B, V, ...)."""
    return condition["embeddings"].shape[1]
