"""Clouds of one object from files, black boxes to us, merged into one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from render.failures import UserError
from training.data.channels import GRAY, to_network
from training.merging.rules import rule_of
from training.merging.settings import FROM_PICTURES, MergeSettings
from training.output.cloud_files import FORMATS, write_points
from training.scores.clouds import Cloud, read_cloud


def merge(settings: MergeSettings) -> Path:
    """Merge files by a rule and write the result; returns its path. UserError for what cannot be merged."""
    if len(settings.clouds) < 2:
        raise UserError("Give two or more clouds to merge.")
    if settings.to.suffix.lower() not in FORMATS:
        raise UserError(f"{settings.to}: cannot write this. Give a {', '.join(FORMATS)} file.")
    clouds = as_channels([read_cloud(path) for path in settings.clouds])
    if settings.checkpoint:
        from training.merging.merger import by_merger  # torch: not for rules

        merged = by_merger(clouds, settings.checkpoint, settings)
    else:
        shown = None
        if settings.rule in FROM_PICTURES:
            from training.merging.pictures import shown_in

            shown = shown_in(clouds, settings)
        merged = rule_of(settings.rule, settings.radius, shown)(clouds, settings.points)
    settings.to.parent.mkdir(parents=True, exist_ok=True)
    write_points(settings.to, merged)
    return settings.to


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
