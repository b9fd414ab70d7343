"""The processes that train together: this one alone, or those of a `torch.distributed` group.

Ray Train (`pipeline.stages.train`) sets up the group before it calls `train`; under torchrun, `joined` does.
Sums run over a CPU group, because a flag or a loss must not wait for the GPU.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

_TIMEOUT = timedelta(minutes=10)  # for the other processes of a group


@contextmanager
def joined(cuda: bool) -> Iterator[None]:
    """Within, the process group that torchrun asks for, unless there is one, or one process only."""
    if dist.is_initialized() or not dist.is_torchelastic_launched() or os.environ.get("WORLD_SIZE") == "1":
        yield
        return
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo", timeout=_TIMEOUT)
    try:
        yield
    finally:
        leave()


def leave() -> None:
    """Destroy the process group. Call it when no model of the group is in use.

    A model that is joined to the group, even one that only waits for the garbage collector, keeps gloo's
    threads alive; where they meet the interpreter's end, one process in ten aborts (torch 2.13).
    """
    gc.collect()
    dist.destroy_process_group()


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
