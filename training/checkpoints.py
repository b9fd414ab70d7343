"""Checkpoints: `checkpoints/RUN/step-0000500.pt`, written atomically; the newest few and milestones are kept.

`best.pt` is another one, of the step whose clouds were closest to held-out objects.

A checkpoint holds plain tensors and values (it loads with `weights_only=True`): `version`, `step`, `config`,
`encoder` (its identity), `model` and `ema` (state dicts with Point-E's names), `optimizer`, `scaler`,
`loader` and `tally`, the losses since the last line of the log. Noise and data order follow from the seed and
the step, so there is no random state.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from render.failures import UserError
from training.conditioning.encoder import EfficientNetLite0, EfficientNetLite0Fine, Encoder, PooledGrid
from training.conditioning.encoder_cache import CachedEncoder
from training.conditioning.encoder_clip import CLIP_L14, DINO_L14, ClipGrid, ClipImage, ClipText, DinoGrid
from training.conditioning.masks import MaskPredictor
from training.conditioning.shown import ViewReader, ViewUse
from training.config import TrainConfig
from training.networks import point_e
from training.networks.merging import MergeTransformer
from training.networks.point_e import assemble
from training.networks.scoring import PointScorer
from training.networks.torch_files import TorchFileError, load_tensors
from training.networks.transformer import PointTransformer, Shape
from training.networks.two_stream import TwoStreamTransformer
from training.networks.upsampling import NearUpsampleTransformer
from training.networks.views import ViewShape
from training.objectives.diffusion import Diffusion
from training.objectives.flow import Edm, RectifiedFlow
from training.objectives.objective import Objective
from training.objectives.offset import Offset
from training.objectives.select import Select
from training.output.model_folder import is_model, read_model
from training.segmentation.head import InteriorHead, ViewHead
from training.segmentation.interiors import Interiors
from training.segmentation.layered import Layered, LayerHead

VERSION = 1
"""The format of checkpoints: 0 had no version and no encoder."""
NAME = re.compile(r"step-(\d+)\.pt")
_UNFINISHED = re.compile(r"\.(step-\d{7,}|best)\.pt\.\d+")
BEST = "best.pt"
"""The checkpoint with the best score."""


CloudModel = PointTransformer | TwoStreamTransformer | PointScorer
Network = CloudModel | ViewHead


class CheckpointError(UserError):
    """A checkpoint that cannot be used; the message names the file and the remedy."""


def save(folder: Path, state: dict[str, Any], keep: int, milestones: int = 0) -> Path:
    """Commit `state` under its step; delete all but the newest `keep` and every `milestones`-th step's."""
    path = write(folder / f"step-{state['step']:07d}.pt", state)
    for old in found(folder)[:-keep]:
        if not milestones or step_of(old) % milestones:
            old.unlink()
    return path


def write(path: Path, state: dict[str, Any]) -> Path:
    """Commit a checkpoint: temporary name, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return path


def found(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted((path for path in folder.glob("step-*.pt") if NAME.fullmatch(path.name)), key=step_of)


def step_of(path: Path) -> int:
    """The step of a checkpoint file."""
    match = NAME.fullmatch(path.name)
    assert match, path
    return int(match[1])


def remove_unfinished(folder: Path) -> None:
    """Delete what a killed process was writing; for the process that has locked the run."""
    for path in folder.iterdir():
        if _UNFINISHED.fullmatch(path.name):
            path.unlink()


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A checkpoint file, the newest one of a run's folder, or an exported model. Raises CheckpointError."""
    state = read_model(path, device) if is_model(path) else read(newest(path), device)
    if not isinstance(state, dict) or not {"step", "config", "ema"} <= set(state):
        raise CheckpointError(
            f"{path}: not a checkpoint of this project: it lacks step, config or ema. Give another."
        )
    version = state.get("version", 0)
    if not isinstance(version, int) or version > VERSION:
        raise CheckpointError(
            f"{path}: written by a newer version of this project (format {version}; this one reads up to "
            f"{VERSION}). Upgrade it."
        )
    return state


def newest(path: Path) -> Path:
    """A checkpoint file itself, or the newest one of a run's folder."""
    if not path.is_dir():
        return path
    if paths := found(path):
        return paths[-1]
    raise CheckpointError(
        f"{path}: no checkpoints in this folder. Give the folder of a run that `insideout train` wrote, "
        "DATASET/checkpoints/RUN."
    )


def read(path: Path, device: torch.device | str = "cpu") -> Any:
    """What a PyTorch file holds. CheckpointError if it is missing, damaged or something else."""
    try:
        return load_tensors(path, device)
    except TorchFileError as error:
        raise CheckpointError(f"{error} Checkpoints are what `insideout train` writes.") from error


def is_own(path: Path) -> bool:
    """Whether a file is one of our checkpoints, or a folder, which then is a run's; official ones are not."""
    return path.is_dir() or "config" in read(path)


def config_of(state: dict[str, Any], path: Path) -> TrainConfig:
    """The configuration in a checkpoint; settings that only older versions had are ignored."""
    settings = state["config"] if isinstance(state["config"], dict) else {}
    if state.get("version", 0) < VERSION:
        settings = {name: value for name, value in settings.items() if name in TrainConfig.model_fields}
    try:
        return TrainConfig.model_validate(settings)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors())
        raise CheckpointError(f"{path}: its configuration cannot be used ({wrong}). Train anew.") from error


def build_encoder(config: TrainConfig, device: torch.device | str) -> CachedEncoder:
    """The configuration's frozen encoder, with its cache.

    Raises UserError if the network needs another kind of condition, EncoderError if it cannot be loaded.
    """
    encoder = open_encoder(config, device)
    if (config.model == "vector") != (encoder.cells == 0):
        fit = "clip_image or clip_text" if config.model == "vector" else "an encoder with a grid of tokens"
        raise UserError(f"model {config.model} does not fit encoder {config.encoder}. Use {fit}.")
    if config.view_cells:
        encoder = PooledGrid(encoder, config.view_cells)
    folder = Path(config.encoder_cache) if config.encoder_cache else None
    return CachedEncoder(encoder, config.cache_mib, folder)


def build_reader(
    config: TrainConfig, encoder: CachedEncoder, device: torch.device, segmenter: MaskPredictor | None = None
) -> ViewReader:
    """What turns views into the network's condition."""
    pixels = config.view_projected or not config.samples
    inside = config.see_inside != "none"
    use = ViewUse(config.uses_cameras, pixels, config.crop, config.crop_jitter, inside, config.view_outline)
    return ViewReader(encoder, use, device, segmenter=segmenter)


def build_objective(config: TrainConfig) -> Objective:
    """The configuration's training objective."""
    if not config.samples:
        return Interiors() if config.segments else Layered()
    match config.prediction:
        case "flow":
            return RectifiedFlow()
        case "edm":
            return Edm()
        case "offset":
            return Offset(moved=config.seen)
        case "select":
            return Select(seen=config.seen)
        case prediction:
            return Diffusion(prediction, config.schedule)


def build_network(config: TrainConfig, features: int) -> Network:
    """The untrained network, determined by the seed; `features` is the width of the encoder's tokens."""
    if config.samples:
        return build_model(config, features)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        head = InteriorHead if config.segments else LayerHead
        return head(features, config.width, config.layers)


def build_model(config: TrainConfig, features: int) -> CloudModel:
    """The same for a network that makes clouds."""
    shape = Shape(
        config.width,
        config.layers,
        config.heads,
        channels=config.mix.channels,
        outputs=build_objective(config).outputs,
        qk_norm=config.qk_norm,
        skips=config.long_skips,
        seen=config.seen,
        recompute=config.checkpoint_activations,
        views=view_shape(config),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.prediction == "select":
            return PointScorer(config.mix.channels, config.width, config.layers, config.merge_images)
        if config.model == "two_stream":
            return TwoStreamTransformer(shape, features, config.latents, config.latent_layers)
        if config.model == "merge":
            return MergeTransformer(shape, features if config.merge_images else 0, config.merge_tokens)
        if config.condition_nearest:
            return NearUpsampleTransformer(shape, features, config.condition_tokens)
        assert config.model not in ("segment", "layers"), "see build_network"
        return assemble(config.model, shape, features)


def view_shape(config: TrainConfig) -> ViewShape:
    """What the configuration's network adds for views."""
    tags = config.views_most if config.view_tags else 0
    inside = config.see_inside != "none"
    return ViewShape(
        config.view_rays,
        tags,
        config.view_projected,
        inside,
        config.view_fusion,
        outline=config.view_outline,
        most=config.views_most,
    )


def load_weights(model: nn.Module, path: Path) -> list[str]:
    """`point_e.load_weights`, to be trained, from a file, or the newest checkpoint of a run's folder."""
    return point_e.load_weights(model, newest(path), start=True)


def load_model(
    path: Path, device: torch.device | str = "cpu", encoder_path: str | None = None
) -> tuple[TrainConfig, CloudModel, CachedEncoder]:
    """What sampling needs: the configuration, the model with its mean weights, and the encoder; see
    `load_network`. CheckpointError for one that samples no clouds."""
    config, model, encoder = load_network(path, device, encoder_path)
    if isinstance(model, ViewHead):
        raise CheckpointError(
            f"{path}: of model {config.model}, which samples no clouds. Use `insideout {config.model}`."
        )
    return config, model, encoder


def load_network(
    path: Path, device: torch.device | str = "cpu", encoder_path: str | None = None
) -> tuple[TrainConfig, Network, CachedEncoder]:
    """The configuration, the network with its mean weights, and the encoder of a checkpoint.

    `encoder_path` is where the encoder's weights are, if not where they were in training.
    """
    state = load(path, device)
    config = config_of(state, path)
    if encoder_path:
        config = config.model_copy(update={"encoder_path": encoder_path})
    _require_size(config, state["ema"], path)
    unwritten = {"encoder_cache": None}  # a folder that a stranger may have named
    encoder = build_encoder(config.model_copy(update=unwritten), device)
    check_encoder(state, encoder, path)
    model = build_network(config, encoder.features).to(device)
    try:
        model.load_state_dict(state["ema"])
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{path}: its weights do not fit its configuration ({reason}). Give another one."
        ) from error
    return config, model.eval().requires_grad_(False), encoder


def _require_size(config: TrainConfig, weights: Any, path: Path) -> None:
    """CheckpointError where the configuration's network is far larger than the weights that are there."""
    there = sum(value.numel() for value in weights.values()) if is_weights(weights) else 0
    wanted = config.width**2 * config.layers * (1 + config.latent_layers * (config.model == "two_stream"))
    if max(wanted, config.latents * config.width * (config.model == "two_stream")) > there:
        raise CheckpointError(f"{path}: its {there} weights do not fit its configuration. Use another one.")


def fingerprint(model: nn.Module, encoder: CachedEncoder) -> str:
    """Of a network's weights and the encoder that it takes: the same for no other model."""
    digest = hashlib.sha256(encoder.identity.encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def is_weights(value: Any) -> bool:
    """Whether a value of a checkpoint is tensors by name."""
    return isinstance(value, dict) and all(isinstance(one, torch.Tensor) for one in value.values())


def check_encoder(state: dict[str, Any], encoder: CachedEncoder, path: Path) -> None:
    """CheckpointError if the model was trained with another encoder, or other weights of it."""
    trained = state.get("encoder")
    if trained and trained != encoder.identity:
        raise CheckpointError(
            f"{path}: trained with encoder {trained}, but {encoder.identity} was loaded. Give the weights of "
            "training: --encoder-path."
        )


def open_encoder(config: TrainConfig, device: torch.device | str) -> Encoder:
    """The configuration's frozen encoder, without a cache."""
    size, path = config.image_size, config.encoder_path
    match config.encoder:
        case "efficientnet_lite0":
            return EfficientNetLite0(size, device)
        case "efficientnet_lite0_fine":
            return EfficientNetLite0Fine(size, device)
        case "clip_grid":
            return ClipGrid(path or CLIP_L14, size, device)
        case "clip_image":
            return ClipImage(path or CLIP_L14, size, device)
        case "clip_text":
            return ClipText(path or CLIP_L14, device)
        case "dinov2_grid":
            return DinoGrid(path or DINO_L14, size, device)
