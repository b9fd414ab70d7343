"""Clouds merged by a network, `model: merge`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from render.failures import UserError
from training.conditioning.image_files import read_views
from training.conditioning.shown import View
from training.data.drawn import toward_of
from training.generator import Generator
from training.merging.rules import union
from training.merging.settings import MergeSettings
from training.settings import Sampling

FAR = 1.5
"""A coordinate that no cloud of the normalized frame has."""


def by_merger(clouds: Sequence[np.ndarray], checkpoint: Path, settings: MergeSettings) -> np.ndarray:
    """K clouds (C, N) merged by a checkpoint's network, (C, points); see `merge_by`."""
    sampling = Sampling(settings.steps, guidance=1.0, seed=settings.seed)
    views = [view for _, view in read_views(settings.image, settings.cameras)]
    return merge_by(open_merger(checkpoint, settings.device), clouds, views, settings.points, sampling)


def open_merger(checkpoint: Path, device: str = "auto", encoder_path: str | None = None) -> Generator:
    """A checkpoint of `model: merge`. UserError if it is another model."""
    generator = Generator(checkpoint, device, None, encoder_path)
    if generator.config.model != "merge":
        raise UserError(f"{checkpoint}: not a merger. Train one with `--model merge`.")
    return generator


def merge_by(
    generator: Generator,
    clouds: Sequence[np.ndarray],
    views: Sequence[View],
    points: int,
    sampling: Sampling,
) -> np.ndarray:
    """K clouds (C, N) merged by a network, (C, points); it sees as many points of each as it is to give.

    `views` are those of the clouds, one for each, or, for a network of `merge_images`, any of the object.
    """
    config, channels = generator.config, generator.model.channels
    if max(np.abs(cloud[:3]).max() for cloud in clouds) > FAR:
        raise UserError(
            f"the clouds reach beyond {FAR}: a merger takes them in the normalized frame, from -1 to 1."
        )
    if len(views) not in (0, len(clouds)) and not config.merge_images:
        raise UserError(f"{len(views)} images for {len(clouds)} clouds: give one for each, or none.")
    alike = np.stack([union([_fitted(cloud, channels)], points) for cloud in clouds])
    toward = np.zeros((len(clouds), 3), np.float32)
    if len(views) == len(clouds):
        toward = np.stack([toward_of([view.camera] if view.camera is not None else []) for view in views])
    drawn = {"clouds": torch.from_numpy(alike)[None], "toward": torch.from_numpy(toward)[None]}
    shown = views if config.merge_images and views else None
    return generator.sample([shown], points, sampling, drawn=drawn)[0]


def _fitted(cloud: np.ndarray, channels: int) -> np.ndarray:
    """(C, N) with the merger's channels: without a label, or with that of outside."""
    if len(cloud) < channels:
        return np.concatenate([cloud, np.full((1, cloud.shape[1]), -1, np.float32)])
    return cloud[:channels]
