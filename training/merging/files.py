"""Clouds of one object from files, black boxes to us, merged into one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from render.failures import UserError
from training.data.channels import GRAY, to_network
from training.merging.rules import rule_of, union
from training.merging.settings import MergeSettings
from training.output.cloud_files import FORMATS, write_points
from training.scores.clouds import Cloud, read_cloud
from training.settings import Sampling

FAR = 1.5
"""A coordinate that no cloud of the normalized frame has."""


def merge(settings: MergeSettings) -> Path:
    """Merge files by a rule and write the result; returns its path. UserError for what cannot be merged."""
    if len(settings.clouds) < 2:
        raise UserError("Give two or more clouds to merge.")
    if settings.to.suffix.lower() not in FORMATS:
        raise UserError(f"{settings.to}: cannot write this. Give a {', '.join(FORMATS)} file.")
    clouds = as_channels([read_cloud(path) for path in settings.clouds])
    if settings.checkpoint:
        merged = _by_merger(clouds, settings.checkpoint, settings)
    else:
        merged = rule_of(settings.rule, settings.radius)(clouds, settings.points)
    settings.to.parent.mkdir(parents=True, exist_ok=True)
    write_points(settings.to, merged)
    return settings.to


def _by_merger(clouds: Sequence[np.ndarray], checkpoint: Path, settings: MergeSettings) -> np.ndarray:
    """K clouds (C, N) merged by a network, (C, points); it sees as many points of each as it is to give."""
    import torch

    from training.generator import Generator

    generator = Generator(checkpoint, settings.device)
    config, channels = generator.config, generator.model.channels
    if config.model != "merge" or config.merge_images:
        raise UserError(f"{checkpoint}: not a merger of clouds alone. Train one with `--model merge`.")
    if max(np.abs(cloud[:3]).max() for cloud in clouds) > FAR:
        raise UserError(
            f"the clouds reach beyond {FAR}: a merger takes them in the normalized frame, from -1 to 1."
        )
    alike = np.stack([union([_fitted(cloud, channels)], settings.points) for cloud in clouds])[None]
    drawn = {"clouds": torch.from_numpy(alike), "toward": torch.zeros(1, len(clouds), 3)}
    sampling = Sampling(settings.steps, guidance=1.0, seed=settings.seed)
    return generator.sample([None], settings.points, sampling, drawn=drawn)[0]


def _fitted(cloud: np.ndarray, channels: int) -> np.ndarray:
    """(C, N) with the merger's channels: without a label, or with that of outside."""
    if len(cloud) < channels:
        return np.concatenate([cloud, np.full((1, cloud.shape[1]), -1, np.float32)])
    return cloud[:channels]


def as_channels(clouds: Sequence[Cloud]) -> list[np.ndarray]:
    """K clouds as (C, N) float32 with the same channels: xyz and color, and labels where any cloud has them.

    A cloud without colors is gray; one without labels among others that have them is all outside.
    """
    labeled = any(cloud.hidden is not None for cloud in clouds)
    found = []
    for cloud in clouds:
        rgb = np.full(cloud.xyz.shape, GRAY, np.uint8) if cloud.rgb is None else cloud.rgb
        hidden = np.zeros(len(cloud), bool) if cloud.hidden is None else cloud.hidden
        found.append(to_network(cloud.xyz.astype(np.float32), rgb, hidden if labeled else None))
    return found
