"""Clouds drawn from checkpoints, as a dataset: the contract of what `insideout draw` writes.

    draws = Draws(Path("out/draws"))
    draws["chair-01"].clouds             # (K, C, N) float32, the network's frame

A folder has `manifest.jsonl`, `draws.json` (the recipe) and one Parquet file per row group of the dataset
that the clouds are of, with a row per object:

| column | what |
|---|---|
| `uid`, `split` | of the dataset's row |
| `clouds` | `<f2 [K, C, N]`, the network's frame (`training.data.channels`) |
| `toward` | `<f4 [K, 3]`, the unit direction of each cloud's camera; 0 for a cloud of none |
| `views` | for each cloud the views it was drawn from |
| `seed` | int64, of the noise, together with the uid and the cloud's place |
| `checkpoint` | the SHA-256 of the checkpoint's file |
| `learned` | whether that checkpoint has learned from this very object |

The same seed and checkpoint give the same bytes. Pages have checksums, which are verified.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from fuse.dataset.layout import MANIFEST
from fuse.dataset.manifest import Part, read_manifest
from fuse.dataset.shard import ShardError
from fuse.dataset.storage import publish_bytes
from fuse.dataset.tables import required
from render.failures import DAMAGE
from training.objectives.condition import Condition

RECIPE = "draws.json"
_OPEN = 16
"""Files kept in memory."""
_FOOTER = 1 << 26
"""Bytes of a string, or items of a list, in a file's footer."""
_SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("clouds", pa.binary(), nullable=False),
        pa.field("toward", pa.binary(), nullable=False, metadata={"dtype": "<f4", "shape": "[-1, 3]"}),
        pa.field("views", pa.list_(pa.list_(pa.int32())), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("checkpoint", pa.string(), nullable=False),
        pa.field("learned", pa.bool_(), nullable=False),
    ]
)


@dataclass(frozen=True)
class DrawnUse:
    """What a step sees of drawn clouds: 1 to `most` of each object, `points` of each (0: all).

    With `most` 0, one whole cloud takes the place of the coarse cloud.
    """

    folder: str
    most: int = 0
    points: int = 0


@dataclass(frozen=True)
class Drawn:
    """The clouds that were drawn of one object."""

    uid: str
    split: str
    clouds: np.ndarray  # (K, C, N) float32, the network's frame
    toward: np.ndarray  # (K, 3) float32
    views: Sequence[Sequence[int]]
    seed: int
    checkpoint: str
    learned: bool


class Draws:
    """A folder of drawn clouds. ShardError where it is none, or damaged."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.parts = read_manifest(folder)
        if not self.parts:
            raise ShardError(f"{folder}: no {MANIFEST} of drawn clouds. Write one with `insideout draw`.")
        self._places: dict[str, tuple[str, int]] = {}
        for part in self.parts:
            uids = _table(folder / part.file, ["uid"])["uid"].to_pylist()
            self._places |= {uid: (part.file, row) for row, uid in enumerate(uids)}
        self._held: OrderedDict[str, pa.Table] = OrderedDict()

    def __contains__(self, uid: str) -> bool:
        return uid in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def identity(self) -> str:
        """A hash of all its bytes."""
        return hashlib.sha256(repr([part.sha256 for part in self.parts]).encode()).hexdigest()

    def __getitem__(self, uid: str) -> Drawn:
        if uid not in self._places:
            raise ShardError(f"{self.folder}: no drawn clouds of {uid}. Draw all splits of the dataset.")
        file, row = self._places[uid]
        return self._drawn(self._open(file), row, file)

    def one(self, uids: Sequence[str], rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """One of each object's clouds: (B, C, N) float32."""
        pairs = zip((self[uid].clouds for uid in uids), rngs, strict=True)
        return np.stack([clouds[rng.integers(len(clouds))] for clouds, rng in pairs])

    def some(
        self, uids: Sequence[str], count: int, points: int, rngs: Sequence[np.random.Generator]
    ) -> tuple[np.ndarray, np.ndarray]:
        """`count` clouds of each object, or as many as all have, and `points` points of each (0: all).

        (B, K, C, M) float32, and the directions of their cameras, (B, K, 3).
        """
        drawn = [self[uid] for uid in uids]
        count = min(count, *(len(one.clouds) for one in drawn))
        clouds, toward = [], []
        for one, rng in zip(drawn, rngs, strict=True):
            which = rng.permutation(len(one.clouds))[:count]
            clouds.append(np.stack([_some(one.clouds[at], points, rng) for at in which]))
            toward.append(one.toward[which])
        return np.stack(clouds), np.stack(toward)

    def _open(self, file: str) -> pa.Table:
        if file not in self._held:
            self._held[file] = _table(self.folder / file)
        self._held.move_to_end(file)
        if len(self._held) > _OPEN:
            self._held.popitem(last=False)
        return self._held[file]

    def _drawn(self, table: pa.Table, row: int, file: str) -> Drawn:
        values = {name: table[name][row].as_py() for name in table.column_names}
        try:
            shape = tuple(json.loads(table.schema.field("clouds").metadata[b"shape"]))
            clouds = np.frombuffer(values["clouds"], "<f2").reshape(shape).astype(np.float32)
            toward = np.frombuffer(values["toward"], "<f4").reshape(len(clouds), 3)
        except DAMAGE as error:
            raise ShardError(
                f"{self.folder / file}: {values['uid']} is damaged ({error}). Draw anew."
            ) from error
        if not np.isfinite(clouds).all():
            raise ShardError(
                f"{self.folder / file}: {values['uid']} has points that are NaN or infinite. Draw anew."
            )
        return Drawn(**values | {"clouds": clouds, "toward": toward})


def toward_of(cameras: Sequence[np.ndarray]) -> np.ndarray:
    """The direction of a cloud's cameras, (19,) each: the mean of their positions, of length 1, (3,) float32.

    0 for none.
    """
    if not cameras:
        return np.zeros(3, np.float32)
    mean = np.mean(cameras, axis=0)[[3, 7, 11]]
    return (mean / max(float(np.linalg.norm(mean)), 1e-6)).astype(np.float32)


def as_condition(drawn: Sequence[Drawn]) -> Condition:
    """The clouds of B objects as a merger's condition, (B, K, C, N) and (B, K, 3)."""
    clouds, toward = ([getattr(one, name) for one in drawn] for name in ("clouds", "toward"))
    return {"clouds": torch.from_numpy(np.stack(clouds)), "toward": torch.from_numpy(np.stack(toward))}


def write_drawn(path: Path, rows: Sequence[Drawn], config_hash: str) -> Part:
    """Write rows of clouds of one shape, atomically; returns the manifest's line."""
    shape = [-1, *rows[0].clouds.shape[1:]]
    metadata = {"dtype": "<f2", "shape": json.dumps(shape)}
    schema = _SCHEMA.set(2, _SCHEMA.field("clouds").with_metadata(metadata))
    columns = [pa.array([_plain(getattr(row, field.name)) for row in rows], field.type) for field in schema]
    table, file = pa.Table.from_arrays(columns, schema=schema), io.BytesIO()
    pq.write_table(table, file, compression="zstd", use_dictionary=False, write_page_checksum=True)
    size, sha = publish_bytes(file.getvalue(), path), hashlib.sha256(file.getvalue()).hexdigest()
    return Part(path.name, len(rows), size, sha, 1, rows[0].uid, rows[-1].uid, config_hash)


def recipe_hash(recipe: Mapping[str, object]) -> str:
    """The hash of a recipe of plain values."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def _some(cloud: np.ndarray, points: int, rng: np.random.Generator) -> np.ndarray:
    """`points` of the points of (C, N), at random; 0: all."""
    return cloud[:, rng.permutation(cloud.shape[1])[:points]] if points else cloud


def _plain(value: object) -> object:
    if not isinstance(value, np.ndarray):
        return value
    return value.astype("<f2" if value.ndim == 3 else "<f4").tobytes()


def _table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    names = list(columns or _SCHEMA.names)
    try:
        table = pq.read_table(
            path,
            columns=names,
            page_checksum_verification=True,
            thrift_string_size_limit=_FOOTER,
            thrift_container_size_limit=_FOOTER,
        )
        return required(table, pa.schema([_SCHEMA.field(name) for name in names]))
    except (pa.ArrowException, OSError) as error:
        raise ShardError(f"{path}: not a whole file of drawn clouds ({error}). Draw again.") from error
