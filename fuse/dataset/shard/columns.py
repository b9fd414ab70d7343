"""Columns of a row as arrays, and arrays as a row's columns."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from fuse.dataset.shard.schema import SCHEMA, ShardError, one_line
from render.failures import DAMAGE

_LARGEST_IMAGE = 8192  # pixels across


def decode(row: Mapping[str, Any], name: str, schema: pa.Schema = SCHEMA) -> np.ndarray:
    """A binary column of a row as an array, by the field metadata of `schema`.

    Point columns are (N, 3) views on the row's bytes (`hidden_layer` and openness are (N,)). Images are
    (H, W, 4) uint8, numbers of layers (H, W) uint8, interiors (H, W) bool; (0, 0) where a view has none.
    Raises ShardError for a damaged one.
    """
    pictured = name.startswith(("image_", "interior_", "layers_"))
    metadata = {} if pictured else schema.field(name).metadata or {}
    if not pictured and b"dtype" not in metadata:
        raise ShardError(f"column {name} is not an array: use row[{name!r}] itself")
    try:
        if pictured:
            return _picture(row[name], name)
        return np.frombuffer(row[name], metadata[b"dtype"].decode()).reshape(json.loads(metadata[b"shape"]))
    except (OSError, *DAMAGE) as error:
        reason = f"{name} is damaged ({one_line(error)}). `insideout verify` names its file"
        raise ShardError(f"row {row.get('uid', '')}: {reason}.") from error


def _picture(data: bytes, name: str) -> np.ndarray:
    if name.startswith("image_"):
        with open_png(data) as image:
            return np.array(image.convert("RGBA"))
    return _mask(data, bool if name.startswith("interior_") else np.uint8)


def open_png(data: bytes) -> Image.Image:
    """A view's PNG, undecoded. ShardError if it is none, or too large."""
    try:
        image = Image.open(io.BytesIO(data), formats=["PNG"])
    except (OSError, *DAMAGE, Image.DecompressionBombError) as error:
        raise ShardError(f"not a PNG ({one_line(error)})") from error
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
