"""What a model looks like, as one vector: a frozen encoder's tokens, averaged over its views."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.curate.options import Options
from training.checkpoints import open_encoder
from training.conditioning.encoder import Encoder
from training.config import TrainConfig
from training.learner import pick_device

_BATCH = 64  # images at once


def encoder_of(options: Options) -> Encoder:
    """The trainer's image encoder that the options name."""
    size, path = options.image_size, options.encoder_path
    device = pick_device(options.device)
    return open_encoder(TrainConfig(encoder=options.encoder, encoder_path=path, image_size=size), device)


def features(models: Sequence[Sequence[bytes]], encoder: Encoder) -> np.ndarray:
    """(N, F) float16 of unit length: each model's mean over the tokens of its images, PNGs."""
    images = [image for views in models for image in views]
    tokens = np.concatenate(
        [_mean_tokens(images[at : at + _BATCH], encoder) for at in range(0, len(images), _BATCH)]
    )
    ends = np.cumsum([len(views) for views in models])
    means = np.stack([views.mean(0) for views in np.split(tokens, ends[:-1])])
    return (means / np.linalg.norm(means, axis=1, keepdims=True).clip(1e-6)).astype(np.float16)


def _mean_tokens(images: Sequence[bytes], encoder: Encoder) -> np.ndarray:
    """(B, F) float32."""
    tokens = encoder(images).float().cpu()
    return (tokens.mean(2) if encoder.cells else tokens).numpy()
