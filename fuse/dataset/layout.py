"""Every path inside a dataset folder OUT: no other module spells one.

    dataset.json            what the dataset is
    README.md               its card, with contact-sheet.jpg; croissant.json says the same to machines
    views/ab/UID.zip        view bundles
    clouds/part-*.parquet   shards, and clouds/manifest.jsonl
    ledger/STAGE/           what happened to each model
    checkpoints/RUN/        training runs
    report/                 pages to look at
    curation/               what a curation measured and decided

Files lie in OUT/.tmp until they are complete and renamed into place: one folder holds every unfinished file.
A name that may come from a file is checked before it becomes part of a path (`fuse.dataset.names`), and no
folder inside OUT may be a link: nothing that is written or removed lies elsewhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fuse.dataset import ownership, storage
from fuse.dataset.names import checked, is_name
from fuse.dataset.storage import Entry
from render.failures import UserError

MANIFEST = "manifest.jsonl"
"""In the clouds folder: the shards that belong to the dataset."""
CONTACT_SHEET = "contact-sheet.jpg"
"""The card's picture, beside it."""
SHARDS = "clouds/part-*.parquet"
"""The shards for others' readers, relative to the dataset's folder."""
STAGES = ("render", "fuse")
"""The stages that have a ledger."""
_BUNDLE = re.compile(r"([^/]+)\.zip")
_ROW = re.compile(r"([^/]+)\.parquet")
_SHARD = re.compile(r"part-(\d{5,})\.parquet")


@dataclass(frozen=True)
class Layout:
    """The dataset folder: a local one, or one in an object store (`fuse.dataset.storage`)."""

    root: Path

    @property
    def dataset(self) -> Path:
        """What the dataset is, and how to make it again (`fuse.dataset.description`)."""
        return self.root / "dataset.json"

    @property
    def card(self) -> Path:
        """The dataset card, for people."""
        return self.root / "README.md"

    @property
    def contact_sheet(self) -> Path:
        """The card's picture."""
        return self.root / CONTACT_SHEET

    @property
    def croissant(self) -> Path:
        """The dataset in Croissant's terms."""
        return self.root / "croissant.json"

    @property
    def views(self) -> Path:
        """The view bundles."""
        return self.root / "views"

    @property
    def clouds(self) -> Path:
        """The shards and their manifest."""
        return self.root / "clouds"

    @property
    def manifest(self) -> Path:
        """The list of the shards that count (`fuse.dataset.manifest`)."""
        return self.clouds / MANIFEST

    @property
    def staging(self) -> Path:
        """One-row Parquet files of fused models that no shard holds yet."""
        return self.clouds / ".staging"

    @property
    def report(self) -> Path:
        """The page that `insideout report` writes."""
        return self.root / "report"

    @property
    def curation(self) -> Path:
        """What `insideout curate` writes."""
        return self.root / "curation"

    @property
    def decisions(self) -> Path:
        """The weight of every model that a curation has decided on (`fuse.dataset.decisions`)."""
        return self.curation / "decisions.parquet"

    @property
    def measures(self) -> Path:
        """What a curation measured, a file per shard."""
        return self.curation / "measures"

    @property
    def clusters(self) -> Path:
        """The clusters' centers, from which later runs go on."""
        return self.curation / "clusters.npz"

    def cluster_sheet(self, number: int) -> Path:
        """The picture of a cluster."""
        return self.curation / "clusters" / f"{number:03d}.jpg"

    @property
    def rules(self) -> Path:
        """The curation's rules, which a person edits."""
        return self.curation / "rules.yaml"

    @property
    def temporary(self) -> Path:
        """Unfinished files, on OUT's own file system, because a rename is atomic only within one."""
        return self.root / ".tmp"

    @property
    def lock(self) -> Path:
        """In an object store, the run that is writing; a local folder is itself locked."""
        return self.root / ".lock"

    @property
    def checkpoints(self) -> Path:
        """A folder per training run."""
        return self.root / "checkpoints"

    def ledger(self, stage: str) -> Path:
        """What happened to every model in a stage (`pipeline.ledger`)."""
        return self.root / "ledger" / stage

    def shard(self, file: str) -> Path:
        """The shard that the manifest calls `file`."""
        return self.clouds / checked(file)

    def bundle(self, uid: str) -> Path:
        """A model's view bundle."""
        return self.views / self.bundle_name(uid)

    @staticmethod
    def bundle_name(uid: str) -> str:
        """`ab/UID.zip`, ab by the uid's hash: no folder holds a million files, and object stores see many
        prefixes."""
        return f"{hashlib.sha256(checked(uid).encode()).hexdigest()[:2]}/{uid}.zip"

    def staged_row(self, uid: str) -> Path:
        """A model's row that no shard holds yet."""
        return self.staging / f"{checked(uid)}.parquet"

    @property
    def pending(self) -> Path:
        """The shards that a run is about to write or to take apart: what a killed one may have left."""
        return self.staging / ".pending.json"

    def shards(self) -> set[str]:
        """The names of all shards, whether the manifest names them or not."""
        names = (entry.name for entry in storage.listing(self.clouds))
        return {name for name in names if name.endswith(".parquet") and is_name(name)}

    def bundles(self) -> Iterator[tuple[str, Entry]]:
        """Every bundle's uid and file, in no order; several folders are listed at once."""
        folders = [f"{number:02x}" for number in range(256)]
        if storage.is_local(self.root):
            pages = map(self._bundles_in, folders)
        else:
            pages = storage.in_parallel(lambda name: list(self._bundles_in(name)), folders)
        for page in pages:
            yield from page

    def staged(self) -> set[str]:
        """The uids whose rows are staged."""
        matches = (_ROW.fullmatch(entry.name) for entry in storage.listing(self.staging))
        return {match[1] for match in matches if match and is_name(match[1])}

    def refuse_links(self) -> None:
        """UserError if something else stands where a folder of the dataset belongs, such as a link.

        The root itself may be a link.
        """
        if storage.is_local(self.root):
            for folder in self._folders():
                ownership.refuse_link(folder)

    def _folders(self) -> Iterator[Path]:
        """The folders that stages write to and remove from."""
        yield from (self.views, self.clouds, self.staging, self.checkpoints, self.temporary)
        yield from (self.report, self.curation, self.measures, self.cluster_sheet(0).parent)
        yield from (self.views / f"{number:02x}" for number in range(256))
        yield self.root / "ledger"
        yield from (self.ledger(stage) for stage in STAGES)

    def _bundles_in(self, folder: str) -> Iterator[tuple[str, Entry]]:
        for entry in storage.listing(self.views / folder):
            match = _BUNDLE.fullmatch(entry.name)
            if match and is_name(match[1]):
                yield match[1], entry._replace(name=f"{folder}/{entry.name}")


def open_dataset(out: Path) -> Layout:
    """The layout of an existing dataset; UserError if `out` is none, or has links for folders."""
    layout = Layout(out.absolute())
    layout.refuse_links()
    known = (layout.dataset, layout.manifest)
    if not any(path.exists() for path in known) and not any(True for _ in layout.bundles()):
        raise UserError(
            f"{out}: not a dataset: no {layout.dataset.name}, no {layout.clouds.name}/{MANIFEST} and no "
            "view bundles. Name the folder that `insideout render` wrote."
        )
    return layout


def part_name(number: int) -> str:
    """`part-00007.parquet`."""
    return f"part-{number:05d}.parquet"


def part_number(file: str) -> int | None:
    """The inverse of `part_name`; None for other names."""
    match = _SHARD.fullmatch(file)
    return int(match[1]) if match else None
