"""Clouds merged by a network, `model: merge`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from render.failures import UserError
from training.data.drawn import toward_of
from training.generator import Generator
from training.merging.pictures import views_of
from training.merging.rules import union
from training.merging.settings import MergeSettings
from training.settings import Sampling

FAR = 1.5
"""A coordinate that no cloud of the normalized frame has."""


def by_merger(clouds: Sequence[np.ndarray], checkpoint: Path, settings: MergeSettings) -> np.ndarray:
    """K clouds (C, N) merged by a network, (C, points); it sees as many points of each as it is to give."""
    generator, views = Generator(checkpoint, settings.device), views_of(settings)
    config, channels = generator.config, generator.model.channels
    if config.model != "merge":
        raise UserError(f"{checkpoint}: not a merger. Train one with `--model merge`.")
    if max(np.abs(cloud[:3]).max() for cloud in clouds) > FAR:
        raise UserError(
            f"the clouds reach beyond {FAR}: a merger takes them in the normalized frame, from -1 to 1."
        )
    if len(views) not in (0, len(clouds)) and not config.merge_images:
        raise UserError(f"{len(views)} images for {len(clouds)} clouds: give one for each, or none.")
    alike = np.stack([union([_fitted(cloud, channels)], settings.points) for cloud in clouds])
    toward = np.zeros((len(clouds), 3), np.float32)
    if len(views) == len(clouds):
        toward = np.stack([toward_of([view.camera] if view.camera is not None else []) for view in views])
    drawn = {"clouds": torch.from_numpy(alike)[None], "toward": torch.from_numpy(toward)[None]}
    sampling = Sampling(settings.steps, guidance=1.0, seed=settings.seed)
    shown = views if config.merge_images and views else None
    return generator.sample([shown], settings.points, sampling, drawn=drawn)[0]


def _fitted(cloud: np.ndarray, channels: int) -> np.ndarray:
    """(C, N) with the merger's channels: without a label, or with that of outside."""
    if len(cloud) < channels:
        return np.concatenate([cloud, np.full((1, cloud.shape[1]), -1, np.float32)])
    return cloud[:channels]
