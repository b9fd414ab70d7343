"""What a curation decided of each model: OUT/curation/decisions.parquet, beside the shards.

    decided = read_decisions(layout)             # uid -> Decision; empty where nobody has curated
    weight = weight_of(decided, uid, own)        # what the loader samples by

`pipeline.curate` writes the file, the trainer's loader, the report and the card read it. Deleting it undoes
the curation: every row has its own weight again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from fuse.dataset import storage, tables
from fuse.dataset.layout import Layout

SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("weight", pa.float32(), nullable=False),
        pa.field("own_weight", pa.float32(), nullable=False),
        pa.field("bucket", pa.string()),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("cluster", pa.int32()),
        pa.field("duplicate_of", pa.string()),
    ]
)


_CLUSTERS = b"insideout.clusters"


@dataclass(frozen=True, slots=True)
class Decision:
    """How often a model is used, and why. Small: a million of them are held at once."""

    uid: str
    weight: float
    """What the loader samples by; 0: never."""
    own_weight: float
    """What the input list said."""
    bucket: str | None
    """None: a rule leaves the model out."""
    rule: str
    """What decided, in one word: `flat`, `duplicate`, `cluster`, ..."""
    reason: str
    """The same with the numbers, for people."""
    cluster: int | None
    duplicate_of: str | None

    @property
    def kept(self) -> bool:
        """Whether training sees the model at all."""
        return self.weight > 0


Decisions = Mapping[str, Decision]


def weight_of(decided: Decisions, uid: str, own: float) -> float:
    """The model's weight: as decided, or its own where it came after the curation."""
    return decided[uid].weight if uid in decided else own


@dataclass(frozen=True)
class Curation:
    """All decisions, and what each cluster shows."""

    decided: dict[str, Decision] = field(default_factory=dict)
    """By uid."""
    clusters: dict[int, str] = field(default_factory=dict)
    """A few words per cluster."""


def read_decisions(layout: Layout) -> dict[str, Decision]:
    """Every decision by uid; none where nobody has curated. UserError for a damaged file."""
    return read_curation(layout).decided


def read_curation(layout: Layout) -> Curation:
    """Decisions and clusters; none where nobody has curated. UserError for a damaged file."""
    problem, remedy = "not a curation's decisions", "Run `insideout curate` again."
    try:
        with (
            tables.readable(layout.decisions, problem, remedy),
            storage.open_file(layout.decisions) as file,
        ):
            table = tables.required(pq.read_table(file, page_checksum_verification=True), SCHEMA)
            words = json.loads((pq.read_schema(file).metadata or {}).get(_CLUSTERS, b"{}"))
            clusters = {int(number): str(text) for number, text in words.items()}
            decided = {row["uid"]: Decision(**row) for row in table.select(SCHEMA.names).to_pylist()}
            for one in decided.values():
                if not 0 <= one.weight < math.inf:
                    raise ValueError(f"{one.uid} has weight {one.weight}")
    except FileNotFoundError:
        return Curation()
    return Curation(decided, clusters)


def decisions_digest(layout: Layout) -> str:
    """A hash that changes with the decisions; empty where there are none."""
    try:
        return hashlib.sha256(storage.read_bytes(layout.decisions)).hexdigest()
    except FileNotFoundError:
        return ""


def write_decisions(layout: Layout, decided: Sequence[Decision], clusters: Mapping[int, str]) -> None:
    """Replace the decisions and the words of the clusters, atomically. The bytes depend on them alone."""
    rows = [asdict(one) for one in sorted(decided, key=lambda one: one.uid)]
    schema = SCHEMA.with_metadata({_CLUSTERS: json.dumps(dict(clusters))})
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema), sink, compression="zstd", write_page_checksum=True)
    storage.publish_bytes(sink.getvalue().to_pybytes(), layout.decisions, layout.temporary)
