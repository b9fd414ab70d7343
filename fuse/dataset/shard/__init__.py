"""The cloud shard: a Parquet file with one row per model.

    for row in read_rows("OUT/clouds/part-00000.parquet", ["uid", "outside_xyz", "image_03"]):
        xyz = decode(row, "outside_xyz")  # (N, 3) float32
        image = decode(row, "image_03")  # (H, W, 4) uint8

Arrays are non-null binary columns whose field metadata names dtype and shape: they are read four times faster
than lists. Pages carry checksums, which every reader here verifies (zstd alone misses a flipped byte). The
bytes of a file depend on its rows only, not on the time or the machine.

May import: pyarrow, numpy, Pillow, `fuse.dataset.layout`, `names` and `storage`; not torch.
Start reading with `schema.py`.
"""

from fuse.dataset.shard.columns import decode, decode_normal, encode_normal, open_png
from fuse.dataset.shard.reading import Shard, read_rows
from fuse.dataset.shard.schema import (
    OPENNESS,
    QUALITY,
    SCHEMA,
    SCHEMA_VERSION,
    Row,
    ShardError,
    image_column,
    interior_column,
    layers_column,
    schema_for,
)
from fuse.dataset.shard.writing import table_of, write_shard

__all__ = [
    "OPENNESS",
    "QUALITY",
    "SCHEMA",
    "SCHEMA_VERSION",
    "Row",
    "Shard",
    "ShardError",
    "decode",
    "decode_normal",
    "encode_normal",
    "image_column",
    "interior_column",
    "layers_column",
    "open_png",
    "read_rows",
    "schema_for",
    "table_of",
    "write_shard",
]
