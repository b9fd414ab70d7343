"""A cache of a frozen encoder's embeddings, in memory and optionally in a folder.

    encoder = CachedEncoder(EfficientNetLite0(), limit_mib=512, folder=Path("cache"))

A small dataset is encoded once. In the folder, each embedding is a file named by the image's hash, in half
precision: 122 KiB per image for EfficientNet's grid, 512 KiB for CLIP's, so 20 views of 10,000 models take
100 GB. Runs, ranks and machines may share the folder; each encoder, size and set of weights has a subfolder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.conditioning.encoder import Encoder, Item

SPARE = 2**30
"""Bytes of disk kept free: below that, nothing more is written."""


class CachedEncoder:
    """An encoder that encodes each image once: the most recently used `limit_mib` stay in memory.

    `folder` keeps all of them. Without memory and folder, embeddings are not cached and have full precision.
    """

    def __init__(self, encoder: Encoder, limit_mib: float, folder: Path | None = None):
        self.name, self.takes, self.size = encoder.name, encoder.takes, encoder.size
        self.features, self.cells, self.identity = encoder.features, encoder.cells, encoder.identity
        self._shape = (encoder.features, encoder.cells) if encoder.cells else (encoder.features,)
        self._encoder = encoder
        self._limit = int(limit_mib * 2**20 / (2 * int(np.prod(self._shape))))
        self._known: OrderedDict[bytes, Tensor] = OrderedDict()
        self._disk = DiskCache(folder / encoder.identity, self._shape) if folder else None

    def __call__(self, items: Sequence[Item], pixels: np.ndarray | None = None) -> Tensor:
        """B images or texts -> (B, features, cells) or (B, features) float32.

        `pixels`, (B, size, size, 3) uint8 from `encoder.load_pixels`, saves decoding new images.
        """
        if not self._limit and self._disk is None:
            return self._encoder(items) if pixels is None else self._encoder.encode(pixels)
        keys = [hashlib.sha256(i.encode() if isinstance(i, str) else i).digest() for i in items]
        indices = {key: index for index, key in enumerate(keys) if key not in self._known}
        if indices and self._disk:
            self._known.update(self._disk.read(list(indices)))
            indices = {key: index for key, index in indices.items() if key not in self._known}
        if indices:
            self._known.update(self._encode(indices, items, pixels))
        for key in keys:
            self._known.move_to_end(key)
        grids = torch.stack([self._known[key] for key in keys]).float()
        while len(self._known) > self._limit:
            self._known.popitem(last=False)
        return grids

    def _encode(
        self, indices: dict[bytes, int], items: Sequence[Item], pixels: np.ndarray | None
    ) -> dict[bytes, Tensor]:
        """Encode the items at these indices."""
        rows = list(indices.values())
        if pixels is None:
            encoded = self._encoder([items[row] for row in rows])
        else:
            encoded = self._encoder.encode(pixels[rows])
        embeddings = dict(zip(indices, encoded.half().cpu(), strict=True))
        if self._disk:
            self._disk.write(embeddings)
        return embeddings


class DiskCache:
    """One file per embedding: its checksum, then float16 values. A damaged file is ignored and replaced."""

    def __init__(self, folder: Path, shape: tuple[int, ...]):
        self._folder, self._shape = folder, shape
        folder.mkdir(parents=True, exist_ok=True)
        self._pool = ThreadPoolExecutor(8)

    def read(self, keys: list[bytes]) -> dict[bytes, Tensor]:
        """The embeddings that exist and are intact, each (features, cells) or (F,) float16."""
        found = zip(keys, self._pool.map(self._read_one, keys), strict=True)
        return {key: embedding for key, embedding in found if embedding is not None}

    def write(self, embeddings: dict[bytes, Tensor]) -> None:
        """Store embeddings, (features, cells) or (F,) float16, atomically, while the disk has space."""
        if shutil.disk_usage(self._folder).free >= SPARE:
            list(self._pool.map(self._write_one, embeddings, embeddings.values()))

    def _read_one(self, key: bytes) -> Tensor | None:
        try:
            data = self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        body = data[4:]
        if len(body) != 2 * np.prod(self._shape) or zlib.crc32(body).to_bytes(4, "little") != data[:4]:
            return None
        return torch.from_numpy(np.frombuffer(bytearray(body), "<f2").reshape(self._shape))

    def _write_one(self, key: bytes, embedding: Tensor) -> None:
        body = embedding.numpy().astype("<f2").tobytes()
        path = self._path(key)
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        temporary.write_bytes(zlib.crc32(body).to_bytes(4, "little") + body)
        temporary.replace(path)

    def _path(self, key: bytes) -> Path:
        return self._folder / key.hex()[:2] / key.hex()
