"""A stage's finished runs in one Parquet file, a row per model; and the readers of a ledger.

    fold(layout.ledger("render"), layout.temporary)        # at the start of a run, under the dataset's lock
    for batch in batches(layout.ledger("render")): ...     # folded rows, then newer runs' rows, oldest first

The new file names in its footer the run files that it holds. It appears whole under its name; then those
files are removed. If the process is killed in between, the next fold removes them, and readers skip what the
footer names: at any moment every row counts once. Logs' tails are kept, shortened, for failures only.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from fuse.dataset import storage
from fuse.dataset.tables import readable, required
from pipeline.ledger.rows import Row, Run, failure_class, is_row, is_run_file, read_lines, run_of
from render.failures import DAMAGE, Status

NAME = "compact.parquet"
SCHEMA = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        ("source", pa.string()),
        pa.field("ok", pa.bool_(), nullable=False),
        ("kind", pa.string()),
        ("message", pa.string()),
        ("returncode", pa.int32()),
        ("signal", pa.string()),
        ("seconds", pa.float64()),
        ("peak_rss_mib", pa.int32()),
        ("log_tail", pa.string()),
        ("config_hash", pa.string()),
        ("input_size", pa.int64()),
        ("input_mtime_ns", pa.int64()),
        ("companions", pa.string()),  # JSON
        ("bytes", pa.int64()),
        ("attempt", pa.int32()),
        ("time", pa.float64()),
    ]
)
_NAMES = SCHEMA.names
_LEAST = 1 << 20  # bytes of run files below which folding is not worth it
_SHARE = 4  # folding rewrites everything: only when a fourth of it is new
_ROWS = 50_000  # per batch of the compact file
_LINES = 4000  # per batch of a run file: few objects at once keep the garbage collector quiet
_TAIL = 2000  # characters of a failure's log that outlive its run
_RUNS = 100  # newest runs whose beginning and end are kept

Runs = dict[str, Run]
_RUN_LIST = TypeAdapter(list[Run])


def fold(folder: Path, temporary: Path, least: int = _LEAST) -> bool:
    """Fold the run files into the compact file if they have grown enough; returns whether it did.

    The caller holds the dataset's lock, so no run is writing. A local file grows in `temporary`.
    """
    sizes = {entry.name: entry.size for entry in storage.listing(folder)}
    done = folded(folder)
    _remove(folder, [name for name in sizes if name in done and is_run_file(name)])
    files = run_files(folder)
    if sum(sizes[path.name] for path in files) < max(least, sizes.get(NAME, 0) / _SHARE):
        return False
    # Unfinished files are in the dataset's temporary folder, or have no name and end with this process.
    with storage.writing(folder / NAME, temporary) as new, tempfile.TemporaryFile() as everything:
        _write(folder, files, everything, new)
    _remove(folder, [path.name for path in files if is_run_file(path.name)])
    return True


def batches(
    folder: Path, columns: Sequence[str] = _NAMES, runs: Runs | None = None
) -> Iterator[pa.RecordBatch]:
    """Every row, oldest first. Fills `runs` with what the runs recorded about themselves."""
    yield from compact_batches(folder, columns, runs)
    for path in run_files(folder):
        for _, batch in file_batches(path, columns=columns, runs=runs):
            yield batch


def compact_batches(
    folder: Path, columns: Sequence[str] = _NAMES, runs: Runs | None = None
) -> Iterator[pa.RecordBatch]:
    """The folded rows, one per model."""
    file = _open(folder)
    if file is None:
        return
    with file, _whole(folder):
        if runs is not None:
            runs.update(_runs_in(file))
        schema = pa.schema([SCHEMA.field(name) for name in columns])
        for batch in file.iter_batches(_ROWS, columns=list(columns)):
            yield required(batch, schema)


def file_batches(
    path: Path, start: int = 0, columns: Sequence[str] = _NAMES, runs: Runs | None = None
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(offset after the batch, batch) of one run file, from byte `start` on."""
    runs = {} if runs is None else runs
    held: list[dict[str, Any]] = []
    for offset, values in read_lines(path, start):
        if is_row(values):
            held.append(values)
        else:
            _note(values, run_of(path), runs)
        start = offset
        if len(held) == _LINES:
            yield start, _pack(held, columns)
            held = []
    yield start, _pack(held, columns)


def runs(folder: Path) -> list[Run]:
    """What the runs recorded about themselves, oldest first."""
    said: Runs = {}
    file = _open(folder)
    if file is not None:
        with file, _whole(folder):
            said.update(_runs_in(file))
    for path in run_files(folder):
        for _, values in itertools.islice(read_lines(path), 1):  # a run's first line is about it
            _note(values, run_of(path), said)
    return sorted(said.values(), key=lambda run: run.name)


def compact_rows(folder: Path) -> Iterator[Row]:
    """The folded rows, one by one."""
    for batch in compact_batches(folder):
        with _whole(folder):
            yield from map(row_of, batch.to_pylist())


def row_of(values: dict[str, Any]) -> Row:
    """A row of a batch as a Row."""
    values = {key: value for key, value in values.items() if value is not None}
    values["status"] = Status.OK if values.pop("ok") else Status.FAILED
    if "companions" in values:
        values["companions"] = json.loads(values["companions"])
    return Row.from_values({"source": "", **values})


def run_files(folder: Path) -> list[Path]:
    """The runs' files in OUT/ledger/STAGE, oldest first, without those that are folded already."""
    done = folded(folder)
    names = (entry.name for entry in storage.listing(folder) if entry.name.endswith(".jsonl"))
    return [folder / name for name in sorted(names) if name not in done]


def read_rows(folder: Path) -> Iterator[Row]:
    """Every row in OUT/ledger/STAGE, oldest first, in full; of folded runs, what was kept."""
    yield from compact_rows(folder)
    for path in run_files(folder):
        for _, values in read_lines(path):
            if is_row(values):
                with suppress(ValueError):  # junk, like a line that is no JSON
                    yield Row.from_values({**values, "kind": values.get("class")})


def latest(folder: Path) -> dict[str, Row]:
    """uid -> its last row, in full: for a few thousand models. `pipeline.ledger.known` holds millions."""
    return {row.uid: row for row in read_rows(folder)}


def folded(folder: Path) -> set[str]:
    """Names of the run files whose rows the compact file holds."""
    file = _open(folder)
    if file is None:
        return set()
    with file, _whole(folder):
        return set(_footer(file)["files"])


def _open(folder: Path) -> pq.ParquetFile | None:
    try:
        with _whole(folder):
            return pq.ParquetFile(storage.readable(folder / NAME), page_checksum_verification=True)
    except FileNotFoundError:
        return None


def _whole(folder: Path) -> AbstractContextManager[None]:
    remedy = "Restore it, or delete it: the next run recognizes what is done by the outputs themselves."
    return readable(folder / NAME, "damaged, not a folded ledger", remedy)


def _footer(file: pq.ParquetFile) -> dict[str, Any]:
    return json.loads((file.metadata.metadata or {})[b"insideout.ledger"])


def _runs_in(file: pq.ParquetFile) -> Runs:
    return {run.name: run for run in _RUN_LIST.validate_python(_footer(file)["runs"])}


def _remove(folder: Path, names: Iterable[str]) -> None:
    storage.remove([folder / name for name in names])


def _write(folder: Path, files: list[Path], everything: IO[bytes], new: Path) -> None:
    """Copy all rows to `everything`, noting which is each model's last; then copy those to `new`."""
    runs: Runs = {}
    last: dict[str, int] = {}
    keep = bytearray()
    with pq.ParquetWriter(everything, SCHEMA, compression="lz4") as writer:
        for batch in batches(folder, runs=runs):
            for uid in batch["uid"].to_pylist():
                if (before := last.get(uid)) is not None:
                    keep[before] = 0
                last[uid] = len(keep)
                keep.append(1)
            writer.write_batch(_shortened(batch))
    del last
    options: Any = {"use_dictionary": ["kind", "signal", "config_hash"], "write_page_checksum": True}
    with pq.ParquetWriter(new, SCHEMA, compression="zstd", **options) as writer:
        at = 0
        for batch in pq.ParquetFile(everything).iter_batches(_ROWS):
            mask = pa.array(map(bool, keep[at : at + len(batch)]), pa.bool_())
            writer.write_batch(batch.filter(mask))
            at += len(batch)
        kept = sorted(runs.values(), key=lambda run: run.name)[-_RUNS:]
        about = {"files": [path.name for path in files], "runs": [asdict(run) for run in kept]}
        writer.add_key_value_metadata({"insideout.ledger": json.dumps(about)})


def _shortened(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Log tails shortened; none for models that succeeded."""
    tails = pc.utf8_slice_codeunits(batch["log_tail"], -_TAIL)  # type: ignore[attr-defined]
    tails = pc.if_else(batch["ok"], pa.scalar(None, pa.string()), tails)  # type: ignore[attr-defined]
    return batch.set_column(_NAMES.index("log_tail"), SCHEMA.field("log_tail"), tails)


def _note(values: dict[str, Any], name: str, runs: Runs) -> None:
    """Add what a run recorded about itself at its beginning or end."""
    known = runs.get(name, Run(name))
    try:
        if "run" in values:
            about = (str(values["stage"]), str(values["models"]), int(values["given"]), int(values["todo"]))
            runs[name] = Run(name, *about, began=float(values["time"]), ended=known.ended, exit=known.exit)
        elif "end" in values:
            runs[name] = replace(known, ended=float(values["time"]), exit=int(values["exit"]))
    except DAMAGE:
        return  # another release's line, or junk: no row is lost with it


def _pack(lines: list[dict[str, Any]], columns: Sequence[str]) -> pa.RecordBatch:
    """Rows as a batch; a row whose values have wrong types is left out, like a line that is no JSON."""
    schema = pa.schema([SCHEMA.field(name) for name in columns])
    try:
        return _batch(lines, schema)
    except (pa.ArrowException, TypeError, ValueError):
        parts = [pa.Table.from_batches(_alone(line, schema), schema) for line in lines]
        whole = pa.concat_tables(parts).combine_chunks().to_batches()
        return whole[0] if whole else _batch([], schema)


def _batch(lines: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [pa.array(_column(field.name, lines), field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _alone(line: dict[str, Any], schema: pa.Schema) -> list[pa.RecordBatch]:
    """One row. File names that are not UTF-8 are escaped: Arrow's strings cannot hold them."""
    escaped = {
        key: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for key, value in line.items()
    }
    try:
        return [_batch([escaped], schema)]
    except (pa.ArrowException, TypeError, ValueError):
        return [_batch([], schema)]


def _column(name: str, lines: list[dict[str, Any]]) -> list[Any]:
    """A column of the schema from run files' rows."""
    match name:
        case "ok":
            return [values["status"] == Status.OK for values in lines]
        case "kind":
            return [_kind(values) for values in lines]
        case "attempt":
            return [values.get("attempt", 1) for values in lines]
        case "companions":
            found = (values.get("companions") for values in lines)
            return [json.dumps(one) if one else None for one in found]
    return [values.get(name) for values in lines]


def _kind(values: dict[str, Any]) -> str | None:
    return None if values["status"] == Status.OK else failure_class(values.get("class"))
