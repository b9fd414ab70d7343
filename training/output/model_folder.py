"""A model as a folder to share: `model.safetensors`, the mean weights, and `config.json`. Nothing is pickled.

    write_model(Path("model"), state)     # of a checkpoint
    read_model(Path("model"))             # as much of a checkpoint's state as sampling needs

`generate` and `evaluate` take such a folder in place of a run's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from render.failures import UserError

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_KEPT = ("version", "step", "config", "encoder")
"""What is in config.json under the same names as in a checkpoint."""


class ModelFolderError(UserError):
    """A folder that holds no model of ours, or a damaged one."""


def is_model(path: Path) -> bool:
    """Whether a folder is an exported model."""
    return (path / WEIGHTS).is_file()


def write_model(folder: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint's mean weights and what builds the network, into a folder that exists."""
    from safetensors.torch import save_file

    weights = {name: value.detach().cpu().contiguous().clone() for name, value in state["ema"].items()}
    kept = {name: state[name] for name in _KEPT if name in state}
    (folder / CONFIG).write_text(json.dumps({"library_name": "insideout3d", **kept}, indent=1) + "\n")
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def read_model(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """`version`, `step`, `config`, `encoder` and `ema`, the weights, of an exported model."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = json.loads((folder / CONFIG).read_bytes())
        return {name: state[name] for name in _KEPT if name in state} | {
            "ema": load_file(folder / WEIGHTS, device=str(device))
        }
    except (OSError, ValueError, TypeError, RecursionError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelFolderError(
            f"{folder}: not a whole exported model ({reason}). Export it again."
        ) from error
