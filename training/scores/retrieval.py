"""CLIP R-precision (Park et al. 2021; for 3D, Jain et al. 2022, arXiv:2112.01455, section 5.1).

A cloud's pictures ask for their text among the texts of all objects: how often does the own one come first?
Point-E reports it for ViT-B/32 and ViT-L/14. A number depends on the texts, the pictures and the model:
compare only what was scored together.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fuse.preview.picture import draw_cloud
from render.failures import UserError
from training.conditioning.encoder_clip import ClipImage, ClipText
from training.data.channels import GRAY
from training.scores.clouds import Cloud

SIDES = ((0.75, -1.0), (1.0, 0.75), (-0.75, 1.0), (-1.0, -0.75))
"""The pictures' directions, from slightly above."""


class Retrieval:
    """The texts of K objects, among which pictures look for theirs."""

    def __init__(self, texts: Sequence[str], clip: str):
        """`clip`: a folder with a CLIP model, or its name on the hub."""
        different = sorted(set(texts))
        self._own = [different.index(text) for text in texts]
        self._images = ClipImage(clip, 0)
        self._vectors = ClipText(clip)(different).numpy()  # (T, D)

    def precision(self, clouds: Sequence[Cloud]) -> np.ndarray:
        """Of K clouds the shares (K,) float64 of their pictures whose nearest text is the object's own."""
        nearest = [self._nearest(cloud) for cloud in clouds]
        return np.array([(found == own).mean() for found, own in zip(nearest, self._own, strict=True)])

    def _nearest(self, cloud: Cloud) -> np.ndarray:
        """For each picture the place of its text, (4,) int64."""
        size = self._images.size
        rgb = np.full((len(cloud), 3), GRAY, np.uint8) if cloud.rgb is None else cloud.rgb
        sides = [draw_cloud(cloud.xyz, rgb, size, direction=(x, y, 0.55)) for x, y in SIDES]
        pictures = np.stack([np.asarray(side.convert("RGB")) for side in sides])
        return (self._images.encode(pictures).numpy() @ self._vectors.T).argmax(1)


def read_captions(path: Path) -> dict[str, str]:
    """A JSON object: cloud name -> text. UserError for anything else."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}).") from error
    if not (isinstance(found, dict) and all(isinstance(text, str) for text in found.values())):
        raise UserError(f'{path}: not a JSON object of texts by cloud name, such as {{"chair": "a chair"}}.')
    return found
