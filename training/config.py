"""The train stage's configuration: YAML section `train`, command-line flags and the record in one place.

The defaults are the tiny recipe, which a laptop's CPU trains in minutes; `configs/` has the others.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.settings import Precision

if TYPE_CHECKING:
    from training.data.point_mix import Mix


EncoderName = Literal[
    "efficientnet_lite0",
    "efficientnet_lite0_fine",
    "clip_grid",
    "clip_image",
    "clip_text",
    "dinov2_grid",
]


class TrainConfig(BaseModel):
    """How a model is trained on cloud shards."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    steps: int = Field(default=3000, ge=1)
    """Optimizer steps."""
    batch: int = Field(default=16, ge=1)
    """Clouds per step, over all processes."""
    accumulate: int = Field(default=1, ge=1)
    """Number of parts in which a process computes its share of a step: less memory, the same result."""

    points_from: Literal["outside", "outside+hidden", "solid"] = "outside"
    """The points of a cloud: outside has 6 channels, outside+hidden 7 (with the label), solid 3."""
    hidden_share: float | None = Field(default=0.25, gt=0, lt=1)
    """Share of hidden points in `outside+hidden`; None: decided by one farthest-point sampling over both."""
    points: int = Field(default=1024, ge=16)
    """Points per cloud: the first ones of a shard's row, which are a farthest-point sample."""
    condition_points: int = Field(default=0, ge=0)
    """For `upsample`: points of the coarse cloud; the next `points` are generated."""
    condition_noise: float = Field(default=0, ge=0)
    """For `upsample`: standard deviation of the noise on the coarse cloud; Point-E had none."""
    condition_nearest: bool = False
    """For `upsample`: tell each point what of the coarse cloud lies nearest to it."""
    condition_tokens: int = Field(default=0, ge=0)
    """For `condition_nearest`: how many of the coarse points are tokens; 0: all. Steps cost less."""
    step_points: int = Field(default=128, ge=0)
    """Points of each cloud that a step sees, chosen at random each time; 0: all. Steps cost less, and
    attention is corrected for the number of points that sampling generates. For `prediction: offset` and
    `select`, the number of points that a step moves or judges, by the whole true cloud."""
    target: Literal["rgb", "albedo"] = "rgb"
    """The color of a point: lit, or the material's. Hidden points have only the latter."""
    split: str = "train"
    """The split to train on."""
    fold: str | None = Field(default=None, pattern=r"^\d+/\d+$")
    """Train on one fold of the objects alone: `0/2` is the first half. For clouds drawn out of fold
    (`insideout draw`)."""
    views: int = Field(default=0, ge=0)
    """Number of views per model to condition on, the first ones; 0: all. A step uses some of them."""
    views_least: int = Field(default=1, ge=1)
    """Smallest number of views of each object that a step shows."""
    views_most: int = Field(default=1, ge=1)
    """Largest number of views; each step chooses one number for all of its objects."""
    view_cells: int = Field(default=0, ge=0)
    """Tokens per view, averaged from the encoder's grid; a square number. 0: all of the encoder's."""
    view_rays: bool = False
    """Add the camera's ray through each cell to the cell's token."""
    view_tags: bool = False
    """Add a learned tag per view, by its place in the sequence: for comparison with rays."""
    view_projected: bool = False
    """Add what each view shows where a noisy point falls to the point's token."""
    view_outline: bool = False
    """With `view_projected`: add the way from the noisy point to each view's silhouette, and how deep within
    it falls; with `see_inside` also to where an inside lies behind the view."""
    see_inside: Literal["none", "true", "predicted", "mixed"] = "none"
    """Show what lies behind the views' pixels, where an inside is and how many surfaces: as the shards know
    it, as `segmenter` predicts it from the image, or, chosen per sample, true, predicted or nothing, so that
    one model serves with and without masks (`mixed`; without a segmenter true or nothing)."""
    segmenter: str | None = None
    """A checkpoint of `model: segment`, or its run's folder, which predicts masks for `see_inside`."""
    view_fusion: Literal["tokens", "causal", "state"] = "tokens"
    """How views are combined: in one sequence with the points; each attending to earlier ones alone, once for
    all sampling steps; or read one by one into latents."""
    frame: Literal["object", "first_view"] = "object"
    """The frame of generated clouds: the object's, or that of the first view's camera, which is then known
    for any picture."""
    crop: bool = False
    """Cut images to what their alpha shows, in training and in use."""
    crop_jitter: float = Field(default=0, ge=0, le=0.5)
    """Share by which training varies the width and place of cut images, as mattes of photographs vary."""
    camera_drop: float = Field(default=0, ge=0, le=1)
    """Share of views whose camera is withheld, half of them for whole objects, so that the model also takes
    views without one. The first view of `first_view` then counts as a photograph of the usual lens."""

    model: Literal["uncond", "vector", "grid", "upsample", "two_stream", "merge", "segment", "layers"] = (
        "grid"
    )
    """The network: one of Point-E's, by its condition; `two_stream`, for any number of points; `merge`,
    conditioned on several clouds of the object; or, from each view alone and without sampling, `segment`, its
    interior mask and number of surfaces, and `layers`, the surfaces along its rays."""
    draws: str | None = None
    """A folder of drawn clouds (`insideout draw`): those that `merge` merges, or, for `upsample`, the coarse
    clouds in place of true ones. Objects without drawn clouds are left out."""
    merge_clouds: int = Field(default=3, ge=1)
    """For `merge`: largest number of clouds that a step merges, chosen from 1 up for all of its objects."""
    merge_points: int = Field(default=256, ge=0)
    """For `merge`: points of each cloud that a step looks up, chosen at random; 0: all."""
    merge_tokens: int = Field(default=64, ge=0)
    """For `merge`: how many of them are tokens, in training and in use; 0: all."""
    merge_images: bool = False
    """For `merge`: show views of the object too."""
    width: int = Field(default=128, ge=8)
    """Width of the transformer."""
    layers: int = Field(default=6, ge=1)
    """Blocks of the transformer."""
    heads: int = Field(default=2, ge=1)
    """Attention heads; Point-E's are 64 wide."""
    latents: int = Field(default=256, ge=1)
    """For `two_stream`: number of latent tokens."""
    latent_layers: int = Field(default=4, ge=1)
    """For `two_stream`: layers among the latents per block."""
    qk_norm: bool = False
    """Normalize queries and keys: stable in bfloat16 at high rates."""
    long_skips: bool = False
    """Connect early blocks with late ones."""
    checkpoint_activations: bool = False
    """Recompute activations in the backward pass: a third more work, far less memory."""
    compile: bool = False
    """Compile the transformer's blocks with torch.compile; worthwhile on a GPU."""
    init_from: str | None = None
    """Start from these weights: an official checkpoint, one of ours, or a run's folder; an upsampler may
    start from a base."""

    prediction: Literal["epsilon", "v", "flow", "edm", "offset", "select"] = "v"
    """What the network predicts: the noise, as in Point-E; the velocity, learned in far fewer steps; the
    direction of a rectified flow; EDM's mixture; or, for `merge` without noise, where each point that two
    clouds agree on belongs (`offset`), or how far points of the clouds and of the pictures' visual hull lie
    from the surface, of which the nearest are the merged cloud (`select`: a small network)."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """Noise schedule for epsilon and v; Point-E's upsampler uses `linear`."""

    encoder: EncoderName = "efficientnet_lite0"
    """The frozen network that turns an image, or a text, into the condition; `efficientnet_lite0_fine` is the
    same one with a finer grid."""
    encoder_path: str | None = None
    """The encoder's weights: a local folder or a name on the hub; None: the default name."""
    encoder_cache: str | None = None
    """A folder that keeps image embeddings for later runs."""
    image_size: int = Field(default=224, ge=32, le=2048)
    """Side of the encoder's input image, pixels."""
    cond_drop: float = Field(default=0.1, ge=0, lt=1)
    """Share of samples whose condition is dropped, which guidance requires."""
    cache_mib: float = Field(default=512, ge=0)
    """Memory for image embeddings, MiB. A small dataset is encoded once."""

    lr: float = Field(default=2e-3, gt=0)
    """Peak learning rate."""
    warmup: int = Field(default=50, ge=0)
    """Steps of linear warm-up."""
    lr_end: float = Field(default=0.05, ge=0, le=1)
    """The learning rate decays by a cosine to this share of its peak; 1: constant."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay."""
    grad_clip: float = Field(default=1.0, gt=0)
    """Maximum norm of the gradient."""
    ema: float = Field(default=0.995, ge=0, lt=1)
    """Decay of the mean weights, which sampling uses."""

    seed: int = Field(default=0, ge=0, le=2**40)
    """Seed of the weights, the data order, the noise and the times."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train. `auto`: a GPU if there is one."""
    precision: Precision = "auto"
    """Precision of the network. `auto`: bfloat16 where the hardware supports it, twice as fast; float16,
    for older GPUs, scales the loss."""
    threads: int = Field(default=0, ge=0)
    """CPU threads for computation; 0: PyTorch's default."""
    workers: int = Field(default=0, ge=0)
    """Threads that read and decode ahead. The data order does not depend on it."""
    window: int = Field(default=4, ge=1)
    """Row groups whose rows are shuffled together."""
    streams: int = Field(default=1, ge=1)
    """Slices of the data that are read in parallel: with one per process, none reads another's rows."""

    val_split: str = "validation"
    """The split to validate on."""
    val_every: int = Field(default=500, ge=0)
    """Steps between validations of the mean weights, always with the same noise; 0: never."""
    val_clouds: int = Field(default=128, ge=1)
    """Clouds per validation."""
    score_every: int = Field(default=500, ge=0)
    """Steps between Chamfer distances of clouds generated for held-out objects, which choose `best.pt`; 0:
    never. One costs about as much as ten steps of the default recipe."""
    score_count: int = Field(default=16, ge=1)
    """Held-out objects per score. Sampled as for pictures: `sample_points` points in `sample_steps` steps."""
    sample_every: int = Field(default=500, ge=0)
    """Steps between pictures of generated clouds (RUN/samples); 0: never."""
    sample_count: int = Field(default=4, ge=1)
    """Clouds per picture."""
    sample_points: int = Field(default=256, ge=16)
    """Points per cloud in pictures."""
    sample_steps: int = Field(default=12, ge=1)
    """Sampling steps for pictures."""
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between checkpoints; the last step is saved too."""
    keep: int = Field(default=3, ge=1)
    """Number of checkpoints to keep."""
    milestones: int = Field(default=0, ge=0)
    """Steps between checkpoints that are kept for good, beside the newest; 0: none."""
    log_every: int = Field(default=20, ge=1)
    """Steps between progress lines."""
    tensorboard: bool = True
    """Write the log for TensorBoard too, into RUN/tensorboard."""
    wandb: str | None = None
    """Project in Weights & Biases to log to as well (the extra `wandb`). Its variables hold: WANDB_MODE,
    WANDB_DIR..."""

    @property
    def mix(self) -> Mix:
        """Which points make up a cloud."""
        from training.data.point_mix import Mix  # numpy: not for the command line's help

        return Mix(self.points_from, self.hidden_share)

    @property
    def part(self) -> tuple[int, int] | None:
        """The fold to train on and the number of folds; None: all objects."""
        return None if self.fold is None else (int(self.fold.split("/")[0]), int(self.fold.split("/")[1]))

    @property
    def encodes(self) -> bool:
        """Whether the condition has an image or a text."""
        return self.model != "uncond" and (self.model != "merge" or self.merge_images)

    @property
    def seen(self) -> int:
        """Number of points per cloud that a step sees."""
        return self.step_points or self.points

    @property
    def segments(self) -> bool:
        """Whether the network predicts masks of views."""
        return self.model == "segment"

    @property
    def samples(self) -> bool:
        """Whether the network makes clouds of noise, and not numbers of a view's cells."""
        return self.model not in ("segment", "layers")

    @property
    def compares_whole(self) -> bool:
        """Whether a step's points are compared with the whole true cloud."""
        return self.prediction in ("offset", "select")

    @property
    def drop(self) -> float:
        """Share of samples whose condition is dropped; what predicts cells needs its view."""
        return self.cond_drop if self.samples else 0

    @property
    def uses_cameras(self) -> bool:
        """Whether the model is told the views' cameras."""
        told = self.view_rays or self.view_projected or self.frame == "first_view"
        return told or self.model == "layers"

    @property
    def reads_masks(self) -> bool:
        """Whether true masks of views are needed, to be shown or to be learned."""
        return self.see_inside in ("true", "mixed") or self.segments

    @property
    def predicts_masks(self) -> bool:
        """Whether masks are predicted from views."""
        return self.see_inside != "none" and self.segmenter is not None

    @property
    def asks_for_validation(self) -> bool:
        """Whether the settings of validation are not the defaults, so that its absence deserves a message."""
        names = ("val_split", "val_every", "val_clouds", "score_every", "score_count")
        changed = any(getattr(self, name) != type(self).model_fields[name].default for name in names)
        return (self.val_every > 0 or self.score_every > 0) and changed

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of twice the heads, {2 * self.heads}")
        if problem := self._wrong_views():
            raise ValueError(problem)
        if problem := self._wrong_merging():
            raise ValueError(problem)
        if problem := self._wrong_masks():
            raise ValueError(problem)
        if self.step_points > self.points:
            raise ValueError(f"step_points {self.step_points} cannot exceed points {self.points}")
        if (self.model == "upsample") != (self.condition_points > 0):
            raise ValueError(
                f"model {self.model} with condition_points {self.condition_points}: only `upsample` has a "
                "coarse cloud, and it needs one"
            )
        if (self.condition_nearest and self.model != "upsample") or (
            self.condition_tokens and not self.condition_nearest
        ):
            raise ValueError(
                "condition_nearest is for `upsample`, and condition_tokens for condition_nearest"
            )
        if self.points_from == "outside+hidden" and self.target == "rgb":
            raise ValueError(
                "points_from outside+hidden needs target albedo: hidden points are unlit, and a cloud of "
                "both would mix two meanings of color"
            )
        if self.streams > self.batch or self.accumulate > self.batch:
            raise ValueError(f"streams and accumulate cannot exceed the batch, {self.batch}")
        return self

    def _wrong_merging(self) -> str | None:
        """What is wrong with the settings of folds, drawn clouds and mergers."""
        if self.part is not None and not self.part[0] < self.part[1]:
            return f"fold {self.fold}: of 2 folds, the first is 0/2 and the second 1/2"
        if self.draws and self.model not in ("merge", "upsample"):
            return f"draws: model {self.model} takes no drawn clouds; merge and upsample do"
        if self.compares_whole and self.model != "merge":
            return f"prediction {self.prediction} takes the points of clouds; model {self.model} has none"
        if self.prediction == "select" and self.merge_images and not self.view_outline:
            return "prediction select with merge_images needs view_projected and view_outline"
        if self.model == "merge" and (self.frame != "object" or self.encoder == "clip_text"):
            return "model merge works in the object's frame, with images or without"
        return None

    def _wrong_masks(self) -> str | None:
        """What is wrong with the settings of a network that predicts cells."""
        if self.samples:
            return None
        name = f"model {self.model}"
        if self.encoder in ("clip_image", "clip_text"):
            return f"{name} with encoder {self.encoder}: use an encoder with a grid of image tokens"
        told = self.view_rays or self.view_projected or self.frame == "first_view"
        if told or self.view_cells or self.view_tags or self.view_fusion != "tokens":
            return f"{name} takes each view by itself, without its camera"
        if self.crop:
            return f"{name} takes whole pictures: leave crop off"
        if self.width % 16:
            return f"width {self.width}: for {name}, a multiple of 16"
        if self.model == "layers" and self.points_from != "outside+hidden":
            return f"{name} learns from labeled clouds: points_from outside+hidden and target albedo"
        return None

    def _wrong_views(self) -> str | None:
        """What is wrong with the settings of views."""
        if not self.views_least <= self.views_most <= (self.views or self.views_most):
            return (
                f"views_least {self.views_least}, views_most {self.views_most} and views {self.views} must "
                "not decrease (views 0: all)"
            )
        several = self.views_most > 1 or self.view_cells or self.view_tags or self.uses_cameras
        several = several or self.view_fusion != "tokens" or self.see_inside != "none"
        if several and (not self.encodes or self.model == "vector" or self.encoder == "clip_text"):
            return (
                f"model {self.model} with encoder {self.encoder} takes no views; use a grid of image tokens"
            )
        if self.view_outline and not self.view_projected:
            return "view_outline is part of what views show where points fall: it needs view_projected"
        if self.see_inside == "predicted" and not self.segmenter:
            return "see_inside predicted needs segmenter, the checkpoint that predicts masks"
        if self.crop_jitter and not self.crop:
            return "crop_jitter varies cut images: it needs crop"
        if self.crop and self.workers and not self.cache_mib and not self.encoder_cache:
            return "crop without cache_mib or encoder_cache: images that threads decode cannot be cut"
        if self.view_fusion == "causal" and self.model == "two_stream":
            return "view_fusion causal: `two_stream` takes tokens or state"
        if self.view_cells != math.isqrt(self.view_cells) ** 2:
            return f"view_cells {self.view_cells} must be a square number"
        return None
