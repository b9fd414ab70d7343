"""A checkpoint of `model: layers` in use: views with cameras to a labeled cloud, in one pass.

cloud = LayerPredictor(Path("DATASET/checkpoints/layers")).cloud(views)      # (7, N) float32
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from render.failures import UserError
from training.conditioning.image_files import read_views
from training.conditioning.shown import View
from training.learner import pick_device
from training.output.cloud_files import FORMATS, write_points
from training.segmentation.head import covered
from training.segmentation.layered import LayerHead, as_surfaces, back_projected
from training.segmentation.segmenter import load_head
from training.segmentation.settings import LayerSettings


def predict_layers(settings: LayerSettings) -> Path:
    """Write the surfaces along the pictures' rays as a cloud; returns its path. UserError if that fails."""
    if settings.to.suffix.lower() not in FORMATS:
        raise UserError(f"{settings.to}: cannot write this. Give a {', '.join(FORMATS)} file.")
    views = [view for _, view in read_views(settings.image, settings.cameras)]
    predictor = LayerPredictor(settings.checkpoint, pick_device(settings.device), settings.encoder_path)
    cloud = predictor.cloud(views)
    settings.to.parent.mkdir(parents=True, exist_ok=True)
    write_points(settings.to, cloud)
    return settings.to


class LayerPredictor:
    """A checkpoint of `model: layers`, loaded."""

    def __init__(self, checkpoint: Path, device: torch.device | str = "cpu", encoder_path: str | None = None):
        self.path = checkpoint
        loaded = load_head(checkpoint, LayerHead, "layers", device, encoder_path)
        self.config, self._model, self._reader = loaded

    @torch.inference_mode()
    def cloud(self, views: Sequence[View]) -> np.ndarray:
        """The surfaces along the rays of an object's views, which need cameras, as one cloud, (7, N) float32.

        UserError where a camera is missing, or the views show nothing.
        """
        if any(view.camera is None for view in views):
            raise UserError(f"{self.path}: layers need the pictures' cameras. Give --cameras.")
        condition = self._reader.read_views([views])
        found = as_surfaces(self._model(condition["embeddings"], condition["pixels"]))
        cover = covered(condition["pixels"])
        cloud = back_projected(found, cover, condition["cameras"])[0].cpu().numpy()
        if not cloud.shape[1]:
            raise UserError("The pictures show nothing: their alpha is 0 everywhere. Give others.")
        return cloud
