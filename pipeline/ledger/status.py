"""How a dataset's stages stand, from OUT's files alone: during a run, after it, wherever OUT can be seen.

    insideout status DATASET --watch 10

A ledger is folded, batch by batch, into a small integer a model, so that millions fit; `--watch` reads only
what was appended since. What is left refers to what the newest run was given; `--models` counts again.
"""

from __future__ import annotations

import collections
import datetime
import time
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from fuse.dataset import storage
from fuse.dataset.layout import Layout
from pipeline.engine.progress import clock
from pipeline.inputs.discovery import discover
from pipeline.ledger import compact
from pipeline.ledger.compact import run_files
from pipeline.ledger.rows import Run, began, run_of
from pipeline.output import record as dataset
from render.failures import FailureClass, UserError

STAGES = ("render", "fuse")
_OK, _OLDER = "ok", "older configuration"
_WINDOW = 600.0  # seconds of the recent rate
_SAMPLE = 100_000  # rows of a run's end whose times are looked at for it
_COLUMNS = ["uid", "ok", "kind", "config_hash", "seconds", "peak_rss_mib", "source", "time"]
_SILENT = 1800.0  # seconds without a row after which nothing is foretold
_TOP = 3


class Top:
    """The models with the largest values."""

    def __init__(self, size: int = _TOP):
        self.size = size
        self._values: dict[str, tuple[float, str]] = {}  # uid -> value, source
        self._floor = float("-inf")

    def add(self, uid: str, value: float, source: str) -> None:
        """Take a model in; a later row of the same model replaces it."""
        values = self._values
        values.pop(uid, None)
        values[uid] = (value, source)
        if len(values) > self.size:
            del values[min(values, key=lambda key: values[key][0])]
        full = len(values) == self.size
        self._floor = min(value for value, _ in values.values()) if full else float("-inf")

    def wants(self, uid: str, value: float) -> bool:
        """Whether `add` would change anything: a quick look, for it is asked of every row."""
        return value > self._floor or uid in self._values

    def items(self) -> list[tuple[float, str]]:
        """(value, source), largest first."""
        return sorted(self._values.values(), reverse=True)


@dataclass
class Tally:
    """One stage's ledger, folded. `update` reads on from where the last one ended."""

    layout: Layout
    stage: str
    config_hash: str | None  # of the stage as dataset.json has it; other rows are an older configuration's
    kinds: list[str] = field(default_factory=lambda: [_OK, _OLDER])
    judged: dict[str, int] = field(default_factory=dict)  # uid -> index into kinds
    slowest: Top = field(default_factory=Top)
    largest: Top = field(default_factory=Top)
    runs: compact.Runs = field(default_factory=dict)
    run: str | None = None  # the newest one that is not folded yet
    run_rows: int = 0
    _times: collections.deque[float] = field(default_factory=lambda: collections.deque(maxlen=_SAMPLE))
    _offsets: dict[str, int] = field(default_factory=dict)
    _folded: tuple[int, int] | None = None  # size and time of the compact file that was read

    def update(self) -> None:
        """Fold in the rows that came since."""
        try:
            self._update()
        except OSError:  # perhaps a run has just begun, and folded its predecessors
            self._folded = None
            self._update()

    def counts(self) -> collections.Counter[str]:
        """Models by the class of their last row."""
        found = collections.Counter(self.judged.values())
        return collections.Counter({self.kinds[index]: count for index, count in found.items()})

    def left(self, wanted: set[str]) -> int:
        """How many of `wanted` the present configuration has not judged."""
        return sum(self.judged.get(uid, 1) == 1 for uid in wanted)

    def well(self) -> set[str]:
        """The models that came out well."""
        return {uid for uid, index in self.judged.items() if index == 0}

    def newest(self) -> Run | None:
        """What the newest run said of itself."""
        return self.runs.get(self.run or max(self.runs, default=""))

    def left_by_run(self) -> int | None:
        """What the newest run had to do and has not done; None if it did not say."""
        run = self.newest()
        if run is None or not run.began:
            return None
        judged = sum(index != 1 for index in self.judged.values())
        return max(0, run.todo - self.run_rows if self.run else run.given - judged)

    def pace(self) -> Pace | None:
        """How fast the newest run went; None without one."""
        if self.run is None or not self.run_rows or not self._times:
            return None
        last = self._times[-1]
        by_name = began(self.run)
        start = (self.newest() or Run(self.run)).began or (by_name.timestamp() if by_name else self._times[0])
        recent = [when for when in self._times if when >= last - _WINDOW]
        idle = max(0.0, time.time() - last)
        seconds = max(1.0, last - start)
        return Pace(self.run, self.run_rows, seconds, len(recent) - 1, last - recent[0], idle)

    def _update(self) -> None:
        folder = self.layout.ledger(self.stage)
        folded = next(((e.size, e.mtime_ns) for e in storage.listing(folder) if e.name == compact.NAME), None)
        if folded != self._folded:
            self._forget(folded)
            for batch in compact.compact_batches(folder, _COLUMNS, self.runs):
                self._fold(batch)
        for path in run_files(folder):
            self._begin(run_of(path))
            for offset, batch in compact.file_batches(
                path, self._offsets.get(path.name, 0), _COLUMNS, self.runs
            ):
                self._fold(batch)
                self._offsets[path.name] = offset
                self.run_rows += sum(kind != FailureClass.INVALID for kind in batch["kind"].to_pylist())
                self._times.extend(filter(None, batch["time"].to_pylist()))

    def _forget(self, folded: tuple[int, int] | None) -> None:
        fresh = Tally(self.layout, self.stage, self.config_hash)
        self.__dict__.update(fresh.__dict__)
        self._folded = folded

    def _begin(self, run: str) -> None:
        if run > (self.run or ""):
            self.run, self.run_rows = run, 0
            self._times.clear()

    def _fold(self, batch: pa.RecordBatch) -> None:
        columns = [batch[name].to_pylist() for name in _COLUMNS[:-1]]
        for uid, ok, kind, key, seconds, memory, source in zip(*columns, strict=True):
            self.judged[uid] = self._code(ok, kind, key)
            if self.slowest.wants(uid, seconds or 0.0):
                self.slowest.add(uid, seconds or 0.0, source)
            if self.largest.wants(uid, memory or 0.0):
                self.largest.add(uid, memory or 0.0, source)

    def _code(self, ok: bool, kind: str | None, key: str | None) -> int:
        if key and self.config_hash and key != self.config_hash:
            return 1
        if ok:
            return 0
        kind = kind or FailureClass.ERROR
        if kind not in self.kinds:
            self.kinds.append(kind)
        return self.kinds.index(kind)


@dataclass(frozen=True)
class Pace:
    """A run's speed."""

    run: str
    rows: int
    seconds: float
    recent_rows: int
    recent_seconds: float
    idle: float
    """Seconds since the last row."""

    @property
    def rate(self) -> float:
        """Models per second: of the last minutes, else of the whole run."""
        if self.recent_rows >= 5 and self.recent_seconds > 1:
            return self.recent_rows / self.recent_seconds
        return self.rows / self.seconds

    def line(self, left: int | None) -> str:
        """`4.2/min over the last 10:00, 3.9/min over the run's 129 rows; last row 0:04 ago; ETA 1:08`."""
        average = 60 * self.rows / self.seconds
        text = f"{average:.1f}/min over the run's {self.rows} rows in {clock(self.seconds)}"
        if self.recent_rows >= 5 and self.recent_seconds > 1:
            text = f"{60 * self.rate:.1f}/min over the last {clock(self.recent_seconds)}, {text}"
        text += f"; last row {clock(self.idle)} ago"
        if left and self.idle < _SILENT:
            text += f"; ETA {clock(left / self.rate)}"
        elif left:
            text += "; nothing is being done, or it is stuck"
        return text


class Status:
    """A dataset's state, refreshed at will."""

    def __init__(self, out: Path, models: Path | None = None):
        self.layout = Layout(out.absolute())
        if not self.layout.root.is_dir():
            raise UserError(f"{out}: no such folder. Give the dataset folder that render wrote.")
        stages = dataset.read(self.layout).get("stages", {})
        if not stages and not any(any(storage.listing(self.layout.ledger(stage))) for stage in STAGES):
            raise UserError(
                f"{out}: no dataset.json and no ledger: no stage has run here. Give a dataset folder, or run "
                "`insideout render`."
            )
        hashes = {name: stages.get(name, {}).get("config_hash") for name in STAGES}
        self.tallies = {name: Tally(self.layout, name, hashes[name]) for name in STAGES}
        found = discover(models) if models else None
        self._wanted = {entry.uid for entry in (*found.models, *found.rejections)} if found else None

    def refresh(self) -> list[str]:
        """Read what is new; the state as lines."""
        for tally in self.tallies.values():
            tally.update()
        lines = self._stage("render", self._wanted)
        lines += self._stage("fuse", self.tallies["render"].well())
        return [*lines, *self._clouds()]

    def _stage(self, name: str, wanted: set[str] | None) -> list[str]:
        tally = self.tallies[name]
        if not tally.judged and not wanted:
            return [f"{name:8}nothing yet", *_run_line(tally)]
        counts = tally.counts()
        ok, older = counts.pop(_OK, 0), counts.pop(_OLDER, 0)
        left, rest = _left(tally, wanted)
        lines = [f"{name:8}{ok} ok, {counts.total()} failed, {rest}"]
        lines += [f"{'':8}{count:6d} {kind}" for kind, count in counts.most_common()]
        if older:
            lines.append(f"{'':8}{older:6d} judged under an older configuration, to be done again")
        pace = tally.pace()
        if pace is not None:
            lines.append(_field("rate", pace.line(left)))
        for field_, top, unit in (
            ("slowest", tally.slowest, ".1f} s"),
            ("memory", tally.largest, ".0f} MiB"),
        ):
            if tally.judged:
                form = "{} {:" + unit
                lines.append(_field(field_, ", ".join(form.format(s, value) for value, s in top.items())))
        return [*lines, *_run_line(tally)]

    def _clouds(self) -> list[str]:
        from fuse.dataset.manifest import read_manifest

        parts = read_manifest(self.layout.clouds)
        if not parts:
            return ["clouds  no shard yet"]
        size = sum(part.bytes for part in parts) / 1e6
        return [f"clouds  {sum(part.rows for part in parts)} rows in {len(parts)} shards, {size:.1f} MB"]


def _left(tally: Tally, wanted: set[str] | None) -> tuple[int | None, str]:
    """How many models are left, and that in words."""
    if wanted is not None:
        left = tally.left(wanted)
        return left, f"{left} left of {len(wanted)}"
    left, run = tally.left_by_run(), tally.newest()
    if left is None or run is None:
        return None, "left: unknown, give --models"
    return left, f"{left} left of {run.given}"


def _run_line(tally: Tally) -> list[str]:
    """What the newest run is about, and how it ended."""
    run = tally.newest()
    if run is None or not run.began:
        return []
    when = datetime.datetime.fromtimestamp(run.began, datetime.UTC)
    text = f"{run.models}, {run.todo} of {run.given} to do, began {when:%Y-%m-%d %H:%M:%S} UTC"
    if run.ended is not None:
        text += f", took {clock(run.ended - run.began)}, exit code {run.exit}"
    return [_field("run", text)]


def _field(name: str, text: str) -> str:
    return f"{'':8}{name:9}{text}"
