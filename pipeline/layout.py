"""Every path of a dataset folder OUT, in one place.

dataset.json, README.md, views/ab/UID.zip, clouds/part-*.parquet, ledger/STAGE/RUN.jsonl, checkpoints/RUN/.
What is being written lies in OUT/.tmp until it is renamed into place: one folder holds every unfinished file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The dataset folder."""

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

    def ledger(self, stage: str) -> Path:
        return self.root / "ledger" / stage

    def checkpoints(self, run: str) -> Path:
        return self.root / "checkpoints" / run

    def bundle(self, uid: str) -> Path:
        """256 folders, by the uid's hash: none holds a million files, and object stores see many prefixes."""
        return self.views / hashlib.sha256(uid.encode()).hexdigest()[:2] / f"{uid}.zip"

    def staged_row(self, uid: str) -> Path:
        return self.staging / f"{uid}.parquet"

    def bundles(self) -> Iterator[tuple[str, Path]]:
        """Every (uid, bundle path), sorted by uid."""
        found = ((path.name.removesuffix(".zip"), path) for path in self.views.glob("[0-9a-f][0-9a-f]/*.zip"))
        return iter(sorted(found))
