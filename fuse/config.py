"""The fuse stage's configuration: YAML section `fuse`, command-line flags and the record in one place."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class FuseConfig(BaseModel):
    """How a view bundle becomes a row of a cloud shard."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    points: int = Field(default=4096, ge=16)
    """Outside points per model, in farthest-point order: every prefix is itself a farthest-point sample."""
    hidden_points: int = Field(default=4096, ge=0)
    """Points per model on surfaces that no outside view can see, in farthest-point order of their own; 0:
    none."""
    solid_points: int = Field(default=4096, ge=0)
    """Points per model inside its solid volume; 0: none."""
    merge: float = Field(default=0.25, gt=0)
    """Points of different views closer than this share of a pixel's footprint are merged."""
    validation: float = Field(default=0.05, ge=0, lt=1)
    """Share of the models whose `split` is `validation`; the uid decides, so a model never changes sides."""
    shard_rows: int = Field(default=256, ge=1)
    """Rows per shard."""
    row_group_mib: float = Field(default=16, gt=0)
    """Size of a Parquet row group."""
