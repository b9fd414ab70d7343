"""One training step: add noise, predict, descend, update the mean weights (EMA).

The result is the same on one process or several, at once or in parts (`accumulate`).
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from render.failures import UserError
from training import checkpoints
from training.conditioning.frames import Frame, enter_first
from training.conditioning.masks import Behind
from training.config import TrainConfig
from training.data.loader import Batch
from training.distributed import World
from training.objectives.condition import Condition, withheld
from training.objectives.noise import VALIDATION, StepNoise, step_noise
from training.objectives.objective import Objective
from training.segmentation.segmenter import segmenter_of
from training.segmentation.truth import Truths
from training.settings import Precision

BINS = 4
"""The loss is also logged by quarters of the time distribution, from low to high noise."""


class Learner:
    """The network, its mean weights and the optimizer. `parts` is what a checkpoint stores."""

    def __init__(self, config: TrainConfig, device: torch.device, world: World):
        self.config, self.device, self.world = config, device, world
        self.encoder = checkpoints.build_encoder(config, device) if config.encodes else None
        self.objective: Objective = checkpoints.build_objective(config)
        masks = segmenter_of(config, device, Path(config.segmenter) if config.segmenter else None)
        self.reader = checkpoints.build_reader(config, self.encoder, device, masks) if self.encoder else None
        features = self.encoder.features if self.encoder else 0
        self.truths = Truths() if config.segments else None
        self.model = checkpoints.build_network(config, features).to(device)
        self.ema = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), config.lr, betas=(0.9, 0.99), weight_decay=config.weight_decay
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
        self.parts: dict[str, Any] = {
            "model": self.model,
            "ema": self.ema,
            "optimizer": self.optimizer,
            "scaler": self.scaler,
        }
        if config.compile:
            compile_blocks(self.model)
        self.skipped = 0
        """Steps since the last line of the log that an infinite gradient made void."""
        self._joined = world.join(self.model, device)
        self._type = arithmetic(config.precision, device)

    @property
    def names(self) -> list[str]:
        """The values of `learn` and `judge`, in order: the losses, then the loss by quarter."""
        losses = ["loss", "mse", "vb"] if self.objective.outputs == 2 else ["loss", "mse"]
        return [*losses, *(f"loss_{quarter}" for quarter in range(1, BINS + 1))]

    def learn(self, batch: Batch, step: int) -> Tensor:
        """One optimizer step on this process's part of a batch -> (2, K) float64, see `_tally`."""
        config = self.config
        random = self._noise(batch, step, config.batch, self.world.rank * len(batch.points), config.drop)
        parts = list(_slices(len(batch.points), config.accumulate))
        tally = torch.zeros(2, len(self.names), dtype=torch.float64, device=self.device)
        for part in parts:
            with self._together(last=part is parts[-1]):
                losses = self._losses(self._joined, batch, random, part, learning=True)
                loss = losses["loss"].sum() / len(batch.points)
                self.scaler.scale(loss).backward()
            tally += self._tally(losses, random.quantiles[part])
        self._descend(step)
        return tally

    @torch.no_grad()
    def judge(self, batch: Batch, first: int, count: int) -> Tensor:
        """The mean weights' losses on validation clouds `first`.. of `count`, with fixed noise, (2, K)."""
        random = self._noise(batch, VALIDATION, count, first, 0.0)
        tally = torch.zeros(2, len(self.names), dtype=torch.float64, device=self.device)
        for part in _slices(len(batch.points), -(-len(batch.points) // self.config.batch)):
            losses = self._losses(self.ema, batch, random, part, learning=False)
            tally += self._tally(losses, random.quantiles[part])
        return tally

    def condition(
        self,
        batch: Batch,
        keep: Tensor | None = None,
        posed: Tensor | None = None,
        cuts: Tensor | None = None,
        insides: Tensor | None = None,
    ) -> tuple[Condition, Frame | None]:
        """The network's keyword tensors, each (B, ...), and the frame of the cloud, None: the object's.

        Nothing is shown where `keep`, (B,) bool, is false, and no camera given where `posed`, (B, V), is;
        `cuts` are those of the pictures, see `ViewReader.read`; `insides`, (B,) in [0, 1), choose the masks
        of `see_inside: mixed`, None: predicted ones, or true ones without a segmenter.
        """
        frame = None
        result: Condition = {}
        if self.encoder and self.encoder.takes == "text":
            result["embeddings"] = self.encoder(batch.captions or []).to(self.device)
        elif self.reader:
            behind = self._behind(batch, insides)
            result = self.reader.read(batch.images, batch.cameras, posed, batch.pixels, cuts, behind)
        if self.truths and batch.masks is not None:
            result["truth"] = self.truths.read(batch.masks).to(self.device)
        if batch.low_res is not None:
            result["low_res"] = batch.low_res.to(self.device)
        if batch.clouds is not None and batch.toward is not None:
            result["clouds"] = batch.clouds.to(self.device)
            told = torch.ones(len(batch.toward), 1) if posed is None else posed[:, :1].float()
            result["toward"] = (batch.toward * told[..., None]).to(self.device)
        if self.config.frame == "first_view":
            result, frame = enter_first(result)
        if frame and "low_res" in result:
            result["low_res"] = frame.enter(result["low_res"])
        return result if keep is None else withheld(result, keep), frame

    def _behind(self, batch: Batch, insides: Tensor | None) -> list[list[Behind]] | None:
        """What the network is shown behind the images, B times V."""
        true: list[list[Behind]] = [list(masks) for masks in batch.masks or []]
        predicted: list[list[Behind]] = [["predicted"] * len(shown) for shown in batch.images]
        match self.config.see_inside:
            case "none":
                return None
            case "true":
                return true
            case "predicted":
                return predicted
            case "mixed":
                nothing: list[list[Behind]] = [[None] * len(shown) for shown in batch.images]
                ways = [predicted, true, nothing] if self.config.predicts_masks else [true, nothing]
                chosen = [0.0] * len(batch.images) if insides is None else insides.tolist()
                return [ways[int(share * len(ways))][i] for i, share in enumerate(chosen)]

    def autocast(self) -> torch.autocast:
        """The precision of the network's forward pass."""
        return torch.autocast(self.device.type, self._type or torch.bfloat16, enabled=self._type is not None)

    def _noise(self, batch: Batch, step: int, count: int, first: int, drop: float) -> StepNoise:
        low = self.config.condition_points if self.config.condition_noise else 0
        shape = batch.points.shape
        size, views = (shape[0], shape[1], shape[2]), len(batch.images[0])
        return step_noise(self.config.seed, step, count, first, size, drop, low, views)

    def _losses(
        self, model: nn.Module, batch: Batch, random: StepNoise, part: slice, learning: bool
    ) -> dict[str, Tensor]:
        """The losses of some samples, each (B,); for `learning`, with cameras withheld and varied cuts."""
        some, posed = batch.part(part), random.posed(self.config.camera_drop if learning else 0.0)[part]
        cuts = random.cuts[part] if learning else None
        condition, frame = self.condition(some, random.keep[part], posed, cuts, random.insides[part])
        if random.low_noise is not None:
            noise = random.low_noise[part].to(self.device)
            condition["low_res"] = condition["low_res"] + self.config.condition_noise * noise
        t = self.objective.times(random.quantiles[part]).to(self.device)
        points, noise = some.points.to(self.device), random.noise[part].to(self.device)
        if frame:
            points = frame.enter(points)
        with self.autocast():
            return self.objective.losses(model, points, t, noise, **condition)

    def _tally(self, losses: dict[str, Tensor], quantiles: Tensor) -> Tensor:
        """(2, len(names)) float64: sums over the samples, and their number."""
        loss = losses["loss"].detach().double()
        # The quantiles are on the CPU: no wait for the GPU.
        quarter = (quantiles * BINS).long().clamp(max=BINS - 1)
        within = torch.nn.functional.one_hot(quarter, BINS).double().to(loss.device)
        whole = [losses[name].detach().double().sum() for name in self.names[:-BINS]]
        sums = torch.cat([torch.stack(whole), loss @ within])
        counts = torch.cat([loss.new_full((len(whole),), len(loss)), within.sum(0)])
        return torch.stack([sums, counts])

    def _together(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Gradients are exchanged once per step, with the last part."""
        return contextlib.nullcontext() if last or self.world.size == 1 else self._joined.no_sync()  # pyright: ignore[reportCallIssue]

    def _descend(self, step: int) -> None:
        self.optimizer.param_groups[0] |= {
            "lr": learning_rate(self.config, step),
            "weight_decay": self.config.weight_decay,
        }
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        usable = bool(norm.isfinite())  # the same on all processes, whose gradients are averaged
        if usable or self.scaler.is_enabled():  # the scaler skips the step itself, and lowers its scale
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad()
        if usable:
            update_mean(self.ema, self.model, min(self.config.ema, (1 + step) / (10 + step)))
        else:
            self.skipped += 1


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then half a cosine down to `lr_end` of the peak rate."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    share = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * (config.lr_end + (1 - config.lr_end) * (1 + math.cos(math.pi * share)) / 2)


@torch.no_grad()
def update_mean(ema: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the mean weights toward the model's."""
    get_ema_multi_avg_fn(decay)(list(ema.parameters()), list(model.parameters()), None)


def pick_device(device: str) -> torch.device:
    """`cpu`, `cuda` (the current GPU if there are several), or `auto`: a GPU if there is one."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda: PyTorch finds no GPU here. Use cpu or auto.")
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def arithmetic(precision: Precision, device: torch.device) -> torch.dtype | None:
    """The network's precision; None: float32. `auto` is bfloat16 if the hardware supports it."""
    if precision != "auto":
        return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)
    if device.type == "cuda":
        known = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = getattr(torch.cpu, "get_capabilities", dict)()  # missing before PyTorch 2.9
        known = bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return torch.bfloat16 if known else None


def compile_blocks(model: nn.Module) -> None:
    """Compile the repeated blocks in place: names are kept, and all blocks share one compilation."""
    backbone = getattr(model, "backbone", None)
    blocks = backbone.resblocks if backbone is not None else getattr(model, "blocks", ())
    for block in blocks:  # pyright: ignore[reportGeneralTypeIssues]
        block.compile()


def _slices(count: int, parts: int) -> Iterator[slice]:
    """`count` samples in `parts` slices of nearly equal length, none of them empty."""
    parts = min(parts, count)
    for part in range(parts):
        yield slice(part * count // parts, (part + 1) * count // parts)
