"""How a dataset's stages stand, from OUT's files alone: during a run, after it, wherever OUT can be seen.

    insideout status OUT --models DIR --watch 10

A ledger is folded row by row into a small integer a model, so that millions fit; `--watch` reads only what
was appended since. No run records how many models it was given: `--models` counts them. Without it only
fuse's number is known, for fuse does what render has done.
"""

from __future__ import annotations

import collections
import datetime
import time
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import dataset
from pipeline.discovery import discover
from pipeline.errors import UserError
from pipeline.layout import Layout
from pipeline.ledger import Row, read_file, run_files
from pipeline.progress import clock

STAGES = ("render", "fuse")
_OK, _OLDER = "ok", "older configuration"
_WINDOW = 600.0  # seconds of the recent rate
_SAMPLE = 2000  # rows of a run's end whose outputs are looked at for it
_SILENT = 1800.0  # seconds without a row after which nothing is foretold
_TOP = 3


class Top:
    """The models with the largest values."""

    def __init__(self, size: int = _TOP):
        self.size = size
        self._values: dict[str, tuple[float, str]] = {}  # uid -> value, source

    def add(self, uid: str, value: float, source: str) -> None:
        """Take a model in; a later row of the same model replaces it."""
        values = self._values
        values.pop(uid, None)
        if len(values) < self.size:
            values[uid] = (value, source)
            return
        least = min(values, key=lambda key: values[key][0])
        if value > values[least][0]:
            del values[least]
            values[uid] = (value, source)

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
    run: Path | None = None  # the newest run's file
    run_rows: int = 0
    _recent: collections.deque[tuple[str, bool]] = field(
        default_factory=lambda: collections.deque(maxlen=_SAMPLE)
    )
    _offsets: dict[Path, int] = field(default_factory=dict)

    def update(self) -> None:
        """Fold the rows that came since."""
        for path in run_files(self.layout.ledger(self.stage)):
            if path != self.run and path not in self._offsets:
                self.run, self.run_rows = path, 0
                self._recent.clear()
            for offset, row in read_file(path, self._offsets.setdefault(path, 0)):
                self._fold(row)
                self._offsets[path] = offset

    def counts(self) -> collections.Counter[str]:
        """Models by the class of their last row."""
        found = collections.Counter(self.judged.values())
        return collections.Counter({self.kinds[index]: count for index, count in found.items()})

    def uids(self, *, ok_only: bool = False) -> set[str]:
        """Models that the present configuration has judged."""
        wrong = {self.kinds.index(_OLDER)}
        return {uid for uid, index in self.judged.items() if index not in wrong and not (ok_only and index)}

    def _fold(self, row: Row) -> None:
        current = not row.config_hash or self.config_hash in (None, row.config_hash)
        kind = (_OK if row.ok else row.kind or "error") if current else _OLDER
        if kind not in self.kinds:
            self.kinds.append(kind)
        self.judged[row.uid] = self.kinds.index(kind)
        self.slowest.add(row.uid, row.seconds, row.source)
        self.largest.add(row.uid, row.peak_rss_mib, row.source)
        self._recent.append((row.uid, row.ok))
        self.run_rows += 1

    def pace(self) -> Pace | None:
        """How fast the newest run went; None without one."""
        if self.run is None or not self.run_rows:
            return None
        last = self.run.stat().st_mtime
        run_seconds = max(1.0, last - _started(self.run))
        recent = self._recent_rate(last)
        return Pace(self.run.stem, self.run_rows, run_seconds, *recent, idle=max(0.0, time.time() - last))

    def _recent_rate(self, last: float) -> tuple[int, float]:
        """(rows, seconds) of the run's last minutes. Rows have no clock; the outputs' times of change do."""
        output = self.layout.bundle if self.stage == "render" else self.layout.staged_row
        best = (0, 0.0)
        for rows, (uid, ok) in enumerate(reversed(self._recent)):
            if not ok:
                continue
            try:
                age = last - output(uid).stat().st_mtime
            except OSError:  # packed into a shard, or gone
                break
            if age > _WINDOW:
                break
            best = (rows, age)
        return best


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
        """Models a second: of the last minutes, else of the whole run."""
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
        if not stages and not any(run_files(self.layout.ledger(stage)) for stage in STAGES):
            raise UserError(f"{out}: no dataset.json and no ledger: no stage has run here.")
        hashes = {name: stages.get(name, {}).get("config_hash") for name in STAGES}
        self.tallies = {name: Tally(self.layout, name, hashes[name]) for name in STAGES}
        found = discover(models) if models else None
        self._wanted = {entry.uid for entry in (*found.models, *found.rejections)} if found else None

    def refresh(self) -> list[str]:
        """Read what is new; the state as lines."""
        for tally in self.tallies.values():
            tally.update()
        fused = self.tallies["render"].uids(ok_only=True)
        lines = self._stage("render", self._wanted)
        lines += self._stage("fuse", fused)
        return [*lines, *self._clouds()]

    def _stage(self, name: str, wanted: set[str] | None) -> list[str]:
        tally = self.tallies[name]
        if not tally.judged and not wanted:
            return [f"{name:8}nothing yet"]
        counts = tally.counts()
        ok, older = counts.pop(_OK, 0), counts.pop(_OLDER, 0)
        left = None if wanted is None else len(wanted - tally.uids())
        rest = "left: unknown, give --models" if left is None else f"{left} left of {len(wanted or ())}"
        lines = [f"{name:8}{ok} ok, {counts.total()} failed, {rest}"]
        lines += [f"{'':8}{count:6d} {kind}" for kind, count in counts.most_common()]
        if older:
            lines.append(f"{'':8}{older:6d} judged under an older configuration, to be done again")
        pace = tally.pace()
        if pace is not None:
            lines += [
                _field("rate", pace.line(left)),
                _field(
                    "slowest", ", ".join(f"{source} {value:.1f} s" for value, source in tally.slowest.items())
                ),
                _field(
                    "memory",
                    ", ".join(f"{source} {value:.0f} MiB" for value, source in tally.largest.items()),
                ),
            ]
        return lines

    def _clouds(self) -> list[str]:
        from fuse.manifest import read_manifest

        parts = read_manifest(self.layout.clouds)
        if not parts:
            return ["clouds  no shard yet"]
        size = sum(part.bytes for part in parts) / 1e6
        return [f"clouds  {sum(part.rows for part in parts)} rows in {len(parts)} shards, {size:.1f} MB"]


def show(out: Path, models: Path | None = None, watch: float | None = None) -> int:
    """Print the state once, or every `watch` seconds until Ctrl-C."""
    import sys

    status = Status(out, models)
    print("\n".join(status.refresh()), flush=True)
    try:
        while watch:
            time.sleep(watch)
            clear = "\x1b[2J\x1b[H" if sys.stdout.isatty() else "\n"
            print(clear + "\n".join(status.refresh()), flush=True)
    except KeyboardInterrupt:
        print()
    return 0


def _started(run: Path) -> float:
    """When a run began, in seconds since the epoch, by its name; else by its file's time of change."""
    try:
        began = datetime.datetime.strptime(run.stem.rsplit("-", 1)[0], "%Y%m%dT%H%M%S.%f")
    except ValueError:
        return run.stat().st_mtime
    return began.replace(tzinfo=datetime.UTC).timestamp()


def _field(name: str, text: str) -> str:
    return f"{'':8}{name:9}{text}"
