"""Every model measured once: OUT/curation/measures/part-NNNNN.parquet, one file per shard.

    survey(layout, encoder, views=4)
    table = measured.read_survey(layout, ["uid", "thinnest"])

A file states in its footer what it was made of (the shard's hash, the encoder, the views): a survey that was
killed continues, and one of a dataset that has grown measures the new shards only. Row groups are read one at
a time, so memory does not grow with the dataset.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuse.dataset import storage
from fuse.dataset.decisions import read_decisions
from fuse.dataset.layout import Layout, part_number
from fuse.dataset.manifest import Part, read_manifest
from fuse.dataset.shard import Row, Shard, decode, image_column
from fuse.dataset.splits import PROBE
from fuse.dataset.tables import required
from fuse.preview.thumbs import best_view, webp
from pipeline.curate.features import features
from pipeline.curate.measured import COPIED, QUALITY, SCHEMA, whole
from pipeline.curate.measures import measure
from render.bundle import Bundle, BundleError
from training.conditioning.encoder import Encoder

VERSION = 1
"""Of what is measured: another one measures all again."""
_MADE_OF = "insideout.made_of"


def survey(
    layout: Layout, encoder: Encoder, views: int, say: Callable[[str], None] = lambda text: None
) -> None:
    """Measure the shards that are not measured yet; remove what was measured of shards that are gone."""
    parts = read_manifest(layout.clouds)
    for number, part in enumerate(parts, start=1):
        made_of = json.dumps([VERSION, part.sha256, encoder.identity, views])
        if _made_of(layout, part) != made_of:
            _survey_part(layout, part, encoder, views, made_of)
            say(f"curate: measured {part.file} {number}/{len(parts)}")
    named = {part.file for part in parts}
    files = {entry.name for entry in storage.listing(layout.measures)}
    gone = [name for name in files - named if part_number(name) is not None]
    storage.remove([layout.measures / name for name in gone])


def carry(layout: Layout, old: Part, new: Part) -> None:
    """Keep what was measured of a shard for a new one with some of its rows, in the same order."""
    with whole(layout.measures / old.file):
        made_of = json.loads(_made_of(layout, old) or "null")
        if made_of is None or made_of[1] != old.sha256:
            return
    with Shard(layout.shard(new.file)) as shard:
        uids = set(shard.uids())
    with (
        whole(layout.measures / old.file),
        storage.open_file(layout.measures / old.file) as file,
        storage.writing(layout.measures / new.file, layout.temporary) as path,
        _writer(path, json.dumps([made_of[0], new.sha256, *made_of[2:]])) as writer,
    ):
        reader = pq.ParquetFile(file, page_checksum_verification=True)
        for group in range(reader.num_row_groups):
            table = required(reader.read_row_group(group), SCHEMA)
            kept = [uid in uids for uid in table["uid"].to_pylist()]
            writer.write_table(table.filter(pa.array(kept)))


def _made_of(layout: Layout, part: Part) -> str | None:
    """What the shard's measures were made of; None where there are none that can be read."""
    try:
        with storage.open_file(layout.measures / part.file) as file:
            metadata = pq.read_metadata(file).metadata or {}
            return metadata.get(_MADE_OF.encode(), b"").decode()
    except (pa.ArrowException, OSError, ValueError):
        return None


def _survey_part(layout: Layout, part: Part, encoder: Encoder, views: int, made_of: str) -> None:
    with (
        Shard(layout.shard(part.file)) as shard,
        storage.writing(layout.measures / part.file, layout.temporary) as path,
        _writer(path, made_of) as writer,
    ):
        decided = read_decisions(layout) if shard.curated else {}  # its rows' weights are not their own
        own = {uid: one.own_weight for uid, one in decided.items()}
        for group in range(shard.row_groups):
            writer.write_table(_survey_group(layout, shard, group, encoder, views, own))


@contextlib.contextmanager
def _writer(path: Path, made_of: str) -> Iterator[pq.ParquetWriter]:
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", write_page_checksum=True) as writer:
        yield writer
        writer.add_key_value_metadata({_MADE_OF: made_of})


def _survey_group(
    layout: Layout, shard: Shard, group: int, encoder: Encoder, views: int, own: Mapping[str, float]
) -> pa.Table:
    chosen = [image_column(int(view)) for view in evenly(shard.views, views)]
    columns = [*COPIED, "scale", "quality", "cameras", "outside_xyz", "outside_albedo", *chosen]
    rows = list(shard.rows(columns, [group]))
    vectors = features([[row[name] for name in chosen] for row in rows], encoder)
    measured = [_measured(layout, row, chosen) for row in rows]
    for row in measured:
        row["weight"] = own.get(row["uid"], row["weight"])
    for row, vector in zip(measured, vectors, strict=True):
        row["feature"] = vector.tobytes()
    return pa.Table.from_pylist(measured, SCHEMA)


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` views, evenly spread over their order."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(count, most)).round()})


def _measured(layout: Layout, row: Row, chosen: Sequence[str]) -> dict[str, Any]:
    images = [decode(row, name) for name in chosen]
    best = best_view([row["cameras"][int(name.removeprefix("image_"))]["camera_to_world"] for name in chosen])
    return {
        **{name: row[name] for name in COPIED},
        **{name: row["quality"][name] for name in QUALITY},
        **measure(row, images),
        **_bundle_counts(layout, row["uid"]),
        "thinnest": row["quality"]["singular_values"][-1],
        "points": decode(row, "outside_xyz")[:PROBE].astype(np.float16).tobytes(),
        "colors": decode(row, "outside_albedo")[:PROBE].tobytes(),
        "picture": webp(images[best]),
    }


def _bundle_counts(layout: Layout, uid: str) -> dict[str, int | None]:
    """What only the view bundle knows; None where there is no bundle, as in a copy of the shards alone."""
    try:
        with Bundle(layout.bundle(uid)) as bundle:
            meta = bundle.meta
    except BundleError:
        return {"faces": None, "missing_textures": None}
    return {
        "faces": meta.get("counts", {}).get("faces"),
        "missing_textures": len(meta.get("missing_textures") or ()),
    }
