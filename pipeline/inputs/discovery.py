"""Which models there are: a folder searched recursively, a list file, or one model file.

A list is CSV, JSONL or Parquet with `path` (relative to the list's own folder, absolute, or a URI) and,
where wanted, `uid`, `caption`, `category` and `license`. A row that cannot be used becomes a rejection,
and the rest goes on. Folder, list and models may be remote (`fuse.dataset.storage`).
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fuse.dataset import storage
from pipeline.inputs.file_stats import Stamps
from render.failures import UserError

LISTS = {".csv", ".jsonl", ".parquet"}
_BAD_UID = re.compile(r"[/\\\x00-\x1f\x7f]|^\.")
_LONGEST_UID = 200  # bytes; a file name may have 255


@dataclass(frozen=True, slots=True)
class Model:
    """One model to do. Small: a million of them are held at once."""

    uid: str
    root: str  # the folder that `source` is relative to
    source: str  # as recorded: relative, absolute or a URI
    caption: str | None = None
    category: str | None = None
    license: str | None = None

    @property
    def location(self) -> str:
        """Its absolute path, or its URI."""
        absolute = self.source.startswith("/") or storage.is_uri(self.source)
        return self.source if absolute else f"{self.root}/{self.source}"

    @property
    def path(self) -> Path:
        return storage.locate(self.location)


@dataclass(frozen=True)
class Rejection:
    """A list's row that names no usable model; it goes into the ledger as a failure."""

    uid: str
    source: str
    message: str


@dataclass(frozen=True)
class Discovery:
    """What was found, in a fixed order."""

    models: list[Model] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    stamps: Stamps | None = None
    """Sizes and times of remote models and of what lies with them; None: ask each local file."""


def discover(where: Path) -> Discovery:
    """Find the models in a folder, in a list file, or the one model file. UserError when there is none."""
    is_list = where.suffix.lower() in LISTS
    if not is_list and where.is_dir():
        found = _from_folder(where.absolute())
    elif is_list and where.is_file():
        found = _from_list(where.absolute())
    elif where.is_file():
        found = _from_folder(where.absolute().parent, where.name)
    else:
        raise UserError(
            f"{where}: no such folder or file. Give a folder, or a CSV, JSONL or Parquet list, of models."
        )
    if not found.models and not found.rejections:
        raise UserError(f"{where}: no model found. Extensions looked for: {' '.join(sorted(_extensions()))}")
    return found


def default_uid(source: str) -> str:
    """`{slug of the stem}-{12 hex of the relative path's sha256}`: readable, stable, safe as a file name."""
    stem = source.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    slug = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:40].strip("-") or "model"
    return f"{slug}-{hashlib.sha256(source.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"


def _extensions() -> set[str]:
    from render.importing.formats import SUPPORTED

    return {"." + extension.lower().lstrip(".") for extension in SUPPORTED}


def _from_folder(folder: Path, name: str | None = None) -> Discovery:
    """Every supported file below `folder`, or the one called `name`; hidden ones left out, sorted by path."""
    stamps = None if storage.is_local(folder) else Stamps()
    root, extensions = str(folder), _extensions()
    sources = []
    for found in storage.walk(folder) if stamps is None else _listed(folder, stamps):
        suffix = os.path.splitext(found)[1].lower()
        if found == name if name else suffix in extensions and not _hidden(found):
            sources.append(found)
    sources.sort()
    return Discovery([Model(default_uid(source), root, source) for source in sources], stamps=stamps)


def _listed(folder: Path, stamps: Stamps) -> Iterator[str]:
    """Names below a remote folder, their sizes and times noted."""
    for entry in storage.listing(folder):
        stamps.add(f"{folder}/{entry.name}", entry.size, entry.mtime_ns)
        yield entry.name


def _hidden(name: str) -> bool:
    return name.startswith(".") or "/." in name


def _from_list(path: Path) -> Discovery:
    """One model a row; an unusable row is rejected under a name of its own, so that it hides no other."""
    found, seen, root = Discovery(), {}, str(path.parent)
    for number, row in enumerate(_rows(path), start=1):
        source = str(row.get("path") or "").strip()
        uid = str(row.get("uid") or "").strip() or default_uid(source)
        problem = _problem(uid, source, seen) or _secret(source)
        if problem:
            found.rejections.append(
                Rejection(
                    f"row-{number:09d}", storage.redact(source), f"{path.name}, row {number}: {problem}"
                )
            )
            continue
        seen[uid] = number
        texts = {key: _text(row.get(key)) for key in ("caption", "category", "license")}
        found.models.append(Model(uid, root, source, **texts))
    return replace(found, stamps=_stamps(found.models))


def _stamps(models: list[Model]) -> Stamps | None:
    """Listings of the remote folders that the models lie in; None where no model is remote.

    A folder within a listed one is not listed again.
    """
    folders = sorted({m.location.rpartition("/")[0] for m in models if storage.is_uri(m.location)})
    if not folders:
        return None
    stamps, last = Stamps(), None
    for folder in folders:
        if last is None or not folder.startswith(f"{last}/"):
            last = folder
            for _ in _listed(storage.locate(folder), stamps):
                pass
    return stamps


def _secret(source: str) -> str | None:
    """Why a URI is refused, if it is."""
    try:
        storage.check(source)
    except storage.StorageError as error:
        return str(error)
    return None


def _problem(uid: str, source: str, seen: dict[str, int]) -> str | None:
    if not source:
        return "no path. Give every row one."
    if uid in seen:
        return f"uid {uid!r} is row {seen[uid]}'s already. Make uids unique, or leave the column out."
    if _BAD_UID.search(uid) or len(uid.encode("utf-8", "surrogateescape")) > _LONGEST_UID:
        return (
            f"uid {uid!r} cannot be a file name. Use at most {_LONGEST_UID} bytes, no slash, backslash or "
            "control character, and no dot in front."
        )
    return None


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The list's rows; UserError where the file is not what its extension says, or has no `path`."""
    read = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".parquet": _parquet_rows}[path.suffix.lower()]
    try:
        yield from read(path)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as {path.suffix[1:].upper()}: {error}") from error


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        _require_path(path, reader.fieldnames or [])
        yield from reader


def _jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}: line {number} is not JSON: {error}") from error
            if not isinstance(row, dict):
                raise UserError(f"{path}: line {number} is not a JSON object.")
            yield row


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        _require_path(path, names)
        wanted = [name for name in ("path", "uid", "caption", "category", "license") if name in names]
        for batch in file.iter_batches(columns=wanted):
            yield from batch.to_pylist()


def _require_path(path: Path, names: Any) -> None:
    if "path" not in names:
        raise UserError(f"{path}: no column `path`; found: {', '.join(map(str, names)) or 'none'}.")
