"""What a network is shown of an object: views, each an image and perhaps its camera, made a condition.

Decoded pictures and cameras are part of it only for networks that use them (`ViewUse`).
"""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from render.failures import UserError
from training.conditioning.cameras import nowhere, photographed
from training.conditioning.encoder import to_rgba
from training.conditioning.encoder_cache import CachedEncoder
from training.conditioning.masks import WHOLE, Behind, MaskPredictor, Masks, inside_map
from training.conditioning.outlines import interior_outline, outline_map
from training.objectives.condition import Condition, withheld

Box = tuple[float, float, float]
"""A square in a picture's own square: its width as a share, and its center, -1 to 1, x right and y up."""
FAINT = 8
"""Alpha up to here shows nothing."""
MARGIN = 1.2
"""Width of a cut picture by that of what it shows."""
CUTS = 4
"""Different cuts of a picture in training: each is encoded once."""
Made = TypeVar("Made")
SIDE = 64
"""Side of the pictures that points are projected into."""


@dataclass(frozen=True)
class View:
    """A picture of an object."""

    image: bytes
    camera: np.ndarray | None = None  # (19,) float32, see `cameras`; None: unknown
    behind: Behind = None


@dataclass(frozen=True)
class ViewUse:
    """What a network takes of a view beside the encoder's tokens."""

    cameras: bool = False
    pixels: bool = False
    crop: bool = False
    """Whether pictures are cut to what their alpha shows, and cameras with them."""
    jitter: float = 0
    """Share by which the cuts of training vary, see `cut_to_alpha`."""
    inside: bool = False
    """Whether it takes what lies behind the pixels."""
    outlines: bool = False
    """Whether it takes where the silhouettes are, and with `inside` those of what lies behind."""


def _blank() -> bytes:
    data = io.BytesIO()
    Image.new("RGBA", (1, 1)).save(data, "PNG")
    return data.getvalue()


BLANK = _blank()
"""A picture of nothing."""


class ViewReader:
    """Images and their cameras to a condition; decoded pictures are kept, up to `limit_mib`.

    A `segmenter` predicts the masks of pictures that ask for it.
    """

    def __init__(
        self,
        encoder: CachedEncoder,
        use: ViewUse,
        device: torch.device,
        limit_mib: float = 128,
        segmenter: MaskPredictor | None = None,
    ):
        self._encoder, self._use, self._device = encoder, use, device
        self._segmenter = segmenter
        self._limit = int(limit_mib * 2**20 / (4 * SIDE * SIDE))
        self._kept: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._outlines: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._cuts: OrderedDict[bytes, tuple[bytes, Box]] = OrderedDict()
        self._insides: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def read(
        self,
        images: Sequence[Sequence[bytes]],
        cameras: Tensor | None = None,
        known: Tensor | None = None,
        decoded: np.ndarray | None = None,
        cuts: Tensor | None = None,
        behind: Sequence[Sequence[Behind]] | None = None,
    ) -> Condition:
        """The condition of B objects with V images each.

        `cameras` (B, V, 19), None: unknown; `known` (B, V) bool, None: all that are given; `decoded`
        (B, V, size, size, 3) uint8 saves the encoder decoding; `cuts` (B, V) in [0, 1): which of a
        picture's `CUTS` varied cuts is used, None: the exact one; `behind`, B times V, is what lies behind
        the images, None: nothing is known.
        """
        count, views = len(images), len(images[0])
        whole = flat = [image for shown in images for image in shown]
        boxes: Sequence[Box] = [WHOLE] * len(flat)
        pixels = None if decoded is None else decoded.reshape(-1, *decoded.shape[2:])
        if self._use.crop:
            chosen = [None] * len(flat) if cuts is None else (cuts * CUTS).long().flatten().tolist()
            made = [self._cut(image, cut) for image, cut in zip(flat, chosen, strict=True)]
            flat, pixels = [image for image, _ in made], None
            boxes = [box for _, box in made]
        embeddings = self._encoder(flat, pixels).to(self._device)
        condition = {"embeddings": embeddings.unflatten(0, (count, views))}
        if self._use.cameras:
            condition |= self._pinholes(count, views, cameras, known)
            if self._use.crop:
                cut = torch.tensor(boxes, device=self._device).view(count, views, 3)
                condition["cameras"] = cropped(condition["cameras"], cut)
        if self._use.pixels:
            stack = np.stack([self._small(image) for image in flat])
            small = torch.from_numpy(stack).to(self._device).float() / 255
            condition["pixels"] = small.permute(0, 3, 1, 2).unflatten(0, (count, views)).contiguous()
        if self._use.outlines:
            outlines = torch.from_numpy(np.stack([self._outline(image) for image in flat]))
            condition["outlines"] = outlines.to(self._device).unflatten(0, (count, views))
        if self._use.inside:
            given: list[Behind] = [None] * len(whole)
            if behind is not None:
                given = [one for some in behind for one in some]
            found = self._inside(whole, given, boxes)
            inside = torch.from_numpy(found).to(self._device).float()
            condition["inside"] = inside.unflatten(0, (count, views))
            if self._use.outlines:
                ways = torch.from_numpy(np.stack([self._interior(one[0]) for one in found]))
                condition["interiors"] = ways.to(self._device).unflatten(0, (count, views))
        return condition

    def read_views(self, objects: Sequence[Sequence[View]]) -> Condition:
        """The condition of B objects with V views each; the network is told the cameras that there are."""
        numbers = [[nowhere() if v.camera is None else v.camera for v in views] for views in objects]
        known = torch.tensor([[view.camera is not None for view in views] for views in objects])
        images = [[view.image for view in views] for views in objects]
        behind: list[list[Behind]] = [[view.behind for view in views] for views in objects]
        return self.read(images, torch.from_numpy(np.array(numbers, np.float32)), known, behind=behind)

    def nothing(self, count: int) -> Condition:
        """The condition of `count` objects that nothing is shown of."""
        return withheld(self.read_views([[View(BLANK)]] * count))

    def _pinholes(self, count: int, views: int, cameras: Tensor | None, known: Tensor | None) -> Condition:
        if cameras is None:
            cameras = torch.from_numpy(nowhere()).expand(count, views, -1)
            known = torch.zeros(count, views, dtype=torch.bool)
        if known is None:
            known = torch.ones(count, views, dtype=torch.bool)
        cameras = torch.where(known[..., None], cameras, photographed(cameras))
        return {"cameras": cameras.to(self._device), "known": known.to(self._device)}

    def _inside(self, images: Sequence[bytes], behind: Sequence[Behind], boxes: Sequence[Box]) -> np.ndarray:
        """What lies behind whole pictures, in these boxes of them: (N, 2, SIDE, SIDE) float16."""
        found = np.zeros((len(images), 2, SIDE, SIDE), np.float16)
        keys = [_inside_key(*one) for one in zip(images, behind, boxes, strict=True)]
        new = {key: i for i, key in enumerate(keys) if key and key not in self._insides}
        guessed = {i: images[i] for i in new.values() if behind[i] == "predicted"}
        guesses = dict(zip(guessed, self._predicted(list(guessed.values())), strict=True))
        for key, i in new.items():
            one = behind[i]
            values = one.decode() if isinstance(one, Masks) else guesses[i]
            self._insides[key] = inside_map(*values, SIDE, boxes[i]).astype(np.float16)
        for i, key in enumerate(keys):
            if key:
                found[i] = self._insides[key]
                self._insides.move_to_end(key)
        while len(self._insides) > self._limit:
            self._insides.popitem(last=False)
        return found

    def _predicted(self, images: list[bytes]) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each picture its share of interior and mean number of surfaces, (S, S) float32 both."""
        if not images:
            return []
        if self._segmenter is None:
            raise UserError("Masks are to be predicted, but there is no segmenter. Name its checkpoint.")
        return list(zip(*self._segmenter.predict(images), strict=True))

    def _small(self, image: bytes) -> np.ndarray:
        return _once(self._kept, image, small_pixels, self._limit)

    def _outline(self, image: bytes) -> np.ndarray:
        return _once(self._outlines, image, lambda image: outline_map(self._small(image)), self._limit)

    def _interior(self, share: np.ndarray) -> np.ndarray:
        key = share.tobytes() + b"inside"
        return _once(self._outlines, key, lambda _: interior_outline(share), self._limit)

    def _cut(self, image: bytes, cut: int | None) -> tuple[bytes, Box]:
        if cut is None or not self._use.jitter:
            return _once(self._cuts, image, cut_to_alpha, self._limit)
        varied = partial(_varied_cut, share=self._use.jitter, cut=cut)
        return _once(self._cuts, image, varied, self._limit, bytes([cut]))


def _varied_cut(image: bytes, share: float, cut: int) -> tuple[bytes, Box]:
    """The `cut`-th cut of a picture, a function of it alone; its numbers vary by up to `share`."""
    rng = np.random.default_rng([cut, *hashlib.sha256(image).digest()[:8]])
    wider, right, up = rng.uniform(-share, share, 3).tolist()
    return cut_to_alpha(image, wider, right, up)


def _inside_key(image: bytes, behind: Behind, box: Box) -> bytes | None:
    """What identifies what lies behind a box of a picture; None where nothing is known."""
    if behind is None:
        return None
    source = behind.interior + behind.layers if isinstance(behind, Masks) else image
    return hashlib.sha256(source).digest() + repr((isinstance(behind, Masks), box)).encode()


def _once(
    kept: OrderedDict[bytes, Made], image: bytes, make: Callable[[bytes], Made], limit: int, way: bytes = b""
) -> Made:
    """What `make` makes of an image in its `way`; the most recently used `limit` are kept."""
    key = hashlib.sha256(image).digest() + way
    if key not in kept:
        kept[key] = make(image)
    kept.move_to_end(key)
    if len(kept) > limit:
        kept.popitem(last=False)
    return kept[key]


def cut_to_alpha(image: bytes, wider: float = 0, right: float = 0, up: float = 0) -> tuple[bytes, Box]:
    """A picture cut, or extended, to a square around what its alpha shows, and the square in it.

    The square is `wider` by that share, and shifted by these shares of half its width.
    """
    with Image.open(io.BytesIO(image)) as opened:
        rgba = to_rgba(opened)
    side = max(rgba.size)
    solid = Image.fromarray(np.asarray(rgba.getchannel("A")) > FAINT)
    start, top, end, bottom = solid.getbbox() or (0, 0, *rgba.size)
    half = max(end - start, bottom - top) / 2 * MARGIN * (1 + wider)
    x, y = (start + end) / 2 + right * half, (top + bottom) / 2 - up * half
    corner = round(x - half), round(y - half)
    width = max(1, round(2 * half))
    cut = rgba.crop((*corner, corner[0] + width, corner[1] + width))  # transparent beyond the picture
    data = io.BytesIO()
    cut.save(data, "PNG", compress_level=1)
    middle = corner[0] + width / 2 - rgba.width / 2, corner[1] + width / 2 - rgba.height / 2
    return data.getvalue(), (width / side, 2 * middle[0] / side, -2 * middle[1] / side)


def cropped(cameras: Tensor, boxes: Tensor) -> Tensor:
    """Cameras (B, V, 19) of pictures cut to squares (B, V, 3), see `Box`."""
    half = cameras[..., 16:17]
    return torch.cat(
        [cameras[..., :16], half * boxes[..., :1], cameras[..., 17:] + half * boxes[..., 1:]], -1
    )


def small_pixels(image: bytes, side: int = SIDE) -> np.ndarray:
    """A picture on a transparent square, (H, W, 4) uint8 with H = W = side, premultiplied."""
    with Image.open(io.BytesIO(image)) as opened:
        rgba = to_rgba(opened).convert("RGBa")
    longest = max(rgba.size)
    if rgba.size != (longest, longest):
        square = Image.new("RGBa", (longest, longest))
        square.paste(rgba, ((longest - rgba.width) // 2, (longest - rgba.height) // 2))
        rgba = square
    filter = Image.Resampling.BOX if longest >= side else Image.Resampling.BILINEAR
    return np.asarray(rgba.resize((side, side), filter))
