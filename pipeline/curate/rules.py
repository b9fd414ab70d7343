"""The rules of a curation: OUT/curation/rules.yaml, which a person edits after looking at the sheets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fuse.dataset import storage
from fuse.dataset.layout import Layout
from pipeline.config import explain
from render.failures import DAMAGE, UserError, printable

Flag = Literal["missing_textures", "one_color", "outlier"]


class Rules(BaseModel):
    """What a model's weight follows from. The first rule that applies decides: a model by name, its license,
    flat, duplicate; then the lightest of its cluster's bucket and its flags' buckets."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    flat: float = Field(default=0.01, ge=0)
    """Leave out models whose cloud's smallest singular value is below this: the thickness of its thinnest
    direction (standard deviation) where the longest side is 2. A slab of 1 % of its side has 0.01."""
    duplicates: bool = True
    """Keep one model of each group of near-duplicates."""
    similar: float = Field(default=0.93, ge=0, le=1)
    """Near-duplicates look alike: their features' cosine is at least this."""
    spacings: float = Field(default=0.6, gt=0)
    """And their surfaces agree: their clouds' distance, in spacings of 512 points, is at most this, turned by
    a quarter or half about the vertical if need be. Two samples of one surface have 0.39 to 0.50."""
    levels: float = Field(default=40, ge=0)
    """And their colors: the unlit colors of nearest points differ by at most this, of 255, on average."""
    require_license: bool = False
    """Leave out models whose license is unknown."""
    outlier: float = Field(default=6, ge=0)
    """Flag a model whose size, faces, hidden area or points are this many standard deviations (estimated from
    the median deviation, on a log scale for sizes and counts) from the median. 0: never."""
    balance: float = Field(default=0, ge=0, le=1)
    """How far small clusters are lifted: 0, a cluster counts by its models; 1, all clusters the same."""
    buckets: dict[str, float] = {"good": 1.0, "poor": 0.25, "out": 0.0}
    """Name -> weight of a model in it."""
    default: str = "good"
    """The bucket of clusters that are not named."""
    flags: dict[Flag, str] = {"missing_textures": "poor", "outlier": "good", "one_color": "good"}
    """The bucket of models with a flag."""
    clusters: dict[int, str] = Field(default_factory=dict)
    """Bucket of each cluster."""
    models: dict[str, str] = Field(default_factory=dict)
    """Bucket of single models by uid: stronger than every rule."""

    @model_validator(mode="after")
    def _known_buckets(self) -> Rules:
        named = {self.default, *self.flags.values(), *self.clusters.values(), *self.models.values()}
        if unknown := sorted(named - self.buckets.keys()):
            raise ValueError(f"no bucket {unknown[0]!r}; there are {', '.join(self.buckets)}")
        if wrong := [name for name, weight in self.buckets.items() if weight < 0]:
            raise ValueError(f"bucket {wrong[0]}: a weight is 0 or more")
        return self


def read_rules(layout: Layout) -> Rules | None:
    """The dataset's rules; None where there are none yet. UserError names the key that is wrong."""
    try:
        values = yaml.safe_load(storage.read_bytes(layout.rules)) or {}
    except FileNotFoundError:
        return None
    except (yaml.YAMLError, *DAMAGE) as error:
        raise UserError(f"{layout.rules}: not YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(values, dict):
        raise UserError(f"{layout.rules}: expected keys and values, such as `flat: 0.01`.")
    try:
        return Rules.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{layout.rules}: {explain(error, Rules)}") from None


def write_rules(layout: Layout, rules: Rules, clusters: Mapping[int, str]) -> None:
    """Write the rules with a comment for every key and cluster. `clusters` says what each one holds."""
    storage.publish_bytes(as_yaml(rules, clusters).encode(), layout.rules, layout.temporary)


def as_yaml(rules: Rules, clusters: Mapping[int, str]) -> str:
    """The rules as a person would write them."""
    lines = [
        "# Look at curation/clusters/*.jpg, or at the report's page of clusters; move clusters and models",
        "# to buckets here; then run `insideout curate` again. The next training run follows.",
    ]
    for name, field in Rules.model_fields.items():
        lines += ["", *(f"# {line}" for line in (field.description or "").splitlines())]
        if name == "clusters":
            lines.append("clusters:" if clusters else "clusters: {}")
            lines += [
                f"  {number}: {_scalar(rules.clusters.get(number, rules.default))} # {printable(text)}"
                for number, text in clusters.items()
            ]
        else:
            lines += yaml.safe_dump({name: getattr(rules, name)}, sort_keys=False).splitlines()
    return "\n".join(lines) + "\n"


def _scalar(text: str) -> str:
    return yaml.safe_dump(text).partition("\n")[0]
