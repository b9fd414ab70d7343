"""Staging without a child: the test's own process reads the model's bytes."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from pipeline.inputs.staging import Staged, stage_input
from pipeline.inputs.workspace import Folders
from render.references.link_scan import Scan
from render.references.orders import (
    Order,
    Result,
    RewriteOrder,
    Rewritten,
    Scanned,
    ScanOrder,
    Unpacked,
    UnpackOrder,
    obey,
)


class Here:
    """A `pipeline.inputs.reader.Reader`. Orders and results cross as JSON, as between processes."""

    def __init__(self, seals: bool = True):
        self.seals = seals

    def seals_input(self) -> bool:
        return self.seals

    def scan(self, path: Path) -> Scan:
        return Scanned.model_validate_json(_obeyed(ScanOrder(path=path))).scan()

    def unpack(self, order: UnpackOrder) -> Unpacked:
        return Unpacked.model_validate_json(_obeyed(order))

    def rewrite(self, order: RewriteOrder) -> Rewritten:
        return Rewritten.model_validate_json(_obeyed(order))

    def check(self) -> None:
        pass

    def paused(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def _obeyed(order: Order) -> str:
    result: Result = obey(order.model_dump(mode="json"))
    return result.model_dump_json()


def stage(path: Path, source: str, folder: Path, reader: Here | None = None) -> Staged:
    """See `stage_input`; what the reader writes is removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="work-") as work:
        return stage_input(path, source, Folders(folder, Path(work)), reader or Here())
