"""The settings of `generate`, `evaluate` and `score`, which are also their command-line flags.

Nothing heavy is imported here, so that the command line can show its help without loading torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from render.failures import UserError, at_least

Precision = Literal["auto", "float32", "bfloat16", "float16"]
"""The arithmetic of a network, in training and in sampling."""
SeeInside = Literal["none", "predicted", "true"]
"""What is shown behind a view: nothing, masks that a segmenter predicts, or the dataset's own."""
Rule = Literal["together", "mean", "cycle"]
"""How several views of an object are used: all at once, by a model trained so; or, by a model of one view,
without training: the mean of its estimates, or the views in turn."""

Method = Literal["heun", "ddim"]
"""How a step goes from one noise level to the next (`training.objectives.sampler`)."""


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
    rule: Rule = "together"
    """How several views of an object are used."""
    method: Method = "heun"
    """How a step is made; see `Running`."""

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("seed", 0), ("batch", 1)):
            at_least(name, getattr(self, name), least)


class Opening(TypedDict):
    """How a checkpoint is opened: keywords of `generator.Generator` and what opens others beside it."""

    device: str
    encoder_path: str | None
    precision: Precision


@dataclass(frozen=True, kw_only=True)
class Running:
    """Where and how a checkpoint's network runs."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to sample. auto: a GPU if there is one."""
    precision: Precision = "auto"
    """Precision of the network. auto: bfloat16 where the hardware supports it."""
    method: Method = "heun"
    """How a sampling step is made: heun asks the network twice, ddim once: often better in few steps."""
    encoder_path: str | None = None
    """Folder or hub name of the encoder's weights, if not where they were in training."""

    @property
    def opening(self) -> Opening:
        """How the checkpoint, and others that serve it, are opened."""
        return {"device": self.device, "encoder_path": self.encoder_path, "precision": self.precision}


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How clouds are scored."""

    score_points: int = 1024
    """Points per cloud, chosen at random from clouds that have more; all clouds are reduced to one number."""
    thresholds: tuple[float, ...] = (0.02, 0.05, 0.1)
    """Distances at which the F-score counts a point as found."""
    radius: tuple[float, ...] = (0.05,)
    """Distances at which a hidden point counts as found."""
    align: Literal["none", "azimuth", "icp"] = "none"
    """Turn each cloud to its true one first: about the vertical axis, or by ICP from there."""
    dcd_alpha: float = 1000.0
    """Steepness of the density-aware Chamfer distance; the published value suits 16,384 points."""
    sets: bool = True
    """Also score the clouds as a set: coverage, MMD, 1-NNA."""
    set_points: int = 512
    """Points per cloud for the scores of sets."""
    set_distance: Literal["chamfer", "emd"] = "chamfer"
    """The distance between clouds in the scores of sets."""
    pointnet: Path | None = None
    """Weights of a PointNet on ModelNet40 (pointnet_modelnet40.t7): adds Fréchet and kernel distance."""
    pointnet2: Path | None = None
    """Point-E's classifier (pointnet.pt): adds its P-FID and P-IS, of clouds of up to 4,096 points."""
    clip: str | None = None
    """A CLIP model, a folder or a name on the hub: adds R-precision, where the objects have captions."""
    score_seed: int = 0
    """Seed of the chosen points, of the noise and of the bootstrap."""

    def __post_init__(self) -> None:
        at_least("score_points", self.score_points, 2)
        at_least("set_points", self.set_points, 2)
        at_least("score_seed", self.score_seed, 0)


@dataclass(frozen=True)
class GenerateSettings(Running):
    """Generate colored point clouds from images or texts."""

    checkpoint: Path
    """A checkpoint, or a run's folder (its newest checkpoint is used); with --name, OpenAI's file."""
    to: Path
    """A .ply, .npz or .glb file to write, or a folder for all three formats; a picture goes beside each."""
    image: tuple[Path, ...] = ()
    """Images (PNG, JPEG...), transparent or with the object on its own background; or folders of images."""
    cameras: Path | None = None
    """The images' cameras: a transforms.json of NeRF tools, in the object's frame. All show one object."""
    view_rule: Literal["each", "together", "mean", "cycle"] | None = None
    """Several images: a cloud for each, or one object's views; all at once, for a model trained so, or
    without training: the mean of the model's estimates, or the views in turn. None: each if it was trained
    with one view, else together."""
    mask: tuple[Path, ...] = ()
    """The images' interior masks, in their order, for a model that sees insides: white where a surface that
    no view sees lies behind. None: predicted ones, if a segmenter is known."""
    mask_layers: tuple[Path, ...] = ()
    """For masks: 8-bit images of the number of surfaces along each ray; None: 2 where the object is, 4 where
    it has an inside."""
    segmenter: Path | None = None
    """The checkpoint that predicts masks, if not where it was in training."""
    state: Path | None = None
    """A file that keeps what the model makes of an object's views: later calls go on from it, with further
    images or none."""
    text: tuple[str, ...] = ()
    """Descriptions, for a model trained on text."""
    count: int = 1
    """Clouds per image or text; an unconditional model takes neither."""
    upsampler: Path | None = None
    """Checkpoint of an upsampler, ours or OpenAI's, which adds points to the base model's cloud."""
    name: str | None = None
    """The checkpoint is OpenAI's model of this name, such as base40M."""
    points: int = 0
    """Points per cloud; 0: as many as the model was trained with."""
    part: Literal["all", "outside"] = "all"
    """What is written of a cloud with labels: all of it, or its outer surface alone."""
    steps: int = 64
    """Sampling steps."""
    guidance: float = 3.0
    """Weight of the image or text; 1: no guidance."""
    seed: int = 0
    """Seed of the noise that a cloud starts from."""
    batch: int = 8
    """Clouds sampled at a time."""

    def __post_init__(self) -> None:
        at_least("count", self.count, 1)
        at_least("points", self.points, 0)
        if self.mask_layers and len(self.mask_layers) != len(self.mask):
            raise UserError(
                f"{len(self.mask_layers)} images of layers for {len(self.mask)} masks. Give one each."
            )
        if self.state and (self.text or self.upsampler or self.count > 1 or self.view_rule == "each"):
            raise UserError(f"{self.state}: a state makes one cloud of one object's images, not upsampled.")
        if self.state and self.view_rule in ("mean", "cycle"):
            raise UserError(f"{self.state}: a state keeps all views together, not by rule {self.view_rule}.")
        _ = self.sampling

    @property
    def sampling(self) -> Sampling:
        """How the clouds are sampled."""
        rule = "together" if self.view_rule in (None, "each") else self.view_rule
        return Sampling(self.steps, self.guidance, self.seed, self.batch, rule, self.method)


@dataclass(frozen=True)
class EvaluateSettings(Scoring, Running):
    """Generate clouds of a dataset's objects and compare them with the true clouds."""

    dataset: Path
    """The dataset folder; it may lie in an object store."""
    checkpoint: Path
    """A checkpoint, or a run's folder (its newest checkpoint is used)."""
    count: int = 24
    """Maximum number of objects."""
    view: int = 0
    """Index of the view whose image is used, or of the first one."""
    views: int = 0
    """Number of views shown; 0: the most that the model was trained with."""
    view_rule: Rule = "together"
    """How several views are used; `mean` and `cycle` serve a model trained with a single one."""
    see_inside: tuple[SeeInside, ...] = ()
    """What a model that sees insides is shown behind the views: none, predicted or true masks; several are
    compared, object by object from the same noise. None: predicted, or else what training showed."""
    segmenter: Path | None = None
    """The checkpoint that predicts masks, if not where it was in training."""
    split: str | None = None
    """The split to evaluate on; None: the held-out objects of the run's validation split, or, where the
    dataset holds none out, the training split."""
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
    pictures: Path | None = None
    """A PNG to write: image, generated cloud and true cloud of each object."""
    clouds: Path | None = None
    """A folder to write: generated/UID.ply and true/UID.ply, which `insideout score` takes."""
    scores: bool = True
    """Print every score with its floor and ceiling; without: the Chamfer distances of the table alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("count", self.count, 1)
        at_least("view", self.view, 0)
        at_least("views", self.views, 0)
        if len(set(self.see_inside)) < len(self.see_inside):
            raise UserError("see_inside: name each kind of masks once.")
        at_least("points", self.points, 1)
        if self.pictures:
            from fuse.preview.picture import check_ending

            check_ending(self.pictures)
        _ = self.sampling

    @property
    def sampling(self) -> Sampling:
        """How the clouds are sampled."""
        return Sampling(self.steps, self.guidance, self.seed, rule=self.view_rule, method=self.method)
