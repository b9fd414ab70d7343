"""Point-E's published models by name, and their checkpoints.

    model = build("base40M")                       # sizes, names and parameter counts as published
    load_weights(model, Path("base_40m.pt"))       # an official checkpoint, or the weights of one of ours

The table has every model that OpenAI released; `build` also makes models of other sizes, and with the options
of `transformer.Shape`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from render.failures import UserError
from training.networks.sdf import PointCloudSDF
from training.networks.torch_files import TorchFileError, load_tensors
from training.networks.transformer import (
    ImageGridTransformer,
    ImageVectorTransformer,
    PointDiffusionTransformer,
    PointTransformer,
    Shape,
    UpsampleTransformer,
)
from training.objectives.diffusion import Schedule

Family = Literal["uncond", "vector", "grid", "upsample"]
FAMILIES = ("uncond", "vector", "grid", "upsample")


@dataclass(frozen=True)
class Published:
    """One of OpenAI's models."""

    family: Family
    shape: Shape
    features: int
    """Width of the condition: CLIP's vector or its grid's cells; 0: unconditional."""
    encoder: str
    """The encoder of the condition, by its name in TrainConfig."""
    schedule: Schedule
    points: int
    """Points that it generates; the upsampler's are added to 1,024."""
    parameters: int


_40M, _300M, _1B = Shape(512, 12, 8), Shape(1024, 24, 16), Shape(2048, 24, 32)
PUBLISHED = {
    "base40M-uncond": Published("uncond", _40M, 0, "none", "cosine", 1024, 39_940_108),
    "base40M-textvec": Published("vector", _40M, 768, "clip_text", "cosine", 1024, 40_333_836),
    "base40M-imagevec": Published("vector", _40M, 768, "clip_image", "cosine", 1024, 40_333_836),
    "base40M": Published("grid", _40M, 1024, "clip_grid", "cosine", 1024, 40_466_956),
    "base300M": Published("grid", _300M, 1024, "clip_grid", "cosine", 1024, 311_778_316),
    "base1B": Published("grid", _1B, 1024, "clip_grid", "cosine", 1024, 1_244_311_564),
    "upsample": Published("upsample", _40M, 1024, "clip_grid", "linear", 3072, 40_470_540),
}
SDF_PARAMETERS = 9_481_985


class WeightsError(UserError):
    """Weights that do not fit the model; the message names the file and the remedy."""


def build(name: str, features: int | None = None, **options: Any) -> PointTransformer:
    """An untrained model: a name of `PUBLISHED`, or a family with `options` of `Shape` for its size.

    `features` overrides the width of the condition, `options` anything else of the shape (`channels=7`).
    Raises UserError for an unknown name.
    """
    if name in PUBLISHED:
        known = PUBLISHED[name]
        width = known.features if features is None else features
        return assemble(known.family, replace(known.shape, **options), width)
    if name not in FAMILIES:
        raise UserError(f"{name!r}: unknown model. Choose one of {', '.join([*PUBLISHED, *FAMILIES])}.")
    return assemble(name, Shape(**options), features or 0)


def assemble(family: Family, shape: Shape, features: int) -> PointTransformer:
    """The network of a family; `features` is the width of its condition."""
    match family:
        case "uncond":
            return PointDiffusionTransformer(shape)
        case "vector":
            return ImageVectorTransformer(shape, features)
        case "grid":
            return ImageGridTransformer(shape, features)
        case "upsample":
            return UpsampleTransformer(shape, features)


def build_sdf() -> PointCloudSDF:
    """The published model `sdf`: the signed distance from the surface that 4,096 points sample."""
    return PointCloudSDF(width=256, encoder_layers=8, decoder_layers=4, heads=4)


def load_weights(model: nn.Module, path: Path, start: bool = False) -> list[str]:
    """Fill `model` by name from an official checkpoint, or from one of ours (its mean weights).

    Weights that the file lacks (`qk_norm`, `skips`, `views`, `near`) keep their initial values; their names
    are returned. `start`: it is to be trained, so an upsampler may begin as a base. A seventh channel starts
    at zero beside the file's six. Raises WeightsError where the file cannot be read, has a size that does not
    fit, or has a weight that the model lacks.
    """
    weights = read_weights(path)
    own = model.state_dict()
    if missing := sorted(set(weights) - set(own)):
        raise WeightsError(f"{path}: it has {_some(missing)}, which the model lacks. Choose another model.")
    fitted = {name: _fitted(weights[name], own[name]) for name in weights}
    wrong = [
        f"{name} {tuple(weights[name].shape)} for {tuple(own[name].shape)}"
        for name, value in fitted.items()
        if value.shape != own[name].shape
    ]
    if wrong:
        raise WeightsError(f"{path}: {_some(wrong)}. Choose the model and encoder that it was trained with.")
    new = sorted(set(own) - set(weights))
    if strange := [name for name in new if not _optional(name, start)]:
        raise WeightsError(f"{path}: it lacks {_some(strange)}. Choose another model.")
    model.load_state_dict(fitted, strict=False)
    return new


def read_weights(path: Path) -> dict[str, Tensor]:
    """A file's weights by name, of any shape (A, B, ...); of our own checkpoints, the mean weights."""
    try:
        state = load_tensors(path)
    except TorchFileError as error:
        raise WeightsError(f"{error} Or download it again.") from error
    weights = state.get("ema", state) if isinstance(state, Mapping) else {}
    if (
        not isinstance(weights, Mapping)
        or not weights
        or not all(isinstance(value, Tensor) for value in weights.values())
    ):
        raise WeightsError(f"{path}: no named weights. Give an official checkpoint or one of your own.")
    return dict(weights)


def _fitted(weight: Tensor, own: Tensor) -> Tensor:
    """`weight` with zeros for the channels that only the model has, if nothing else differs."""
    gaps = [
        axis for axis in range(own.dim()) if axis < weight.dim() and weight.shape[axis] != own.shape[axis]
    ]
    if weight.dim() != own.dim() or len(gaps) != 1:
        return weight
    (axis,) = gaps
    parts = {(6, 7): 1, (12, 14): 2}.get((weight.shape[axis], own.shape[axis]), 0)
    if not parts:
        return weight
    halves = [
        torch.cat([half, half.new_zeros(*half.shape[:axis], 1, *half.shape[axis + 1 :])], dim=axis)
        for half in weight.chunk(parts, dim=axis)
    ]
    return torch.cat(halves, dim=axis)


def _optional(name: str, start: bool) -> bool:
    parts = ["backbone.skips.", ".q_norm.", ".k_norm.", "views.", "near."]
    parts += ["cond_point_proj.", "channel_scales", "channel_biases"] if start else []
    return any(part in name for part in parts)


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
