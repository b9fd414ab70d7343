"""Train an image-conditioned point diffusion model on a dataset folder's shards.

    train(TrainConfig(steps=3000), Path("OUT"), run="tiny")   # or: insideout train --out OUT --run tiny

It writes OUT/checkpoints/tiny/: config.json, loss.jsonl and the checkpoints. Started again, it goes on from
the newest checkpoint to the same losses as if it had never stopped: the noise of a step is drawn from (seed,
step), the data from the loader's saved place. Ctrl-C and SIGTERM finish the step and save.
"""

from __future__ import annotations

import copy
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training import checkpoints
from training.config import TrainConfig
from training.diffusion import Diffusion
from training.shards import Batch, CloudLoader

LOSSES = ("loss", "mse", "vb")


def train(
    config: TrainConfig, out: Path, run: str, resume: bool = True, report: Callable[[str], None] = print
) -> Path:
    """Train to `config.steps` and return the last checkpoint. `report` takes the progress lines.

    Raises ShardError where the data cannot be read, CheckpointError where a run of that name cannot be
    resumed or exists and `resume` is off, and KeyboardInterrupt after saving when stopped by a signal.
    """
    folder = out / "checkpoints" / run
    device = pick_device(config)
    if config.threads:
        torch.set_num_threads(config.threads)

    loader = open_loader(config, out)
    encoder = checkpoints.build_encoder(config, device)
    model = checkpoints.build_model(config, encoder.features).to(device)
    ema = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        model.parameters(), config.lr, betas=(0.9, 0.99), weight_decay=config.weight_decay
    )
    trainer = Trainer(config, folder, model, ema, optimizer, loader)
    trainer.start(resume)
    report(describe(config, model, loader, trainer.step, device))

    diffusion = Diffusion(config.prediction)
    with stop_signal() as stopped:
        batches = iter(loader)
        while trainer.step < config.steps and not stopped():
            losses = learn(config, diffusion, encoder, model, optimizer, next(batches), trainer.step, device)
            update_mean(ema, model, min(config.ema, (1 + trainer.step) / (10 + trainer.step)))
            trainer.advance(losses, report)
    path = trainer.save()
    if stopped():
        report(f"stopped at step {trainer.step}; the same command goes on from {path}")
        raise KeyboardInterrupt
    return path


def learn(
    config: TrainConfig,
    diffusion: Diffusion,
    encoder: Callable[[list[bytes]], Tensor],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    step: int,
    device: torch.device,
) -> Tensor:
    """One optimiser step; the batch's mean losses, (3,) in the order of LOSSES."""
    noise, t, keep = (drawn.to(device) for drawn in draw(config, diffusion, batch.points, step))
    grid = encoder(batch.images).to(device) * keep[:, None, None]
    with torch.autocast(device.type, torch.bfloat16, enabled=use_bfloat16(config, device)):
        losses = diffusion.losses(lambda x, t: model(x, t, grid), batch.points.to(device), t, noise)
    optimizer.param_groups[0]["lr"] = learning_rate(config, step)
    optimizer.zero_grad()
    losses["loss"].mean().backward()
    nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
    optimizer.step()
    return torch.stack([losses[name].detach().mean() for name in LOSSES])


def draw(
    config: TrainConfig, diffusion: Diffusion, points: Tensor, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """A step's noise (B, 6, N), times (B,) and which samples keep their image (B,): all from (seed, step).

    The times are evenly spread over the schedule with one random offset, each uniform by itself: the loss
    depends on the time above all, and so varies less (Kingma et al. 2021, arXiv:2107.00630, appendix I).
    """
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    count = len(points)
    noise = torch.randn(points.shape, generator=generator)
    place = (torch.arange(count) + torch.rand(1, generator=generator)) / count
    t = (place[torch.randperm(count, generator=generator)] * len(diffusion)).long()
    return noise, t.clamp(max=len(diffusion) - 1), torch.rand(count, generator=generator) >= config.cond_drop


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then half a cosine down to `lr_end` of the highest rate."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    share = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * (config.lr_end + (1 - config.lr_end) * (1 + math.cos(math.pi * share)) / 2)


@torch.no_grad()
def update_mean(ema: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the running mean of the weights towards the model."""
    for mean, value in zip(ema.parameters(), model.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)


class Trainer:
    """The state of a run: its step, its log and its checkpoints."""

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        model: nn.Module,
        ema: nn.Module,
        optimizer: torch.optim.Optimizer,
        loader: CloudLoader,
    ):
        self.config, self.folder, self.loader = config, folder, loader
        self.step = 0
        self._parts = {"model": model, "ema": ema, "optimizer": optimizer}
        self._recent: list[Tensor] = []
        self._began = (time.monotonic(), 0)

    @property
    def log(self) -> Path:
        return self.folder / "loss.jsonl"

    def start(self, resume: bool) -> None:
        """Take up the newest checkpoint, if there is one, and cut the log back to it."""
        if checkpoints.found(self.folder):
            if not resume:
                raise checkpoints.CheckpointError(
                    f"{self.folder}: this run exists. Resume it, choose another name or delete the folder."
                )
            self._restore(checkpoints.load(self.folder))
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.json").write_text(self.config.model_dump_json(indent=1))
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= self.step]
        self.log.write_text("".join(f"{line}\n" for line in kept))
        self._began = (time.monotonic(), self.step)

    def advance(self, losses: Tensor, report: Callable[[str], None]) -> None:
        """Count a step; log and save when it is time."""
        self.step += 1
        self._recent.append(losses)
        if self.step % self.config.log_every == 0 or self.step == self.config.steps:
            self._write_log(report)
        if self.step % self.config.checkpoint_every == 0:
            self.save()

    def save(self) -> Path:
        """Write a checkpoint of this step."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts.items()}
        state |= {"step": self.step, "config": self.config.model_dump(), "loader": self.loader.state_dict()}
        state |= {"recent": [losses.tolist() for losses in self._recent]}
        return checkpoints.save(self.folder, state, self.config.keep)

    def _restore(self, state: dict[str, Any]) -> None:
        if changed := frozen_changes(TrainConfig.model_validate(state["config"]), self.config):
            raise checkpoints.CheckpointError(
                f"{self.folder}: this run was started with another {', '.join(changed)}. "
                "Give the same configuration, or another run name."
            )
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        self.loader.load_state_dict(state["loader"])
        self.step = state["step"]
        self._recent = [torch.tensor(losses) for losses in state["recent"]]

    def _write_log(self, report: Callable[[str], None]) -> None:
        means = torch.stack([losses.cpu() for losses in self._recent]).mean(0).tolist()
        self._recent = []
        record = {"step": self.step, **dict(zip(LOSSES, means, strict=True))}
        record["lr"] = learning_rate(self.config, self.step - 1)
        with self.log.open("a") as file:
            file.write(json.dumps(record) + "\n")
        since, first = self._began
        rate = (self.step - first) / (time.monotonic() - since)
        minutes = (self.config.steps - self.step) / rate / 60
        speed = f"{rate * self.config.batch:.1f} examples/s  ETA {minutes:.1f} min"
        report(f"step {self.step}/{self.config.steps}  loss {means[0]:.4f}  {speed}")


def open_loader(config: TrainConfig, out: Path) -> CloudLoader:
    """The batches that the configuration asks for."""
    return CloudLoader(
        out / "clouds",
        config.batch,
        points=config.points,
        step_points=config.step_points,
        target=config.target,
        split=config.split,
        views=config.views,
        seed=config.seed,
        window=config.window,
        workers=config.workers,
    )


def frozen_changes(before: TrainConfig, now: TrainConfig) -> list[str]:
    """The settings that differ and may not within a run; those that say how it runs, and how long, may."""
    free = {"steps", "device", "threads", "workers", "checkpoint_every", "keep", "cache_mib"}
    names = set(TrainConfig.model_fields) - free
    return sorted(name for name in names if getattr(before, name) != getattr(now, name))


def pick_device(config: TrainConfig) -> torch.device:
    """The configured device; `auto` is the GPU if there is one."""
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.device)


def use_bfloat16(config: TrainConfig, device: torch.device) -> bool:
    """Whether the network computes in bfloat16; `auto` asks the hardware."""
    if config.precision != "auto":
        return config.precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = getattr(torch.cpu, "get_capabilities", dict)()  # PyTorch before 2.9 cannot tell
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def describe(
    config: TrainConfig, model: nn.Module, loader: CloudLoader, step: int, device: torch.device
) -> str:
    """The line before the first step."""
    size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    arithmetic = "bfloat16" if use_bfloat16(config, device) else "float32"
    start = f"going on from step {step}" if step else "starting"
    plan = f"{config.steps} steps of {config.batch}"
    return f"{start}: {size:.2f} M parameters on {device} in {arithmetic}, {loader.rows} clouds, {plan}"


@contextmanager
def stop_signal() -> Iterator[Callable[[], bool]]:
    """Within, SIGINT and SIGTERM only raise a flag; gives the function that reads it."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag.is_set  # only the main thread may set handlers
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: flag.set()) for number in numbers]
    try:
        yield flag.is_set
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
