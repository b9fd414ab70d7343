"""A run's folder: config.json, the logs (*.jsonl), the checkpoints, and TensorBoard's copy.

When a run resumes, the logs are truncated to its checkpoint, so they never contain steps that were lost. With
several processes the first one writes, and the values are sums over all of them.
"""

from __future__ import annotations

import json
import math
import operator
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from render.failures import DAMAGE, UserError
from training import checkpoints
from training.config import TrainConfig
from training.data.loader import CloudLoader
from training.distributed import World
from training.learner import Learner, learning_rate
from training.output.boards import Boards
from training.output.logs import read_log

FREE = {
    "steps", "device", "threads", "workers", "accumulate", "checkpoint_every", "keep", "cache_mib",
    "encoder_path", "encoder_cache", "draws", "init_from", "compile", "checkpoint_activations", "tensorboard",
    "wandb",
    "val_every", "score_every", "score_count", "sample_every", "sample_count", "sample_points",
    "sample_steps", "milestones", "batch", "lr", "lr_end", "warmup", "weight_decay", "grad_clip",
}  # fmt: skip
"""Settings that may change within a run: rates, batch, duration, reports and how it is computed."""
SHAPING = ("steps", "lr", "lr_end", "warmup", "weight_decay", "grad_clip")
"""Those whose change alters what is learned; the loader reports its own, the batch."""
LOGS = ("loss", "validation", "score", "changes")


class Diverged(UserError):
    """The loss is NaN or infinite; the message says what to do."""


class Journal:
    """A run's progress and its files. Every process has one and calls the same methods."""

    def __init__(
        self, folder: Path, learner: Learner, loader: CloudLoader, world: World, report: Callable[[str], None]
    ):
        self.folder, self.world, self.report = folder, world, report
        self.config: TrainConfig = learner.config
        self.step = 0
        self._names, self._parts, self._loader = learner.names, learner.parts, loader
        self._learner = learner
        self._tally = torch.zeros(2, len(self._names), dtype=torch.float64, device=learner.device)
        self._began = (time.monotonic(), 0)
        self._boards: Boards | None = None
        self._saved = -1  # the step of the newest checkpoint
        self._best = math.inf  # the lowest score so far

    def start(self, resume: bool) -> None:
        """Load the newest checkpoint, if there is one, and truncate the logs to it."""
        changes: list[str] = []
        if state := resumable(self.folder, self.config, resume):
            changes = self._restore(state)
        self._best = min((line["chamfer"] for line in self._lines("score")), default=math.inf)
        self.world.wait()  # until all have read what the first may replace
        if self.world.first:
            self.folder.mkdir(parents=True, exist_ok=True)
            checkpoints.remove_unfinished(self.folder)
            (self.folder / "config.json").write_text(self.config.model_dump_json(indent=1))
            for name in LOGS:
                self._cut_back(name)
            if changes:
                self._append("changes", {"step": self.step, "changes": changes})
            self._boards = Boards(self.folder, self.config, self.step)
        self._began = (time.monotonic(), self.step)

    def advance(self, tally: Tensor) -> None:
        """Count a step, its `tally` (2, K); log and save when due."""
        self.step += 1
        self._tally += tally
        if self.step % self.config.log_every == 0 or self.step == self.config.steps:
            self._write_losses()
        milestone = self.config.milestones and self.step % self.config.milestones == 0
        if milestone or self.step % self.config.checkpoint_every == 0:
            self.save()

    def save(self) -> Path:
        """Write a checkpoint of this step, unless it exists, and return its path."""
        if self._saved == self.step:
            return checkpoints.found(self.folder)[-1]
        state = self._state()
        if self.world.first:
            checkpoints.save(self.folder, state, self.config.keep, self.config.milestones)
        self.world.wait()
        self._saved = self.step
        return checkpoints.found(self.folder)[-1]

    def score(self, chamfer: float) -> None:
        """Log the mean Chamfer distance of held-out objects; with the lowest so far, write `best.pt`."""
        if chamfer < self._best:
            self._best, state = chamfer, self._state()
            if self.world.first:  # before the line: a kill in between must not leave a score without its file
                checkpoints.write(self.folder / checkpoints.BEST, state)
        if self.world.first:
            self._append("score", {"step": self.step, "chamfer": chamfer})
            self._show({"score/chamfer": chamfer})

    def record(self, name: str, tally: Tensor, **also: float) -> dict[str, float]:
        """Write a line of means to NAME.jsonl and the boards; `tally`, (2, K), sums all processes."""
        means = {
            key: total / count
            for key, total, count in zip(self._names, *tally.tolist(), strict=True)
            if count > 0
        }
        if self.world.first:
            self._append(name, {"step": self.step, **means, **also})
            self._show({f"{name}/{key}": value for key, value in {**means, **also}.items()})
        return means

    def picture(self, name: str, pixels: np.ndarray) -> None:
        """Show a picture, (H, W, 3) uint8, on the boards."""
        if self._boards:
            self._boards.picture(self.step, name, pixels)

    def close(self) -> None:
        """Flush the last lines to disk."""
        if self._boards:
            self._boards.close()

    def _show(self, values: dict[str, float]) -> None:
        if self._boards:
            self._boards.scalars(self.step, values)

    def _write_losses(self) -> None:
        tally, self._tally = self.world.sum(self._tally), torch.zeros_like(self._tally)
        self._check(tally)
        skipped, self._learner.skipped = self._learner.skipped, 0
        means = self.record(
            "loss", tally, lr=learning_rate(self.config, self.step - 1), skipped=float(skipped)
        )
        since, first = self._began
        rate = (self.step - first) / (time.monotonic() - since)
        minutes = (self.config.steps - self.step) / rate / 60
        speed = f"{rate * self.config.batch:.1f} examples/s  ETA {minutes:.1f} min"
        if self.world.first:
            note = f"  {skipped} steps skipped: infinite gradient" if skipped else ""
            self.report(f"step {self.step}/{self.config.steps}  loss {means['loss']:.4f}  {speed}{note}")

    def _state(self) -> dict[str, Any]:
        """What a checkpoint of this step holds. Diverged if that would not be whole."""
        tally = self.world.sum(self._tally)
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts.items()}
        state |= {"version": checkpoints.VERSION, "step": self.step}
        state |= {"config": self.config.model_dump(mode="json"), "encoder": self._encoder_identity()}
        state |= {"loader": self._loader.state_dict(), "tally": tally.tolist()}
        self._check(tally)
        self._check_weights()
        return state

    def _check(self, tally: Tensor) -> None:
        if not torch.isfinite(tally[0, 0]):
            raise self._diverged("the loss is")

    def _check_weights(self) -> None:
        for name in ("model", "ema"):
            values = self._parts[name].state_dict().values()
            if not all(bool(value.isfinite().all()) for value in values):
                raise self._diverged(f"weights ({name}) are")

    def _diverged(self, what: str) -> Diverged:
        return Diverged(
            f"{self.folder}: {what} NaN or infinite before step {self.step}. The last checkpoint is good. "
            "Lower lr, lengthen warmup or turn on qk_norm, under a new run name."
        )

    def _encoder_identity(self) -> str | None:
        return self._learner.encoder.identity if self._learner.encoder else None

    def _restore(self, state: dict[str, Any]) -> list[str]:
        """Continue from a checkpoint; returns what has changed since, in words. CheckpointError if it is
        damaged, or does not fit."""
        try:
            return self._restored(state)
        except checkpoints.CheckpointError:
            raise
        except UserError as error:
            raise checkpoints.CheckpointError(f"{self.folder}: {error}") from error
        except DAMAGE as error:
            reason = " ".join(str(error).split())[:300]
            raise checkpoints.CheckpointError(
                f"{self.folder}: its newest checkpoint is damaged ({type(error).__name__}: {reason}). Delete "
                "that file to continue from the one before, or choose another run name."
            ) from error

    def _restored(self, state: dict[str, Any]) -> list[str]:
        if self._learner.encoder:
            checkpoints.check_encoder(state, self._learner.encoder, self.folder)
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        for weight, moments in self._learner.optimizer.state.items():
            if not weight.shape == moments["exp_avg"].shape == moments["exp_avg_sq"].shape:
                raise ValueError("the optimizer's moments are not of the weights' shapes")
        before = checkpoints.config_of(state, self.folder)
        values = ((name, getattr(before, name), getattr(self.config, name)) for name in SHAPING)
        changes = [f"{name} {old} before, {new} now" for name, old, new in values if old != new]
        changes += self._loader.load_state_dict(state["loader"])
        for change in changes:
            self.report(f"resuming although {change}")
        self.step = self._saved = operator.index(state["step"])
        if self.world.first:  # the checkpoint holds the sum over all
            self._tally += torch.tensor(state["tally"], dtype=torch.float64, device=self._tally.device)
        return changes

    def _append(self, name: str, line: dict[str, Any]) -> None:
        with (self.folder / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _lines(self, name: str) -> Iterator[dict[str, Any]]:
        """The lines of a log up to the checkpoint's step."""
        last = self.step - 1 if name == "changes" else self.step  # a change is logged as the run resumes
        return read_log(self.folder / f"{name}.jsonl", last)

    def _cut_back(self, name: str) -> None:
        """Keep the lines up to the checkpoint's step."""
        log = self.folder / f"{name}.jsonl"
        if log.exists():
            temporary = log.with_name(f".{log.name}")
            temporary.write_text("".join(f"{json.dumps(line)}\n" for line in self._lines(name)))
            temporary.replace(log)


def resumable(folder: Path, config: TrainConfig, resume: bool = True) -> dict[str, Any] | None:
    """A run's newest checkpoint, None if it has none. CheckpointError if the run cannot resume."""
    if not checkpoints.found(folder):
        return None
    if not resume:
        raise checkpoints.CheckpointError(
            f"{folder}: this run exists. Resume it, choose another name or delete the folder."
        )
    state = checkpoints.load(folder)
    before = checkpoints.config_of(state, folder)
    if changed := frozen_changes(before, config):
        keys = (f"{name} {getattr(before, name)!r} -> {getattr(config, name)!r}" for name in changed)
        raise checkpoints.CheckpointError(
            f"{folder}: this run was started with another configuration: {', '.join(keys)}. "
            "Use the same one, or another run name (--run)."
        )
    return state


def frozen_changes(before: TrainConfig, now: TrainConfig) -> list[str]:
    """The settings that differ although they may not change within a run."""
    names = set(TrainConfig.model_fields) - FREE
    return sorted(name for name in names if getattr(before, name) != getattr(now, name))
