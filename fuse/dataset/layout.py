"""Every path of a dataset folder OUT, in one place.

dataset.json, README.md, views/ab/UID.zip, clouds/part-*.parquet, ledger/STAGE/RUN.jsonl, checkpoints/RUN/.
What is being written lies in OUT/.tmp until it is renamed into place: one folder holds every unfinished file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fuse.dataset import storage
from fuse.dataset.storage import Entry

_BUNDLE = re.compile(r"([^/]+)\.zip")


@dataclass(frozen=True)
class Layout:
    """The dataset folder: a local one, or one in an object store (`fuse.dataset.storage`)."""

    root: Path

    @property
    def dataset(self) -> Path:
        return self.root / "dataset.json"

    @property
    def card(self) -> Path:
        return self.root / "README.md"

    @property
    def views(self) -> Path:
        return self.root / "views"

    @property
    def clouds(self) -> Path:
        return self.root / "clouds"

    @property
    def staging(self) -> Path:
        """One-row Parquet files of fused models that no shard holds yet."""
        return self.clouds / ".staging"

    @property
    def report(self) -> Path:
        return self.root / "report"

    @property
    def temporary(self) -> Path:
        """On OUT's own file system, because a rename is atomic only within one."""
        return self.root / ".tmp"

    @property
    def lock(self) -> Path:
        """In an object store, the run that is writing; a local folder is locked itself."""
        return self.root / ".lock"

    def ledger(self, stage: str) -> Path:
        return self.root / "ledger" / stage

    def checkpoints(self, run: str) -> Path:
        return self.root / "checkpoints" / run

    def bundle(self, uid: str) -> Path:
        return self.views / self.bundle_name(uid)

    @staticmethod
    def bundle_name(uid: str) -> str:
        """256 folders, by the uid's hash: none holds a million files, and object stores see many prefixes."""
        return f"{hashlib.sha256(uid.encode()).hexdigest()[:2]}/{uid}.zip"

    def staged_row(self, uid: str) -> Path:
        return self.staging / f"{uid}.parquet"

    def bundles(self) -> Iterator[tuple[str, Entry]]:
        """Every bundle's uid and file, in no order; the folders are listed side by side."""
        folders = [f"{number:02x}" for number in range(256)]
        if storage.is_local(self.root):
            pages = map(self._bundles_in, folders)
        else:
            pages = storage.in_parallel(lambda name: list(self._bundles_in(name)), folders)
        for page in pages:
            yield from page

    def staged(self) -> set[str]:
        """The uids whose rows are staged."""
        names = (entry.name for entry in storage.listing(self.staging))
        return {name.removesuffix(".parquet") for name in names if not name.startswith(".")}

    def _bundles_in(self, folder: str) -> Iterator[tuple[str, Entry]]:
        for entry in storage.listing(self.views / folder):
            match = _BUNDLE.fullmatch(entry.name)
            if match:
                yield match[1], entry._replace(name=f"{folder}/{entry.name}")
