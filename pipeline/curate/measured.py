"""What a survey knows of every model: the columns of OUT/curation/measures, and their reader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fuse.dataset import storage
from fuse.dataset.layout import Layout
from fuse.dataset.manifest import read_manifest
from fuse.dataset.tables import readable, required

COPIED = ("uid", "source", "source_sha256", "caption", "category", "license", "split", "weight")
QUALITY = ("hidden_fraction", "spacing", "dense_outside")
OWN_MEASURES = ("coverage", "symmetry", "one_color", "size", "faces", "missing_textures")
MEASURES = ("thinnest", *QUALITY, *OWN_MEASURES)
"""What is measured of every model, partly in the shards too; null where it is unknown."""
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in COPIED[:-1]),
        pa.field("weight", pa.float32()),
        *(pa.field(name, pa.float32()) for name in MEASURES),
        pa.field("points", pa.binary()),  # (PROBE, 3) float16 or fewer
        pa.field("colors", pa.binary()),  # (PROBE, 3) uint8, unlit
        pa.field("feature", pa.binary()),  # (F,) float16
        pa.field("picture", pa.binary()),  # WebP
    ]
)


def read_survey(layout: Layout, columns: Sequence[str]) -> pa.Table:
    """Some columns of every model, in the order of the shards."""
    return pa.concat_tables(batches(layout, columns))


def batches(layout: Layout, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The same, one row group at a time."""
    schema = pa.schema([SCHEMA.field(name) for name in columns])
    for part in read_manifest(layout.clouds):
        path = layout.measures / part.file
        with whole(path), storage.open_file(path) as file:
            reader = pq.ParquetFile(file, page_checksum_verification=True)
            for group in range(reader.num_row_groups):
                yield required(reader.read_row_group(group, columns=list(columns)), schema)


def whole(path: Path) -> AbstractContextManager[None]:
    """A UserError for whatever is wrong with a file of measures, unless it is not there."""
    return readable(path, "not a shard's measures", "Delete it, and run `insideout curate` again.")
