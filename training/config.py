"""The train stage's configuration: YAML section `train`, command-line flags and the record in one place.

The defaults are the tiny recipe that a laptop's processor runs in minutes; `configs/` has the others.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.data.point_mix import Mix


class TrainConfig(BaseModel):
    """How a model is trained on cloud shards."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    steps: int = Field(default=3000, ge=1)
    """Optimizer steps."""
    batch: int = Field(default=16, ge=1)
    """Clouds a step, over all processes and parts of it."""
    accumulate: int = Field(default=1, ge=1)
    """Parts that a process computes its share of a step in: less memory, the same step."""

    points_from: Literal["outside", "outside+hidden", "solid"] = "outside"
    """What a cloud is made of. The outside has 6 channels, with hidden points a 7th, the label; solids 3."""
    hidden_share: float | None = Field(default=0.25, gt=0, lt=1)
    """Share of hidden points in `outside+hidden`; None: one farthest-point sampling over both decides."""
    points: int = Field(default=1024, ge=16)
    """A cloud is this many first rows of a shard's row: a farthest-point sample of the model."""
    condition_points: int = Field(default=0, ge=0)
    """For `upsample`: so many first rows are the coarse cloud, the next `points` what is to be drawn."""
    condition_noise: float = Field(default=0, ge=0)
    """For `upsample`: standard deviation of the noise on the coarse cloud; Point-E had none."""
    step_points: int = Field(default=128, ge=0)
    """Points of each cloud that one step sees, drawn afresh every time; 0: all. Steps cost less, clouds are
    still sampled with any number of points, because the network does not know how many there are."""
    target: Literal["rgb", "albedo"] = "rgb"
    """Which color a point has: as lit, or the material's own. Hidden points have only their own."""
    split: str = "train"
    """The rows to train on, by the shards' `split` column."""
    views: int = Field(default=0, ge=0)
    """Condition on the first so many views of a model; 0: on all of them. A step shows one."""

    model: Literal["uncond", "vector", "grid", "upsample", "two_stream"] = "grid"
    """The network: Point-E's, by what conditions it; or `two_stream`, for any number of points."""
    width: int = Field(default=128, ge=8)
    """Width of the transformer."""
    layers: int = Field(default=6, ge=1)
    """Blocks of the transformer."""
    heads: int = Field(default=2, ge=1)
    """Attention heads; Point-E's are 64 wide."""
    latents: int = Field(default=256, ge=1)
    """For `two_stream`: tokens that the points are read into."""
    latent_layers: int = Field(default=4, ge=1)
    """For `two_stream`: layers among the latents in each block."""
    qk_norm: bool = False
    """Normalize queries and keys: stable in bfloat16 at high rates."""
    long_skips: bool = False
    """Connect early blocks with late ones."""
    checkpoint_activations: bool = False
    """Compute activations again in the backward pass: a third more work, far less memory."""
    compile: bool = False
    """Compile the transformer's blocks with torch.compile; pays on a GPU."""
    init_from: str | None = None
    """Begin with these weights: an official checkpoint, one of ours, or a run's folder."""

    prediction: Literal["epsilon", "v", "flow", "edm"] = "v"
    """What the network predicts: the noise, as Point-E, or the velocity, learned in far fewer steps; or the
    direction of a rectified flow, or EDM's mixture."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """Of the noise, for epsilon and v; Point-E's upsampler has `linear`."""

    encoder: Literal["efficientnet_lite0", "clip_grid", "clip_image", "clip_text", "dinov2_grid"] = (
        "efficientnet_lite0"
    )
    """The frozen network that turns an image, or a text, into the condition."""
    encoder_path: str | None = None
    """Its weights: a local folder or a name on the hub; None: the usual one."""
    encoder_cache: str | None = None
    """A folder for encoded images; a later run finds them there."""
    image_size: int = Field(default=224, ge=32)
    """Side of the image that the encoder sees, in pixels."""
    cond_drop: float = Field(default=0.1, ge=0, lt=1)
    """Share of the samples whose image is withheld, so that sampling can be guided."""
    cache_mib: float = Field(default=512, ge=0)
    """Memory for encoded images. A small data set is encoded once."""

    lr: float = Field(default=2e-3, gt=0)
    """Highest learning rate."""
    warmup: int = Field(default=50, ge=0)
    """Steps over which the learning rate rises."""
    lr_end: float = Field(default=0.05, ge=0, le=1)
    """The learning rate falls by a cosine to this share of the highest; 1: it stays."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay."""
    grad_clip: float = Field(default=1.0, gt=0)
    """The gradient's norm is held below this."""
    ema: float = Field(default=0.995, ge=0, lt=1)
    """Decay of the running mean of the weights, which is what sampling uses."""

    seed: int = 0
    """Seeds the weights, the order of the data, the noise and the times."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train. `auto` takes a GPU when there is one."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic inside the network. `auto` takes bfloat16 where the hardware has it, twice as fast; float16,
    for older GPUs, scales the loss."""
    threads: int = Field(default=0, ge=0)
    """Cores for the arithmetic on a CPU; 0: what PyTorch chooses."""
    workers: int = Field(default=0, ge=0)
    """Threads that read and decode ahead. The order of the data does not depend on it."""
    window: int = Field(default=4, ge=1)
    """Row groups whose rows are shuffled together."""
    streams: int = Field(default=1, ge=1)
    """Slices of the data that are read side by side: as many as processes, and none reads another's rows."""

    val_split: str = "validation"
    """The rows to validate on."""
    val_every: int = Field(default=500, ge=0)
    """Steps between validations, of the mean weights, always with the same noise; 0: never."""
    val_clouds: int = Field(default=128, ge=1)
    """Clouds a validation."""
    sample_every: int = Field(default=500, ge=0)
    """Steps between pictures of drawn clouds (RUN/samples); 0: never."""
    sample_count: int = Field(default=4, ge=1)
    """Clouds that are drawn."""
    sample_points: int = Field(default=256, ge=16)
    """Points of a drawn cloud."""
    sample_steps: int = Field(default=12, ge=1)
    """Steps to draw it in."""
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between checkpoints; one more is written at the end."""
    keep: int = Field(default=3, ge=1)
    """Checkpoints to keep."""
    log_every: int = Field(default=20, ge=1)
    """Steps between progress lines."""
    tensorboard: bool = True
    """Write the log for TensorBoard too, into RUN/tensorboard."""

    @property
    def mix(self) -> Mix:
        """What a cloud is made of."""
        return Mix(self.points_from, self.hidden_share)

    @property
    def seen(self) -> int:
        """Points of a cloud that a step sees."""
        return self.step_points or self.points

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of twice the heads, {2 * self.heads}")
        if self.step_points > self.points:
            raise ValueError(f"step_points {self.step_points} cannot exceed points {self.points}")
        if (self.model == "upsample") != (self.condition_points > 0):
            raise ValueError(
                f"model {self.model} with condition_points {self.condition_points}: `upsample`, and no other "
                "model, draws points that continue a coarse cloud"
            )
        if self.points_from == "outside+hidden" and self.target == "rgb":
            raise ValueError(
                "points_from outside+hidden needs target albedo: no light falls on hidden points, and a "
                "cloud of both would mix two meanings of color"
            )
        if self.streams > self.batch or self.accumulate > self.batch:
            raise ValueError(f"streams and accumulate cannot exceed the batch, {self.batch}")
        return self
