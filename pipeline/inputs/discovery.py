"""Which models there are: a folder searched recursively, a list file, or one model file.

A list is CSV, JSONL or Parquet with `path` (relative to the list's own folder, absolute, or a URI) and,
optionally, `uid`, `caption`, `category`, `license`, and for training `split` and `weight`. A model listed by
absolute path may name files of its own folder only, unless `root` has the folder of the collection that it
lies in. A row that cannot be used, and a folder that cannot be read, becomes a rejection; the others
continue. Folder, list and models may be remote (`fuse.dataset.storage`).

A zip archive that holds one model is that model, `chair.zip`; several in it are `pack.zip/NAME` each. Names
that are not UTF-8 are recorded as `render.references.spelling` says.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fuse.config import SPLITS
from fuse.dataset import storage
from fuse.dataset.names import RULE, is_name
from pipeline.inputs.file_stats import Stamps
from pipeline.output.licenses import is_known
from render.failures import DAMAGE, UserError
from render.importing.formats import SUPPORTED
from render.references import archives
from render.references.spelling import is_text, spelled, unspelled

LISTS = {".csv", ".jsonl", ".parquet"}
_COLUMNS = ("path", "uid", "caption", "category", "license", "split", "weight", "root")
_TEXTS = ("caption", "category", "license", "split")
_ARCHIVE = ".zip"


@dataclass(frozen=True, slots=True)
class Model:
    """One model to process. Small: a million of them are held at once."""

    uid: str
    root: str  # the folder that `source` is relative to
    source: str  # as recorded: relative, absolute or a URI
    caption: str | None = None
    category: str | None = None
    license: str | None = None
    split: str | None = None
    weight: float | None = None
    member: str | None = None  # the end of `source`, where that names a file in an archive

    @property
    def location(self) -> str:
        """The absolute path, or the URI, of its file or of the archive that it lies in."""
        if storage.is_uri(self.source):
            return self.source
        file = unspelled(self.source.removesuffix(f"/{self.member}") if self.member else self.source)
        return file if file.startswith("/") else f"{self.root}/{file}"

    @property
    def path(self) -> Path:
        """`location` as a path, local or remote."""
        return storage.locate(self.location)


@dataclass(frozen=True)
class Rejection:
    """A list's row, or a folder, that gives no usable model; it goes into the ledger as a failure."""

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


def licensed(found: Discovery) -> Discovery:
    """The same, but models whose license is unknown are rejections."""
    models = [model for model in found.models if is_known(model.license)]
    message = "No license is known. Name one in the list's column `license`, or leave out --require-license."
    unknown = [Rejection(m.uid, m.source, message) for m in found.models if not is_known(m.license)]
    return replace(found, models=models, rejections=[*found.rejections, *unknown])


def default_uid(source: str) -> str:
    """`{slug of the stem}-{12 hex of the relative path's sha256}`: readable, stable, safe as a file name."""
    stem = source.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    slug = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:40].strip("-") or "model"
    return f"{slug}-{hashlib.sha256(source.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"


def _extensions() -> set[str]:
    return {*SUPPORTED, _ARCHIVE}


def _from_folder(folder: Path, name: str | None = None) -> Discovery:
    """Every supported file below `folder`, or the one called `name`; hidden ones left out, sorted by path."""
    stamps = None if storage.is_local(folder) else Stamps()
    extensions = _extensions()
    unreadable: list[OSError] = []
    if name is not None and stamps is None:
        found = [name]
    else:
        names = storage.walk(folder, unreadable.append) if stamps is None else _listed(folder, stamps)
        found = sorted(one for one in names if _is_wanted(one, name, extensions))
    models = [model for one in found for model in _models(folder, one, name is not None)]
    return Discovery(models, [_unreadable(folder, error) for error in unreadable], stamps)


def _is_wanted(found: str, name: str | None, extensions: set[str]) -> bool:
    if name is not None:
        return found == name
    return os.path.splitext(found)[1].lower() in extensions and not _hidden(found)


def _models(folder: Path, name: str, chosen: bool) -> list[Model]:
    """The models in the file `name` below `folder`: one, or as many as a zip archive holds."""
    source = spelled(name)
    members: list[str] | None = None
    if name.lower().endswith(".zip") and storage.is_local(folder):
        members = archives.models(folder / name, SUPPORTED)
        if members == [] and not chosen:
            return []
    if members is None or len(members) < 2:
        return [Model(default_uid(source), str(folder), source)]
    inner = [spelled(member) for member in members]
    return [
        Model(default_uid(f"{source}/{one}"), str(folder), f"{source}/{one}", member=one) for one in inner
    ]


def _unreadable(folder: Path, error: OSError) -> Rejection:
    place = str(error.filename or folder)
    source = spelled(os.path.relpath(place, folder))
    message = f"The folder {source} cannot be read: {error.strerror}. Change its permissions, or exclude it."
    return Rejection(default_uid(source), source, message)


def _listed(folder: Path, stamps: Stamps) -> Iterator[str]:
    """Names below a remote folder, their sizes and times noted."""
    for entry in storage.listing(folder):
        stamps.add(f"{folder}/{entry.name}", entry.size, entry.mtime_ns)
        yield entry.name


def _hidden(name: str) -> bool:
    return name.startswith(".") or "/." in name


def _from_list(path: Path) -> Discovery:
    """One model per row; an unusable row is rejected under its own uid, so that it hides no other."""
    found, seen = Discovery(), {}
    for number, row in enumerate(_rows(path), start=1):
        nested = [key for key in _COLUMNS if isinstance(row.get(key), (list, dict))]
        values = {key: None if key in nested else _text(row.get(key)) for key in _COLUMNS}
        written = (values["path"] or "").strip()
        source = _readable(written if is_text(written) else spelled(written))
        root, source, misplaced = _rooted(path.parent, values["root"], source)
        uid = (values["uid"] or "").strip() or default_uid(source)
        problem = f"{nested[0]} is not text." if nested else _problem(uid, source, seen) or _secret(source)
        problem = problem or misplaced or _sampling_problem(values["split"], values["weight"])
        if problem:
            found.rejections.append(
                Rejection(
                    f"row-{number:09d}", storage.redact(source), f"{path.name}, row {number}: {problem}"
                )
            )
            continue
        seen[uid] = number
        texts = {key: _readable(text) for key in _TEXTS if (text := values[key]) is not None}
        weight = None if values["weight"] is None else float(values["weight"])
        found.models.append(Model(uid, root, source, **texts, weight=weight, member=_member(root, source)))
    return replace(found, stamps=_stamps(found.models))


def _rooted(folder: Path, root: str | None, source: str) -> tuple[str, str, str | None]:
    """The folder that a row's path is relative to, the path, and what is wrong with the row's `root`."""
    if root is None:
        return str(folder), source, None
    if storage.is_uri(root) or storage.is_uri(str(folder)):
        return str(folder), source, "`root` is for local models only."
    root = os.path.normpath(folder / root)
    inside = os.path.relpath(os.path.normpath(os.path.join(root, source)), root)
    if root == "/" or inside == ".." or inside.startswith("../"):
        return root, source, f"the path is not inside its `root`, {root}. Name the collection's folder."
    return root, inside, None


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
    if "\0" in source:
        return "a path cannot hold a zero byte."
    if uid in seen:
        return f"uid {uid!r} is row {seen[uid]}'s already. Make uids unique, or leave the column out."
    if not is_name(uid) or _readable(uid) != uid:
        return f"uid {uid!r} cannot be a file name. {RULE}"
    return None


def _sampling_problem(split: str | None, weight: str | None) -> str | None:
    """Why training could not use a row's `split` or `weight`, if so."""
    if split is not None and split not in SPLITS:
        return f"split {split!r} is none of {', '.join(SPLITS)}."
    try:
        usable = weight is None or 0 <= float(weight) < math.inf
    except ValueError:
        usable = False
    return None if usable else f"weight {weight!r} is not a number of 0 or more."


def _member(root: str, source: str) -> str | None:
    """The part of `source` that lies in an archive, for a row that names one."""
    archive, dot, member = source.partition(f"{_ARCHIVE}/")
    if not dot or storage.is_uri(source):
        return None
    file = unspelled(archive) + _ARCHIVE
    return member if os.path.isfile(file if file.startswith("/") else f"{root}/{file}") else None


def _text(value: Any) -> str | None:
    """A cell as text: None where it is empty or NaN, whole numbers without a point."""
    if isinstance(value, bytes):
        return os.fsdecode(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        value = int(value) if value.is_integer() else value
    return None if value is None or value == "" else str(value)


def _readable(text: str) -> str:
    """Text without surrogates, which no file may hold."""
    return text.encode("utf-8", "replace").decode()


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The list's rows; UserError where the file is not what its extension says, or has no `path`."""
    read = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".parquet": _parquet_rows}[path.suffix.lower()]
    try:
        yield from read(path)
    except UserError:
        raise
    except (OSError, csv.Error, *DAMAGE) as error:
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
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}: line {number} is not JSON: {error}") from error
            if not isinstance(row, dict):
                raise UserError(f"{path}: line {number} is not a JSON object. Write one per line.")
            yield row


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        _require_path(path, names)
        wanted = [name for name in _COLUMNS if name in names]
        for batch in file.iter_batches(columns=wanted):
            yield from batch.to_pylist()


def _require_path(path: Path, names: Any) -> None:
    if "path" not in names:
        raise UserError(f"{path}: no column `path`; found: {', '.join(map(str, names)) or 'none'}.")
