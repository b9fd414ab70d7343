"""The fuse stage's configuration: YAML section `fuse`, command-line flags and the record in one place."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

SPLITS = ("train", "validation", "test")
"""The splits that a row can belong to."""


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
    """Share of the objects whose `split` is `validation`; an object never changes sides."""
    test: float = Field(default=0, ge=0, lt=1)
    """Share of the objects whose `split` is `test`, which training never looks at."""
    shard_rows: int = Field(default=256, ge=1)
    """Rows per shard."""
    row_group_mib: float = Field(default=16, gt=0)
    """Size of a Parquet row group."""

    @model_validator(mode="after")
    def _check(self) -> FuseConfig:
        if self.validation + self.test >= 1:
            raise ValueError(f"validation {self.validation} and test {self.test} leave nothing to train on")
        return self
