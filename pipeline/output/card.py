"""OUT/README.md, the dataset card: for people, and in its YAML front matter for Hugging Face.

`datasets.load_dataset(OUT)`, or the same of a repository that OUT was uploaded to, finds the shards and each
column's type there: `image_00`, ... become pictures. Keys: huggingface.co/docs/hub/datasets-cards and
datasets/en/repository_structure.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import yaml

from fuse.dataset.decisions import read_decisions
from fuse.dataset.layout import CONTACT_SHEET, SHARDS, Layout
from fuse.dataset.manifest import read_manifest
from fuse.dataset.shard import SCHEMA, Shard, ShardError, schema_for
from pipeline.output.licenses import License, parse
from render.failures import printable

HEADING = "# An InsideOut dataset"
"""By it a card is known to be ours."""
_MOST_AUTHORS = 500
_MARKUP = re.compile(r"[\\`*\[\]<>|&]")
_SPLIT = "full"  # a shard mixes splits: the column `split` says which row belongs where
_SNIPPET = f'''```python
import numpy as np
from datasets import load_dataset

row = load_dataset("PATH OR REPOSITORY", split="{_SPLIT}")[0]
image = row["image_00"]  # PIL, RGBA
xyz = np.frombuffer(row["outside_xyz"], "<f4").reshape(-1, 3)
rgb = np.frombuffer(row["outside_rgb"], "u1").reshape(-1, 3)
```'''


@dataclass
class ShardFacts:
    """What the card says of the shards beyond their counts."""

    views: int = 0
    licenses: Counter[License] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    """Models that a curation leaves out, by rule."""

    def license_names(self) -> list[str]:
        """The names of the licenses that are known."""
        return sorted({one.name for one in self.licenses if one.name is not None})

    def models_by_license(self) -> dict[str, int]:
        """License name, or `unknown`, -> models, by name."""
        counted: Counter[str] = Counter()
        for one, count in self.licenses.items():
            counted[one.name or "unknown"] += count
        return dict(sorted(counted.items()))


def shard_facts(layout: Layout) -> ShardFacts:
    """Read two small columns of every shard. One that is damaged is left out: `verify` reports it."""
    facts = ShardFacts()
    facts.left_out.update(one.rule for one in read_decisions(layout).values() if not one.kept)
    for part in read_manifest(layout.clouds):
        with contextlib.suppress(ShardError), Shard(layout.shard(part.file)) as shard:
            facts.views = max(facts.views, shard.views)
            for group in range(shard.row_groups):
                columns = shard.table(group, ["license", "split"])
                facts.licenses.update(map(parse, columns["license"].to_pylist()))
                facts.splits.update(columns["split"].to_pylist())
    return facts


def card(record: dict[str, Any], facts: ShardFacts) -> str:
    """The card of the dataset that `record` (dataset.json) describes, as Markdown."""
    totals = record["totals"]
    stages = [stage for stage in totals if stage != "clouds"]
    failures = [(stage, kind, n) for stage in stages for kind, n in totals[stage]["failed"].items()]
    sections = [
        HEADING,
        "Views and colored point clouds of 3D models. `views/` has one bundle per model (a NeRF dataset when "
        "unzipped), `clouds/` Parquet shards with one row per model, `ledger/` what happened to each model, "
        "and `dataset.json` everything needed to make the dataset again.",
        "## Counts",
        table(("stage", "ok", "failed"), [_counts(stage, totals) for stage in stages]),
        *_clouds(totals, facts),
        *(["## Failures", table(("stage", "class", "models"), failures)] if failures else []),
        "## Shard columns",
        table(("column", "type"), [(field.name, field.type) for field in SCHEMA]),
        "and PNG bytes, one column per view: `image_00`, ...; `interior_00`, ... (where a surface that no "
        "view sees lies behind the first) and `layers_00`, ... (surfaces along each ray).",
        "## Made with",
        table(("package", "version"), record["versions"].items()),
        "## Configuration",
        f"```json\n{json.dumps(record.get('stages', {}), indent=2, sort_keys=True)}\n```",
    ]
    return _front_matter(totals, facts) + "\n\n".join(sections) + "\n"


def _clouds(totals: dict[str, Any], facts: ShardFacts) -> list[str]:
    """Rows, how to read them, and whose they are; nothing while there are no shards."""
    if "clouds" not in totals:
        return []
    clouds = totals["clouds"]
    splits = ", ".join(f"{rows} {name}" for name, rows in sorted(facts.splits.items()))
    return [
        f"{clouds['rows']} rows ({splits}) in {clouds['shards']} shards, {clouds['bytes']} bytes.",
        f"![Some of the models]({CONTACT_SHEET})",
        *_curation(facts),
        "## Loading",
        _SNIPPET,
        "## Licenses",
        "The models keep the licenses of their authors; `license` and `source` name them in each row.",
        table(("license", "models"), facts.models_by_license().items()),
        *_attribution(facts),
    ]


def _curation(facts: ShardFacts) -> list[str]:
    if not facts.left_out:
        return []
    rules = ", ".join(f"{count} {rule}" for rule, count in sorted(facts.left_out.items()))
    return [f"Left out by the curation, whose weights are in `curation/decisions.parquet`: {rules}."]


def _attribution(facts: ShardFacts) -> list[str]:
    """Whom to credit: authors with their licenses, those of most models first."""
    authors: dict[str, Counter[str]] = defaultdict(Counter)
    for one, count in facts.licenses.items():
        if one.author:
            authors[one.author][one.name or "unknown"] += count
    if not authors:
        return []
    order = sorted(authors, key=lambda author: (-authors[author].total(), author))
    shown = [(author, authors[author]) for author in order[:_MOST_AUTHORS]]
    rows = [(author, names.total(), ", ".join(sorted(names))) for author, names in shown]
    more = len(order) - len(rows)
    rest = [f"And {more} more, in the column `license`."] if more else []
    return ["## Attribution", table(("author", "models", "license"), rows), *rest]


def _front_matter(totals: dict[str, Any], facts: ShardFacts) -> str:
    """The YAML block at the card's head."""
    values: dict[str, Any] = {
        "pretty_name": "InsideOut dataset",
        "tags": ["3d", "point-cloud", "multi-view", "depth"],
        "task_categories": ["image-to-3d"],
    }
    if len(names := facts.license_names()) == 1 and len(facts.models_by_license()) == 1:
        values |= {"license": "other", "license_name": names[0]}
    elif facts.licenses:
        values |= {"license": "other", "license_name": "the-models-own"}
    if "clouds" in totals:
        values["configs"] = [{"config_name": "default", "data_files": [{"split": _SPLIT, "path": SHARDS}]}]
        values["dataset_info"] = {"features": _features(schema_for(facts.views))}
    return f"---\n{yaml.safe_dump(values, sort_keys=False)}---\n\n"


def _features(fields: Iterable[pa.Field]) -> list[dict[str, Any]]:
    """Arrow fields as `dataset_info.features`, in the form that `datasets.Features` writes."""
    return [{"name": each.name, **_feature(each)} for each in fields]


def _feature(each: pa.Field) -> dict[str, Any]:
    kind = each.type
    if (each.metadata or {}).get(b"mime", b"").startswith(b"image/"):
        return {"dtype": "image"}
    if isinstance(kind, pa.StructType):
        return {"struct": _features(kind)}
    if isinstance(kind, pa.FixedSizeListType):
        return {"list": _dtype(kind.value_type), "length": kind.list_size}
    if isinstance(kind, pa.ListType):
        return {"list": _features(kind.value_type)}
    return {"dtype": _dtype(kind)}


def _dtype(kind: pa.DataType) -> str:
    """Arrow prints float32 as `float`, Hugging Face calls it by its width."""
    return "float32" if pa.types.is_float32(kind) else str(kind)


def _counts(stage: str, totals: dict[str, Any]) -> tuple[str, int, int]:
    return stage, totals[stage]["ok"], sum(totals[stage]["failed"].values())


def table(header: tuple[str, ...], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    """One cell; text from a model's metadata neither leaves it nor becomes a link, a picture or markup."""
    return _MARKUP.sub(r"\\\g<0>", printable(str(value)))
