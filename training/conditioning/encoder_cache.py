"""What a frozen encoder said, remembered in memory and, if wished, in a folder.

    encoder = CachedEncoder(EfficientNetLite0(), limit_mib=512, folder=Path("OUT/cache"))

A small data set is encoded once. In the folder each answer is a file named by the image's hash, in half
precision: 122 KiB an image for EfficientNet's grid, 512 KiB for CLIP's, so 20 views of 10,000 models are
100 GB. Runs, ranks and machines may share the folder; another encoder, size or weights has its own in it.
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
"""The disk keeps so many bytes free: below that nothing more is written."""


class CachedEncoder:
    """An encoder that is asked once for each image: the latest used `limit_mib` of answers stay in memory.

    `folder` keeps all of them. Without memory and folder the answers pass through in full precision.
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
        """(B, features, cells) or (B, features) float32.

        `pixels`, the images as `encoder.load_pixels` decodes them, saves decoding those that are new.
        """
        if not self._limit and self._disk is None:
            return self._encoder(items) if pixels is None else self._encoder.encode(pixels)
        keys = [hashlib.sha256(i.encode() if isinstance(i, str) else i).digest() for i in items]
        places = {key: place for place, key in enumerate(keys) if key not in self._known}
        if places and self._disk:
            self._known.update(self._disk.read(list(places)))
            places = {key: place for key, place in places.items() if key not in self._known}
        if places:
            self._known.update(self._ask(places, items, pixels))
        for key in keys:
            self._known.move_to_end(key)
        grids = torch.stack([self._known[key] for key in keys]).float()
        while len(self._known) > self._limit:
            self._known.popitem(last=False)
        return grids

    def _ask(
        self, places: dict[bytes, int], items: Sequence[Item], pixels: np.ndarray | None
    ) -> dict[bytes, Tensor]:
        """Encode the items at these places."""
        rows = list(places.values())
        if pixels is None:
            encoded = self._encoder([items[row] for row in rows])
        else:
            encoded = self._encoder.encode(pixels[rows])
        answers = dict(zip(places, encoded.half().cpu(), strict=True))
        if self._disk:
            self._disk.write(answers)
        return answers


class DiskCache:
    """A file an answer: its checksum, then float16 values. A damaged file counts as none and is replaced."""

    def __init__(self, folder: Path, shape: tuple[int, ...]):
        self._folder, self._shape = folder, shape
        folder.mkdir(parents=True, exist_ok=True)
        self._pool = ThreadPoolExecutor(8)

    def read(self, keys: list[bytes]) -> dict[bytes, Tensor]:
        """The answers that are there and whole."""
        found = zip(keys, self._pool.map(self._read_one, keys), strict=True)
        return {key: answer for key, answer in found if answer is not None}

    def write(self, answers: dict[bytes, Tensor]) -> None:
        """Keep the answers, each whole or not at all, while the disk has room to spare."""
        if shutil.disk_usage(self._folder).free >= SPARE:
            list(self._pool.map(self._write_one, answers, answers.values()))

    def _read_one(self, key: bytes) -> Tensor | None:
        try:
            data = self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        body = data[4:]
        if len(body) != 2 * np.prod(self._shape) or zlib.crc32(body).to_bytes(4, "little") != data[:4]:
            return None
        return torch.from_numpy(np.frombuffer(bytearray(body), "<f2").reshape(self._shape))

    def _write_one(self, key: bytes, answer: Tensor) -> None:
        body = answer.numpy().astype("<f2").tobytes()
        path = self._path(key)
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        temporary.write_bytes(zlib.crc32(body).to_bytes(4, "little") + body)
        temporary.replace(path)

    def _path(self, key: bytes) -> Path:
        return self._folder / key.hex()[:2] / key.hex()
