"""The settings of `merge`, `draw` and `compose`, which are also their command-line flags.

Nothing heavy is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from render.failures import UserError, at_least
from training.settings import Running, Sampling

MergeRule = Literal["union", "sample", "consensus", "silhouettes", "hull", "mean"]
"""How clouds of one object are merged without learning (`training.merging.rules`)."""
FROM_PICTURES = ("silhouettes", "hull")
"""Rules that need posed pictures."""


@dataclass(frozen=True)
class MergeSettings:
    """Merge clouds of one object, from any generators, into one better cloud."""

    clouds: tuple[Path, ...]
    """Two or more .ply or .npz files in one frame; colors and labels are kept."""
    to: Path
    """A .ply, .npz or .glb file to write."""
    rule: MergeRule = "consensus"
    """union: a farthest-point sample of all points; sample: an equal share of each cloud's; consensus: the
    union of the points that another cloud confirms; silhouettes: of those that fall on the object in every
    picture; hull: of these and of points anywhere that do; mean: of the points of the first cloud and their
    partners in the others."""
    radius: float | None = None
    """For `consensus`: the distance within which a point confirms another; None: the spacing."""
    checkpoint: Path | None = None
    """A merger in place of a rule: a checkpoint of `model: merge`, or its run's folder."""
    image: tuple[Path, ...] = ()
    """For `silhouettes`, `hull` and a checkpoint of `merge_images`: pictures of the whole object."""
    cameras: Path | None = None
    """The pictures' cameras, a transforms.json of NeRF tools. With a picture per cloud they also tell a
    checkpoint from where each cloud was generated."""
    points: int = 1024
    """Points of the merged cloud."""
    steps: int = 16
    """For a checkpoint: sampling steps."""
    seed: int = 0
    """For a checkpoint: seed of the noise."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """For a checkpoint: where to sample. auto: a GPU if there is one."""

    def __post_init__(self) -> None:
        at_least("points", self.points, 1)
        at_least("steps", self.steps, 1)
        at_least("seed", self.seed, 0)
        if self.rule in FROM_PICTURES and not self.checkpoint and not (self.image and self.cameras):
            raise UserError(f"rule {self.rule} needs --image, pictures of the object, and their --cameras.")


@dataclass(frozen=True)
class DrawSettings(Running):
    """Draw clouds of a dataset's objects from checkpoints: what a merger and an upsampler learn from."""

    dataset: Path
    """The dataset folder."""
    checkpoint: tuple[Path, ...]
    """Checkpoints or runs' folders. Each object is drawn by one that has not learned from it (train them with
    `--fold 0/2` and `--fold 1/2`), if there is one."""
    to: Path
    """The folder to write. The same command continues where it stopped."""
    clouds: int = 3
    """Clouds per object, each of views of its own."""
    views: int = 1
    """Views that a cloud is drawn from."""
    view_range: tuple[int, int] | None = None
    """Choose among the views from the first up to, but without, the second number; None: all."""
    split: tuple[str, ...] = ()
    """Splits to draw; none: all."""
    draws: Path | None = None
    """For mergers: the folder of drawn clouds that they merge."""
    points: int = 1024
    """Points per cloud."""
    steps: int = 16
    """Sampling steps."""
    guidance: float = 1.0
    """Weight of the image; 1: no guidance."""
    seed: int = 0
    """Seed of the views and of the noise."""
    batch: int = 8
    """Clouds sampled at a time."""

    def __post_init__(self) -> None:
        for name in ("clouds", "views", "points"):
            at_least(name, getattr(self, name), 1)
        _ = self.sampling

    @property
    def sampling(self) -> Sampling:
        """How the clouds are sampled."""
        return Sampling(self.steps, self.guidance, self.seed, self.batch, method=self.method)

    def recipe(self) -> dict[str, object]:
        """What the clouds depend on, in plain values, beside the checkpoints and the dataset."""
        names = ("clouds", "views", "view_range", "split", "points", "steps", "guidance", "seed", "batch")
        names += ("method",) if self.method != "heun" else ()  # draws of before there were others go on
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class ComposeSettings(Running):
    """Pictures of one object to one labeled cloud: masks, a cloud per picture, merged, refined, cut open."""

    image: tuple[Path, ...]
    """Two or more pictures of one object, or a folder of them; the object is what their alpha shows."""
    checkpoint: Path
    """The base, which makes a cloud of each picture: a checkpoint, or a run's folder."""
    to: Path
    """The folder to write: masks, clouds and `picture.png`."""
    cameras: Path | None = None
    """The pictures' cameras, a transforms.json of NeRF tools, in the object's frame."""
    segmenter: Path | None = None
    """A segmenter, which predicts what lies inside each picture, for a base that was trained with masks."""
    merge: str = "consensus"
    """How the clouds become one: a rule of `merge` or a merger's checkpoint."""
    layers: Path | None = None
    """A checkpoint of `model: layers`: the surfaces along the pictures' rays are one more cloud to merge."""
    upsampler: Path | None = None
    """An upsampler, which adds points to the merged cloud."""
    points: int = 0
    """Points per cloud and of the merged one; 0: as many as the base was trained with."""
    steps: int = 64
    """Sampling steps."""
    guidance: float = 3.0
    """Weight of the pictures; 1: no guidance."""
    seed: int = 0
    """Seed of the noise."""

    def __post_init__(self) -> None:
        at_least("points", self.points, 0)
        _ = self.sampling

    @property
    def sampling(self) -> Sampling:
        """How the clouds are sampled."""
        return Sampling(self.steps, self.guidance, self.seed, method=self.method)
