"""The fuse stage's job and record; see `render.job`."""

from __future__ import annotations

from fuse.config import FuseConfig
from render.job import Job, Record


class FuseJob(Job):
    """One view bundle to fuse: the placement's input."""

    config: FuseConfig
    seed: int


class FuseRecord(Record):
    """What one fusion did."""

    n_outside: int
    n_hidden: int
    n_solid: int
    solid_method: str
    dense_outside: int
    spacing: float
    """Median distance of an outside point to its nearest neighbor, normalized units."""
