"""dataset.json: what a dataset is and how to make it again. Its type and its reader.

`pipeline.output.record` writes it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fuse.dataset import storage
from fuse.dataset.layout import Layout
from fuse.dataset.names import brief
from render.failures import UserError

SCHEMA_VERSION = 1
_MOST = 1 << 24  # bytes
Count = Annotated[int, Field(ge=0, lt=2**63)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StageRecord(_Part):
    """The configuration that a stage's results have."""

    config: dict[str, Any]
    """As the stage's own model dumps it; validated by that model where it is used."""
    config_hash: str


class StageTotals(_Part):
    """Models of one stage."""

    ok: Count
    failed: dict[str, Count]
    """By class."""


class CloudTotals(_Part):
    """What the manifest's shards hold together."""

    shards: Count
    rows: Count
    bytes: Count


class Totals(_Part):
    """Counts of what was done; None for what was not."""

    render: StageTotals | None = None
    fuse: StageTotals | None = None
    clouds: CloudTotals | None = None


class Description(_Part):
    """dataset.json."""

    schema_version: Literal[1] = SCHEMA_VERSION
    stages: dict[Literal["render", "fuse"], StageRecord] = Field(default_factory=dict)
    seeds: dict[Literal["render", "fuse"], Seed] = Field(default_factory=dict)
    totals: Totals = Totals()
    versions: dict[str, str] = Field(default_factory=dict)


def read_description(layout: Layout) -> Description:
    """dataset.json; an empty description where there is none yet. UserError where it is damaged."""
    try:
        return Description.model_validate_json(storage.read_bytes(layout.dataset, _MOST))
    except FileNotFoundError:
        return Description()
    except ValidationError as error:
        reason = f"not the description of a dataset ({brief(error)})"
        raise UserError(f"{layout.dataset}: {reason}. Restore it, or name another dataset.") from None
