"""The columns of a shard, their types, and the versions of both."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from fuse.dataset.layout import MANIFEST
from render.failures import UserError, printable

SCHEMA_VERSION = 3
READABLE = (2, 3)
"""Versions that are read: 2 has neither openness nor masks."""
REMEDY = f"Delete it and its line in {MANIFEST}, then run `insideout fuse` again."
CURATED = "insideout.curated"
"""The footer's mark of weights that are a curation's."""
Row = dict[str, Any]


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


def one_line(error: Exception) -> str:
    """An error of a library in one short line."""
    return printable(" ".join(str(error).split()))[:300]
