"""A checkpoint that says what lies behind pictures.

segmenter = Segmenter(Path("DATASET/checkpoints/segment"))
interior, layers = segmenter.predict([Path("chair.png").read_bytes()])      # (1, 32, 32) each
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from render.failures import UserError
from training import checkpoints
from training.conditioning.encoder import to_rgba
from training.conditioning.shown import View, ViewReader
from training.config import TrainConfig
from training.segmentation.head import InteriorHead, ViewHead, covered

BATCH = 32
"""Pictures at a time."""
Head = TypeVar("Head", bound=ViewHead)


@dataclass(frozen=True)
class Prediction:
    """What lies behind the pixels of a picture, in its own size."""

    interior: np.ndarray  # (H, W) float32, the probability that a surface which no view sees lies behind
    layers: np.ndarray  # (H, W) float32, the expected number of surfaces along the ray


class Segmenter:
    """A checkpoint of `model: segment`, loaded. The same picture gives the same numbers in any company."""

    def __init__(self, checkpoint: Path, device: torch.device | str = "cpu", encoder_path: str | None = None):
        self.path = checkpoint
        loaded = load_head(checkpoint, InteriorHead, "segment", device, encoder_path)
        self.config, self._model, self._reader = loaded

    def predict(self, images: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """For each cell of B pictures its share of interior, 0 to 1, and its mean number of surfaces.

        (B, S, S) float32 both, of the square around a picture, as in `truth.Truths`.
        """
        shares, counts, cover = self._cells(images)
        return (shares * cover).numpy(), (counts * cover).numpy()

    def at_pixels(self, images: Sequence[bytes]) -> list[Prediction]:
        """The same for the pixels of pictures, interpolated; there is nothing where alpha is 0."""
        shares, counts, _ = self._cells(images)
        found = []
        for image, *values in zip(images, shares, counts, strict=True):
            with Image.open(io.BytesIO(image)) as opened:
                alpha = np.asarray(to_rgba(opened).getchannel("A"), np.float32) / 255
            found.append(Prediction(*(enlarged(one, *alpha.shape) * alpha for one in values)))
        return found

    @torch.inference_mode()
    def _cells(self, images: Sequence[bytes]) -> tuple[Tensor, Tensor, Tensor]:
        """The probability, the expected number and the share covered of B pictures' cells, (B, S, S) each."""
        parts = []
        for at in range(0, len(images), BATCH):
            condition = self._reader.read_views([[View(image)] for image in images[at : at + BATCH]])
            found = self._model(condition["embeddings"], condition["pixels"])[:, 0].float().cpu()
            cover = covered(condition["pixels"])[:, 0].cpu()
            parts.append((torch.sigmoid(found[:, 0]), found[:, 1].exp(), cover))
        shares, counts, covers = (torch.cat(some) for some in zip(*parts, strict=True))
        return shares, counts, covers


def load_head(
    checkpoint: Path, kind: type[Head], name: str, device: torch.device | str, encoder_path: str | None
) -> tuple[TrainConfig, Head, ViewReader]:
    """A checkpoint of `model: NAME`, and what reads views for it. UserError for another model's."""
    config, model, encoder = checkpoints.load_network(checkpoint, device, encoder_path)
    if not isinstance(model, kind):
        raise UserError(f"{checkpoint}: not of `model: {name}`. Train one with `--config {name}_cpu`.")
    return config, model, checkpoints.build_reader(config, encoder, torch.device(device))


def segmenter_of(
    config: TrainConfig, device: torch.device | str = "cpu", path: Path | None = None
) -> Segmenter | None:
    """What predicts masks for a model that is shown them: from `path`, or where training had it, if there."""
    if path is None and config.segmenter and Path(config.segmenter).exists():
        path = Path(config.segmenter)
    return None if path is None or config.see_inside == "none" else Segmenter(path, device)


def enlarged(values: Tensor, height: int, width: int) -> np.ndarray:
    """Cells (S, S) of the square around a picture -> (height, width) float32 of its pixels."""
    side = max(height, width)
    square = F.interpolate(values[None, None], (side, side), mode="bilinear", align_corners=False)[0, 0]
    top, left = (side - height) // 2, (side - width) // 2
    return square[top : top + height, left : left + width].numpy()
