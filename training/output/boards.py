"""A run's log in the tools that people watch runs with: TensorBoard, and Weights & Biases if asked for.

RUN/*.jsonl stay the record: what a killed process logged beyond its last checkpoint may stay on a board.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from training.config import TrainConfig

_ID = "wandb.id"
"""The run's identity in Weights & Biases: a resumed run goes on in the same one."""


class Boards:
    """The boards that a run's configuration names; `step` is the step that it continues from."""

    def __init__(self, folder: Path, config: TrainConfig, step: int):
        self._tensorboard: Any = None
        self._wandb: Any = None
        if config.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        if config.wandb:
            self._wandb = _open_wandb(folder, config)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add a value to each of several curves."""
        if self._tensorboard:
            for name, value in values.items():
                self._tensorboard.add_scalar(name, value, step)
        if self._wandb:
            self._wandb.log({"step": step, **values})

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Show a picture, (H, W, 3) uint8."""
        if self._tensorboard:
            self._tensorboard.add_image(name, pixels, step, dataformats="HWC")
        if self._wandb:
            import wandb

            self._wandb.log({"step": step, name: wandb.Image(pixels)})

    def close(self) -> None:
        """Flush what is left."""
        if self._tensorboard:
            self._tensorboard.close()
        if self._wandb:
            self._wandb.finish()


def _open_wandb(folder: Path, config: TrainConfig) -> Any:
    """Join or begin the run. Curves are over our step: the board's own may not go back as a run resumes."""
    import wandb

    identity = folder / _ID
    if not identity.exists():
        identity.write_text(secrets.token_hex(4))
    run = wandb.init(
        project=config.wandb,
        name=folder.name,
        id=identity.read_text().strip(),
        resume="allow",
        config=config.model_dump(mode="json"),
        settings=wandb.Settings(silent=True, console="off"),
    )
    run.define_metric("*", step_metric="step")
    return run
