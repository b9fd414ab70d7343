"""The processes that train together: this one alone, or those of a `torch.distributed` group.

Whoever starts the processes (Ray Train in `pipeline.stages.train`, or torchrun) sets up the group; `train`
only looks it up here. Sums run over a CPU group, because a flag or a loss must not wait for the GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class World:
    """This process's rank among those that train one model."""

    rank: int = 0
    size: int = 1
    _group: Any = None

    @classmethod
    def current(cls) -> World:
        """The current process group, or this process alone."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        group = None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")
        return cls(dist.get_rank(), dist.get_world_size(), group)

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, on the CPU, (N, ...) as given; every process must call it."""
        value = value.detach().cpu().clone()
        if self.size > 1:
            dist.all_reduce(value, group=self._group)
        return value

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return bool(flag) if self.size == 1 else bool(self.sum(torch.tensor([int(flag)])).item())

    def wait(self) -> None:
        """Wait until every process gets here."""
        if self.size > 1:
            dist.barrier(group=self._group)

    def join(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model, with gradients averaged over all processes if there are several."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, [device] if device.type == "cuda" else None)
