"""The train stage's configuration: YAML section `train`, command-line flags and the record in one place.

The defaults are the tiny recipe that a laptop's processor runs in minutes; Point-E's own 40 M parameter model
is width 512, layers 12, heads 8, lr 1e-4, batch 64.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class TrainConfig(BaseModel):
    """How a model is trained on cloud shards."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    steps: int = Field(default=3000, ge=1)
    """Optimiser steps."""
    batch: int = Field(default=16, ge=1)
    """Clouds a step."""
    points: int = Field(default=1024, ge=16)
    """A cloud is this many first rows of a shard's row: a farthest-point sample of the model."""
    step_points: int = Field(default=128, ge=0)
    """Points of each cloud that one step sees, drawn afresh every time; 0: all. Steps cost less, clouds are
    still sampled with any number of points, because the network does not know how many there are."""
    target: Literal["rgb", "albedo"] = "rgb"
    """Which colour a point has: as lit, or the material's own."""
    split: str = "train"
    """The rows to train on, by the shards' `split` column."""
    prediction: Literal["epsilon", "v"] = "v"
    """What the network predicts: the noise, as Point-E, or the velocity, learnt in far fewer steps."""
    views: int = Field(default=0, ge=0)
    """Condition on the first so many views of a model; 0: on all of them. A step shows one."""

    encoder: Literal["efficientnet_lite0"] = "efficientnet_lite0"
    """The frozen network that turns an image into tokens."""
    image_size: int = Field(default=224, ge=32)
    """Side of the image that the encoder sees, in pixels."""
    cond_drop: float = Field(default=0.1, ge=0, lt=1)
    """Share of the samples whose image is withheld, so that sampling can be guided."""
    cache_mib: float = Field(default=512, ge=0)
    """Memory for encoded images. A small data set is encoded once."""

    width: int = Field(default=128, ge=8)
    """Width of the transformer."""
    layers: int = Field(default=6, ge=1)
    """Blocks of the transformer."""
    heads: int = Field(default=2, ge=1)
    """Attention heads; Point-E's are 64 wide."""

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
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic inside the network. `auto` takes bfloat16 where the hardware has it, twice as fast."""
    threads: int = Field(default=0, ge=0)
    """Cores for the arithmetic on a CPU; 0: what PyTorch chooses."""
    workers: int = Field(default=0, ge=0)
    """Loader processes. The order of the data does not depend on it."""
    window: int = Field(default=4, ge=1)
    """Row groups whose rows are shuffled together."""
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between checkpoints; one more is written at the end."""
    keep: int = Field(default=3, ge=1)
    """Checkpoints to keep."""
    log_every: int = Field(default=20, ge=1)
    """Steps between progress lines."""

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of twice the heads, {2 * self.heads}")
        if self.step_points > self.points:
            raise ValueError(f"step_points {self.step_points} cannot exceed points {self.points}")
        return self
