"""What is kept of the views that an object was shown: in memory, and in a file to go on from later.

    torch.save(session.state.record(), "chair.state")               # `training.generator.Session`
    state = read_state(Path("chair.state"), like, device)

A file holds plain tensors and values (it loads with `weights_only=True`): `version`, `model`, `views`,
`posed` and, by name, `tensors`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from render.failures import UserError
from training.conditioning.frames import Frame
from training.networks.torch_files import load_tensors
from training.objectives.condition import Condition

VERSION = 1
"""The format of the files."""
FRAME = ("rotation", "origin", "scale")
PIXELS = "seen pixels"
"""In a file they are bytes, as they were in the picture."""


@dataclass
class ViewState:
    """One object's views as a network keeps them; all tensors have a batch axis of 1."""

    model: str
    """Whose state it is: the fingerprint of the network and its encoder."""
    views: int = 0
    posed: bool = True
    """Whether the first view had a camera."""
    base: Condition = field(default_factory=dict)
    """An upsampler's `low_res`, in the network's frame."""
    seen: Condition = field(default_factory=dict)
    """What the network takes of each view, (1, V, ...)."""
    memories: list[Tensor] = field(default_factory=list)
    """What the network has made of the views, and of as many blank ones, for guidance; or nothing."""
    first: Frame | None = None
    """The frame of the first view, for `frame: first_view`."""

    @property
    def frame(self) -> Frame | None:
        """From which clouds are turned back to the object's; None: the network's is that of the clouds."""
        return self.first if self.posed else None

    def add(self, shown: Condition) -> None:
        """Keep what a further view shows, (1, 1, ...) each."""
        before = self.seen or {name: value[:, :0] for name, value in shown.items()}
        self.seen = {name: torch.cat([before[name], value], 1) for name, value in shown.items()}
        self.views += 1

    def record(self) -> dict[str, Any]:
        """Plain values, and tensors on the CPU, for a file."""
        tensors = {name: value.cpu() for name, value in self._tensors().items()}
        if PIXELS in tensors:
            tensors[PIXELS] = (tensors[PIXELS] * 255).round().byte()
        plain = {"model": self.model, "views": self.views, "posed": self.posed}
        return {"version": VERSION, **plain, "tensors": tensors}

    def shapes(self, views: int) -> dict[str, tuple[torch.dtype, list[int]]]:
        """Type and shape of every tensor of such a state with so many views, in a file."""
        result = {}
        for name, value in self._tensors().items():
            shape = list(value.shape)
            if name.startswith("seen"):
                shape[1] = views
            elif name.startswith("memory") and value.dim() == 6:  # keys and values of all tokens
                shape[4] = shape[4] // self.views * views
            result[name] = torch.uint8 if name == PIXELS else value.dtype, shape
        return result

    def _tensors(self) -> dict[str, Tensor]:
        found = {f"base {name}": value for name, value in self.base.items()}
        found |= {f"seen {name}": value for name, value in self.seen.items()}
        found |= {f"memory {index}": value for index, value in enumerate(self.memories)}
        return found | ({} if self.first is None else {f"first {n}": getattr(self.first, n) for n in FRAME})


def read_state(path: Path, like: ViewState, device: torch.device) -> ViewState:
    """The state in a file. UserError if it is damaged, or not this model's.

    `like` is a state of the same model, which says what belongs in one.
    """
    record = load_tensors(path, device)
    if not isinstance(record, dict) or record.get("version") != VERSION:
        raise UserError(f"{path}: not a state of views that this version reads. Begin another one.")
    if record.get("model") != like.model:
        raise UserError(f"{path}: the state of another model. Give its checkpoint, or begin another one.")
    views, posed, tensors = (record.get(name) for name in ("views", "posed", "tensors"))
    if not (
        (isinstance(views, int) and 0 < views < 2**20)
        and isinstance(posed, bool)
        and (isinstance(tensors, dict) and _shapes(tensors) == like.shapes(views))
    ):
        raise UserError(
            f"{path}: not what this model keeps of views in this precision. Give the --precision that it was "
            "begun with, or begin another one."
        )
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise UserError(f"{path}: holds numbers that are NaN or infinite. Begin another one.")
    if PIXELS in tensors:
        tensors[PIXELS] = tensors[PIXELS].float() / 255

    def of(kind: str) -> Condition:
        return {name.partition(" ")[2]: v for name, v in tensors.items() if name.startswith(f"{kind} ")}

    memories, first = of("memory"), of("first")
    return ViewState(
        like.model,
        views,
        posed,
        of("base"),
        of("seen"),
        [memories[str(index)] for index in range(len(memories))],
        Frame(**first) if first else None,
    )


def _shapes(tensors: dict[Any, Any]) -> dict[Any, Any]:
    return {
        name: (value.dtype, list(value.shape)) if isinstance(value, Tensor) else None
        for name, value in tensors.items()
    }
