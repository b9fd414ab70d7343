"""What the gallery searches, filters and sorts: a file per column, loaded when it is asked for.

Texts are lists, facets codes into a list of values, measures float32: a measure of 100,000 models is half a
megabyte.
"""

from __future__ import annotations

import collections
import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from fuse.dataset.decisions import Curation, weight_of
from fuse.dataset.layout import Layout
from fuse.dataset.manifest import Part
from fuse.dataset.shard import QUALITY, Shard
from pipeline.report import curation
from pipeline.report.ledgers import Costs
from pipeline.report.scripts import packed

TEXTS = ("uid", "source", "caption")
FACETS = ("split", "format", "category", "license", "solid_method", "cluster")
_COUNTS = ("n_outside", "n_hidden", "n_solid", "weight")
_LONGEST = 200  # characters of a text
_NONE = "none"  # a facet's value where a row has none


@dataclass(frozen=True)
class Column:
    """One value per model, in the order of the shards."""

    name: str
    kind: str
    """text, facet or measure."""
    data: dict[str, Any]


def read_columns(
    layout: Layout, parts: list[Part], costs: dict[str, Costs], curated: Curation
) -> Iterator[Column]:
    """Every column of the dataset. `costs` are the stages' seconds and memory by uid."""
    table = _read(layout, parts)
    if curated.decided:
        table = table.drop_columns(["cluster"])
    uids = table["uid"].to_pylist()
    folders = bytes(hashlib.sha256(uid.encode()).digest()[0] for uid in uids)
    yield Column("folder", "bytes", {"codes": packed(np.frombuffer(folders, np.uint8))})
    for name in TEXTS:
        yield Column(name, "text", {"values": [(text or "")[:_LONGEST] for text in table[name].to_pylist()]})
    found = {name: table[name].to_pylist() for name in FACETS if name in table.column_names}
    found |= curation.facets(curated, uids) if curated.decided else {}
    for name, values in found.items():
        column = _facet(name, [_NONE if value is None else str(value) for value in values])
        if len(column.data["values"]) > 1:
            yield column
    if curated.decided:
        yield Column("reason", "text", {"values": curation.reasons(curated, uids)})
        yield from itertools.chain.from_iterable(
            _measure(name, values) for name, values in curation.measures(layout, uids)
        )
    yield from _quality(table["quality"].combine_chunks())
    for name in _COUNTS:
        values = table[name].to_numpy()
        if name == "weight":
            values = np.array([weight_of(curated.decided, *pair) for pair in zip(uids, values, strict=True)])
        yield from _measure(name, values)
    for stage, cost in costs.items():
        for name, values in cost.columns(uids).items():
            yield from _measure(f"{stage} {name}", values)


def _read(layout: Layout, parts: list[Part]) -> pa.Table:
    """The columns that are no arrays, of every row."""
    names = [*TEXTS, *FACETS, *_COUNTS, "quality"]
    tables = []
    for part in parts:
        with Shard(layout.shard(part.file)) as shard:
            tables += [shard.table(group, names) for group in range(shard.row_groups)]
    return pa.concat_tables(tables)


def _facet(name: str, values: list[str]) -> Column:
    """The most frequent value first."""
    values = [value[:_LONGEST] for value in values]
    counts = collections.Counter(values)
    order = sorted(counts, key=lambda value: (-counts[value], value))
    code = {value: index for index, value in enumerate(order)}
    codes = np.array([code[value] for value in values], np.uint32)
    data = {"values": order, "counts": [counts[value] for value in order], "codes": packed(codes)}
    return Column(name, "facet", data)


def _quality(struct: pa.StructArray) -> Iterator[Column]:
    """Every measure of `quality`, whatever it has; a yes or no is a facet, a list a measure per item."""
    for field in QUALITY:
        values = struct.field(field.name)
        if pa.types.is_boolean(field.type):
            yield _facet(field.name, ["yes" if value else "no" for value in values.to_pylist()])
        elif pa.types.is_fixed_size_list(field.type):
            items = np.asarray(values.flatten()).reshape(-1, field.type.list_size)
            for index in range(items.shape[1]):
                yield from _measure(f"{field.name} {index + 1}", items[:, index])
        else:
            yield from _measure(field.name, np.asarray(values))


def _measure(name: str, values: np.ndarray) -> Iterator[Column]:
    """A measure, unless it is the same for all models. NaN is a model without it."""
    numbers = values.astype(np.float32)
    if len(numbers) and not (numbers == numbers[0]).all() and not np.isnan(numbers).all():
        yield Column(name, "measure", {"numbers": packed(numbers)})
