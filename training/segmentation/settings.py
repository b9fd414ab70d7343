"""The settings of `segment` and `layers`, which are also their command-line flags.

Nothing heavy is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from render.failures import UserError


@dataclass(frozen=True)
class SegmentSettings:
    """Predict from pictures alone where an inside lies behind, and how many surfaces there are."""

    image: tuple[Path, ...]
    """Pictures, or folders of pictures; the object is what their alpha shows."""
    checkpoint: Path
    """A checkpoint of `model: segment`, or its run's folder."""
    to: Path
    """A .png to write, or a folder for several pictures: 8-bit, the size of the picture, 255 where an inside
    is certain."""
    layers: Path | None = None
    """A .png or a folder for the expected number of surfaces behind each pixel, rounded, as in a bundle."""
    threshold: float | None = None
    """Write 255 from this probability on and 0 below, as the masks of a bundle; None: the probability."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to predict. auto: a GPU if there is one."""
    encoder_path: str | None = None
    """Folder or hub name of the encoder's weights, if not where they were in training."""

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise UserError(f"threshold {self.threshold}: it must be above 0 and at most 1.")
        if self.layers == self.to:
            raise UserError(f"{self.to}: name different places for masks and numbers of surfaces.")
        if not self.image:
            raise UserError("Give one or more pictures.")


@dataclass(frozen=True)
class LayerSettings:
    """Predict the surfaces along the rays of an object's pictures, and write them as one cloud."""

    image: tuple[Path, ...]
    """Pictures of one object, or a folder of them; the object is what their alpha shows."""
    cameras: Path
    """The pictures' cameras, a transforms.json of NeRF tools."""
    checkpoint: Path
    """A checkpoint of `model: layers`, or its run's folder."""
    to: Path
    """A .ply, .npz or .glb file to write, with labels; `insideout merge` takes it as one more cloud."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to predict. auto: a GPU if there is one."""
    encoder_path: str | None = None
    """Folder or hub name of the encoder's weights, if not where they were in training."""

    def __post_init__(self) -> None:
        if not self.image:
            raise UserError("Give one or more pictures.")
