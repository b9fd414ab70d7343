"""The cloud shard: a Parquet file with one row per model. Its schema, its writer and its reader.

    for row in read_rows("OUT/clouds/part-00000.parquet", ["uid", "outside_xyz", "image_03"]):
        xyz = decode(row, "outside_xyz")  # (N, 3) float32
        image = decode(row, "image_03")  # (H, W, 4) uint8

Arrays are non-null binary columns whose field metadata names dtype and shape: they are read four times faster
than lists. Pages carry checksums, which every reader here verifies (zstd alone misses a flipped byte). The
bytes of a file depend on its rows only, not on the time or the machine. Needs pyarrow and numpy, not torch.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fuse.dataset import storage
from fuse.dataset.layout import MANIFEST
from fuse.dataset.names import is_name
from render.failures import UserError, printable
from render.files import NotAFileError

SCHEMA_VERSION = 3
READABLE = (2, 3)
"""Versions that are read: 2 has neither openness nor masks."""
REMEDY = f"Delete it and its line in {MANIFEST}, then run `insideout fuse` again."
Row = dict[str, Any]
_CURATED = "insideout.curated"
_FOOTER = 1 << 26  # bytes of a string, or items of a list, in a shard's footer
_MOST_ROWS = 1 << 20  # of a row group
_MOST_BYTES = 1 << 31  # of a row group, decompressed; ours hold 16 MiB, or one row
_LARGEST_IMAGE = 8192  # pixels across


class ShardError(UserError):
    """A shard that cannot be read or written; the message names the file and the remedy."""


def _array(name: str, dtype: str, shape: str = "[-1, 3]") -> pa.Field:
    return pa.field(name, pa.binary(), nullable=False, metadata={"dtype": dtype, "shape": shape})


def _floats(length: int) -> pa.DataType:
    return pa.list_(pa.field("element", pa.float32(), nullable=False), length)


CAMERA = pa.struct(
    [
        pa.field("camera_to_world", _floats(16), nullable=False),  # row-major, OpenGL axes
        pa.field("fov", pa.float32(), nullable=False),  # radians
    ]
)
QUALITY = pa.struct(
    [
        pa.field("singular_values", _floats(3), nullable=False),  # of the centered cloud / sqrt(N), falling
        pa.field("dense_outside", pa.int64(), nullable=False),  # points after merging, before sampling
        pa.field("dense_hidden", pa.int64(), nullable=False),
        # of dense_outside: no view shows them, their lit color is estimated
        pa.field("dense_cracks", pa.int64(), nullable=False),
        pa.field("hidden_fraction", pa.float32(), nullable=False),  # of the mesh's area
        pa.field("spacing", pa.float32(), nullable=False),  # median distance to the nearest outside point
        pa.field("footprint", pa.float32(), nullable=False),  # a pixel's width at the origin's distance
        pa.field("mixed_dropped", pa.int64(), nullable=False),  # pixels of mixed color beside a clean one
        pa.field("mixed_kept", pa.int64(), nullable=False),  # those that alone show their surface
        pa.field("watertight", pa.bool_(), nullable=False),  # closed_share is above 0.999
        pa.field("closed_share", pa.float32(), nullable=False),  # of the area, in closed shells
        pa.field("shells", pa.int32(), nullable=False),  # closed ones, cavities included
        pa.field("volume", pa.float32(), nullable=False),  # of the solid, cubic normalized units
        pa.field("volume_fraction", pa.float32(), nullable=False),  # of the bounding box
        pa.field("thickness_low", pa.float32(), nullable=False),  # 5th percentile over the solid points
        pa.field("thickness_median", pa.float32(), nullable=False),
        pa.field("thickness_high", pa.float32(), nullable=False),  # 95th percentile
    ]
)
_STRINGS = ["uid", "source", "source_sha256", "format", "split"]
_NULLABLE_STRINGS = ["caption", "category", "license"]
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in _STRINGS),
        *(pa.field(name, pa.string()) for name in _NULLABLE_STRINGS),
        pa.field("center", _floats(3), nullable=False),
        pa.field("scale", pa.float32(), nullable=False),
        *(pa.field(name, pa.int32(), nullable=False) for name in ("n_outside", "n_hidden", "n_solid")),
        _array("outside_xyz", "<f4"),
        _array("outside_rgb", "u1"),
        _array("outside_albedo", "u1"),
        _array("outside_normal", "i1"),  # unit normals x 127
        _array("outside_openness", "u1", "[-1]"),  # x 255, rounded up: see `fuse.openness`
        _array("hidden_xyz", "<f4"),
        _array("hidden_albedo", "u1"),
        _array("hidden_normal", "i1"),
        _array("hidden_layer", "u1", "[-1]"),  # index along its ray: surfaces that the ray hit before
        _array("hidden_openness", "u1", "[-1]"),
        _array("solid_xyz", "<f4"),
        pa.field("solid_method", pa.string(), nullable=False),
        pa.field("cameras", pa.list_(pa.field("element", CAMERA, nullable=False)), nullable=False),
        pa.field("quality", QUALITY, nullable=False),
        pa.field("cluster", pa.int32()),
        pa.field("weight", pa.float32(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
    ]
)
"""Every column but those of the views, `image_00`, `interior_00`, `layers_00`, ... (see `schema_for`)."""
OPENNESS = ("outside_openness", "hidden_openness")


def image_column(view: int) -> str:
    """The name of a view's image column."""
    return f"image_{view:02d}"


def interior_column(view: int) -> str:
    """The name of the column of a view's mask: where a surface that no view sees lies behind the first."""
    return f"interior_{view:02d}"


def layers_column(view: int) -> str:
    """The name of the column of a view's number of surfaces along each ray."""
    return f"layers_{view:02d}"


def schema_for(views: int, version: int = SCHEMA_VERSION) -> pa.Schema:
    """SCHEMA with the columns of `views` views before `cameras`, as it is or was in a readable version."""
    kinds = {image_column: {"mime": "image/png"}}
    if version >= 3:  # no images to other readers, which would fail at an empty one
        kinds |= {interior_column: {"format": "png"}, layers_column: {"format": "png"}}
    pictures = [
        pa.field(kind(i), pa.binary(), nullable=False, metadata=metadata)
        for kind, metadata in kinds.items()
        for i in range(views)
    ]
    fields = [field for field in SCHEMA if version >= 3 or field.name not in OPENNESS]
    at = [field.name for field in fields].index("cameras")
    return pa.schema([*fields[:at], *pictures, *fields[at:]])


def view_count(schema: pa.Schema) -> int:
    """Number of image columns in a schema."""
    return sum(name.startswith("image_") for name in schema.names)


def version_of(names: Iterable[str]) -> int:
    """The schema version of rows with these columns."""
    return 3 if OPENNESS[0] in names else 2


def decode(row: Mapping[str, Any], name: str, schema: pa.Schema = SCHEMA) -> np.ndarray:
    """A binary column of a row as an array, by the field metadata of `schema`.

    Point columns are (N, 3) views on the row's bytes (`hidden_layer` and openness are (N,)). Images are
    (H, W, 4) uint8, numbers of layers (H, W) uint8, interiors (H, W) bool; (0, 0) where a view has none.
    """
    if name.startswith("image_"):
        with open_png(row[name]) as image:
            return np.array(image.convert("RGBA"))
    if name.startswith(("interior_", "layers_")):
        return _mask(row[name], bool if name.startswith("interior_") else np.uint8)
    metadata = schema.field(name).metadata or {}
    if b"dtype" not in metadata:
        raise ShardError(f"column {name} is not an array: use row[{name!r}] itself")
    return np.frombuffer(row[name], metadata[b"dtype"].decode()).reshape(json.loads(metadata[b"shape"]))


def open_png(data: bytes) -> Image.Image:
    """A view's PNG, undecoded. ShardError if it is none, or too large."""
    try:
        image = Image.open(io.BytesIO(data), formats=["PNG"])
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ShardError(f"not a PNG ({_line(error)})") from error
    if max(image.size) > _LARGEST_IMAGE:
        raise ShardError(f"a PNG of {image.size} pixels; at most {_LARGEST_IMAGE} across are read")
    return image


def _mask(data: bytes, kind: type) -> np.ndarray:
    if not data:
        return np.zeros((0, 0), kind)
    with open_png(data) as image:
        return np.array(image.convert("L")).astype(kind)


def encode_normal(normal: np.ndarray) -> np.ndarray:
    """(N, 3) float32 unit -> (N, 3) int8, x 127."""
    return np.rint(normal * 127).clip(-127, 127).astype(np.int8)


def decode_normal(code: np.ndarray) -> np.ndarray:
    """The inverse of `encode_normal`: (N, 3) int8 -> (N, 3) float32 of unit length."""
    normal = code.astype(np.float32)
    return normal / np.linalg.norm(normal, axis=-1, keepdims=True).clip(1e-6)


# ---- writing ----------------------------------------------------------------------------------------------


def table_of(row: Mapping[str, Any]) -> pa.Table:
    """One row as a table. Arrays may be ndarrays (checked against the field's dtype) or bytes."""
    schema = schema_for(sum(name.startswith("image_") for name in row), version_of(row))
    missing, unknown = set(schema.names) - set(row), set(row) - set(schema.names)
    if missing or unknown:
        raise ShardError(
            f"row {row.get('uid')!r}: missing columns {sorted(missing)}, unknown columns {sorted(unknown)}"
        )
    columns = [pa.array([_plain(field, row[field.name])], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def write_shard(
    path: Path | str,
    tables: Iterable[pa.Table],
    config_hash: str,
    versions: Mapping[str, str],
    row_group_mib: float = 16,
    curated: bool = False,
) -> int:
    """Write tables of one schema to `path`, in order; return the number of rows.

    The caller commits the file (temporary name, fsync, rename), and says whether the weights in it are a
    curation's (`Shard.curated`). Raises ShardError if the schemas differ.
    """
    writer, rows = None, 0
    try:
        for group in _row_groups(tables, row_group_mib * 2**20):
            writer = writer or _open_writer(path, group.schema)
            _same_schema(path, writer.schema, group.schema)
            writer.write_table(group, row_group_size=group.num_rows)
            rows += group.num_rows
        if writer is None:
            raise ShardError(f"{path}: no rows to write")
        marks = {_CURATED: "true"} if curated else {}
        version = version_of(writer.schema.names)
        writer.add_key_value_metadata(_footer(version, config_hash, versions) | marks)
    finally:
        if writer is not None:
            writer.close()
    return rows


def _same_schema(path: Path | str, first: pa.Schema, other: pa.Schema) -> None:
    if first == other:
        return
    if view_count(first) != view_count(other):
        views = {view_count(first), view_count(other)}
        raise ShardError(f"{path}: its rows have different numbers of views, {views}")
    raise ShardError(
        f"{path}: some of its rows were fused by an older release. Fuse with --on-existing overwrite."
    )


def _plain(field: pa.Field, value: Any) -> Any:
    """A value that pyarrow accepts for the field; arrays become their bytes."""
    if not isinstance(value, np.ndarray):
        return value
    dtype = (field.metadata or {}).get(b"dtype")
    if dtype is None:
        return value.tolist()
    shape = tuple(json.loads(field.metadata[b"shape"]))
    if value.dtype != np.dtype(dtype.decode()) or value.shape[1:] != shape[1:]:
        raise ShardError(f"{field.name} must be {dtype.decode()} {shape}, not {value.dtype} {value.shape}")
    return np.ascontiguousarray(value).tobytes()


def _row_groups(tables: Iterable[pa.Table], target: float) -> Iterator[pa.Table]:
    """Gather tables until they hold `target` bytes."""
    held: list[pa.Table] = []
    size = 0
    for table in tables:
        if held and table.schema != held[0].schema:
            yield pa.concat_tables(held).combine_chunks()
            held, size = [], 0
        held.append(table)
        size += table.nbytes
        if size >= target:
            yield pa.concat_tables(held).combine_chunks()
            held, size = [], 0
    if held:
        yield pa.concat_tables(held).combine_chunks()


def _open_writer(path: Path | str, schema: pa.Schema) -> pq.ParquetWriter:
    options: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": 3,
        "use_dictionary": ["format", "split", "category", "license", "solid_method"],
        "write_statistics": [field.name for field in schema if not pa.types.is_binary(field.type)],
        "write_page_checksum": True,
        "write_page_index": True,
    }
    return pq.ParquetWriter(path, schema, **options)


def _footer(version: int, config_hash: str, versions: Mapping[str, str]) -> dict[str, str]:
    return {
        "insideout.schema_version": str(version),
        "insideout.config_hash": config_hash,
        "insideout.versions": json.dumps(dict(versions), sort_keys=True),
    }


# ---- reading ----------------------------------------------------------------------------------------------


class Shard:
    """A shard opened for reading: schema and version checked, checksums verified, one row group at a time."""

    def __init__(self, path: Path | str):
        self.path = Path(path) if isinstance(path, str) else path  # a remote path keeps its type
        try:
            self.file = pq.ParquetFile(
                storage.readable(self.path),
                page_checksum_verification=True,
                thrift_string_size_limit=_FOOTER,
                thrift_container_size_limit=_FOOTER,
            )
            self.schema: pa.Schema = self.file.schema_arrow
        except FileNotFoundError:
            raise ShardError(f"{path}: no such shard. Run `insideout fuse` first.") from None
        except NotAFileError as error:
            raise ShardError(str(error)) from None
        except (pa.ArrowException, OSError) as error:
            raise ShardError(f"{path}: not a whole Parquet file ({_line(error)}). {REMEDY}") from error
        self.footer: dict[str, str] = {
            key.decode(): value.decode(errors="replace")
            for key, value in (self.file.metadata.metadata or {}).items()
            if key.startswith(b"insideout.") and key.isascii()
        }
        _check_schema(self.path, self.schema, self.footer.get("insideout.schema_version"))
        self._check_sizes()

    def __enter__(self) -> Shard:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close(force=True)

    def __len__(self) -> int:
        return self.file.metadata.num_rows

    @property
    def row_groups(self) -> int:
        return self.file.metadata.num_row_groups

    @property
    def views(self) -> int:
        return view_count(self.schema)

    @property
    def curated(self) -> bool:
        """Whether a curation was written into its rows: their weights are what it decided, not their own."""
        return _CURATED in self.footer

    @property
    def versions(self) -> dict[str, str]:
        """The versions of what made its rows."""
        return json.loads(self.footer.get("insideout.versions", "{}"))

    def uids(self) -> list[str]:
        """The uid of every row, without reading anything else."""
        return [
            uid for group in range(self.row_groups) for uid in self.table(group, ["uid"])["uid"].to_pylist()
        ]

    def table(self, group: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One row group. `columns` in any order; None means all."""
        unknown = set(columns or ()) - set(self.schema.names)
        if unknown:
            raise ShardError(f"{self.path}: no column {sorted(unknown)}; it has {self.schema.names}")
        try:
            table = self.file.read_row_group(group, columns=None if columns is None else list(columns))
        except (pa.ArrowException, OSError) as error:
            raise ShardError(
                f"{self.path}: row group {group} is damaged ({_line(error)}). {REMEDY}"
            ) from error
        for uid in table["uid"].to_pylist() if "uid" in table.column_names else ():
            if not is_name(uid):
                raise ShardError(f"{self.path}: the uid {uid[:99]!r} cannot name a file. {REMEDY}")
        return table

    def _check_sizes(self) -> None:
        """ShardError where a row group claims more than a machine can hold, or more rows than bytes."""
        for group in range(self.row_groups):
            found = self.file.metadata.row_group(group)
            if not 0 <= found.num_rows <= _MOST_ROWS or not 0 <= found.total_byte_size <= _MOST_BYTES:
                raise ShardError(
                    f"{self.path}: row group {group} claims {found.num_rows} rows of {found.total_byte_size} "
                    f"bytes; at most {_MOST_ROWS} and {_MOST_BYTES} are read. {REMEDY}"
                )

    def rows(
        self, columns: Sequence[str] | None = None, groups: Iterable[int] | None = None
    ) -> Iterator[Row]:
        """The rows of all or of the given row groups, as dictionaries; arrays are bytes (see `decode`)."""
        for group in range(self.row_groups) if groups is None else groups:
            for batch in self.table(group, columns).to_batches(max_chunksize=16):
                yield from batch.to_pylist()


def read_rows(path: Path | str, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Every row of a shard, in order; arrays are bytes (see `decode`)."""
    with Shard(path) as shard:
        yield from shard.rows(columns)


def _line(error: Exception) -> str:
    """An error of a library in one short line."""
    return printable(" ".join(str(error).split()))[:300]


def _check_schema(path: Path, schema: pa.Schema, version: str | None) -> None:
    if version is None or version not in map(str, READABLE):
        known = " and ".join(map(str, READABLE))
        raise ShardError(
            f"{path}: shard schema {printable(str(version))[:20]}, this release reads {known}. "
            "Read it with the release that wrote it, or run `insideout fuse` with --on-existing overwrite."
        )
    for field in schema_for(view_count(schema), int(version)):
        found = schema.field(field.name) if field.name in schema.names else None
        if found is None or found.type != field.type or found.metadata != field.metadata:
            raise ShardError(
                f"{path}: column {field.name} is {printable(str(found))[:200]}, expected {field}. {REMEDY}"
            )
