"""The settings of `generate` and `evaluate`, which are also their command-line flags.

Nothing heavy is imported here, so that the command line can show its help without loading torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sampling:
    """How clouds are sampled."""

    steps: int = 64
    """Sampling steps."""
    guidance: float = 3.0
    """Weight of the image or text; 1: no guidance."""
    seed: int = 0
    """Seed of the noise that a cloud starts from."""
    batch: int = 8
    """Clouds sampled at a time."""


@dataclass(frozen=True)
class GenerateSettings:
    """Generate colored point clouds from images or texts."""

    checkpoint: Path
    """A checkpoint, or a run's folder (its newest checkpoint is used); with --name, OpenAI's file."""
    to: Path
    """A .ply, .npz or .glb file to write, or a folder for all three formats; a picture goes beside each."""
    image: tuple[Path, ...] = ()
    """Images (PNG, JPEG...), transparent or with the object on its own background; or folders of images."""
    text: tuple[str, ...] = ()
    """Descriptions, for a model trained on text."""
    upsampler: Path | None = None
    """Checkpoint of an upsampler, which adds points to the base model's cloud."""
    name: str | None = None
    """The checkpoint is OpenAI's model of this name, such as base40M, and so is the upsampler."""
    points: int = 0
    """Points per cloud; 0: as many as the model was trained with."""
    steps: int = 64
    """Sampling steps."""
    guidance: float = 3.0
    """Weight of the image or text; 1: no guidance."""
    seed: int = 0
    """Seed of the noise that a cloud starts from."""
    batch: int = 8
    """Clouds sampled at a time."""
    device: str = "cpu"
    """cpu or cuda."""

    @property
    def sampling(self) -> Sampling:
        """How the clouds are sampled."""
        return Sampling(self.steps, self.guidance, self.seed, self.batch)


@dataclass(frozen=True)
class EvaluateSettings:
    """Compare generated clouds with the true clouds of a dataset's objects."""

    dataset: Path
    """The dataset folder; it may lie in an object store."""
    checkpoint: Path
    """A checkpoint, or a run's folder (its newest checkpoint is used)."""
    count: int = 24
    """Maximum number of objects."""
    view: int = 0
    """Index of the view whose image is used."""
    split: str | None = None
    """The split to evaluate on; None: the training split."""
    points: int = 512
    """Points per cloud."""
    steps: int = 16
    """Sampling steps."""
    guidance: float = 3.0
    """Weight of the image; 1: no guidance."""
    seed: int = 0
    """Seed of the noise that a cloud starts from."""
    untrained: bool = False
    """Evaluate the same network before its first training step, for comparison."""
    device: str = "cpu"
    """cpu or cuda."""
    pictures: Path | None = None
    """A PNG to write: image, generated cloud and true cloud of each object."""

    @property
    def sampling(self) -> Sampling:
        """How the clouds are sampled."""
        return Sampling(self.steps, self.guidance, self.seed)
