"""Every broken and hostile file gets its verdict within limits, and none reads what is not its own.

One run of `insideout render` over the files of ../shared/broken and over models planted here that are after a
picture, a buffer and a layer outside their folder, and after a server. The control renders the planted ones
in a child that is let go: there the picture's color must show, else its absence proves nothing.
"""

from __future__ import annotations

import collections
import csv
import secrets
import shutil
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from pipeline.engine.supervisor import Supervisor
from pipeline.inputs.staging import stage_input
from pipeline.ledger.compact import latest
from pipeline.ledger.rows import Row
from pipeline.sandbox import landlock
from pipeline.sandbox.process import Limits
from render.bundle import Bundle
from render.config import RenderConfig
from render.job import Placement, RenderJob
from tests.helpers.commands import insideout
from tests.helpers.hostile_models import plant, shows
from tests.helpers.listeners import Listeners
from tests.helpers.places import SHARED
from tests.helpers.tiers import soak

BROKEN = SHARED / "broken"
TIMEOUT, MEMORY, WORKERS = 20, 1536, 2  # seconds; MiB
SETTINGS = ["--views", "2", "--resolution", "64", "--samples", "1", "--slots", "4", "--device", "cpu"]
LIMITS = ["--timeout", TIMEOUT, "--memory-mib", MEMORY, "--workers", WORKERS]

pytestmark = [
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not BROKEN.is_dir(), reason="../shared/broken is not here"),
    pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock"),
]


@dataclass
class Run:
    """What one run over everything hostile left."""

    out: Path
    sources: list[str]
    planted: list[str]
    rows: dict[str, Row]
    seen: list[str]
    printed: str
    secret: bytes
    seconds: float
    peak_mib: float
    exit_code: int
    strays: list[str] = field(default_factory=list)


@pytest.fixture(scope="module", params=["one of each kind", soak("all")])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    base = tmp_path_factory.mktemp("hostile")
    models, out, secret = base / "models", base / "out", secrets.token_hex(32).encode()
    sources = _copy(models)
    if request.param != "all":
        sources = _one_of_each_kind(sources)
    listeners = Listeners(base)
    try:
        planted = [f"planted/{name}" for name in plant(models / "planted", base / "outside", listeners.tcp)]
        _mark(base / "outside", secret)
        _write_list(models / "list.csv", [*sources, *planted])
        started = time.monotonic()
        with _Watch() as watch:
            done = insideout("render", models / "list.csv", out, *SETTINGS, *LIMITS, timeout=1400)
    finally:
        listeners.close()
    rows = {row.source: row for row in latest(out / "ledger" / "render").values()}
    strays = [str(path) for path in Path("/tmp").glob("assets_evil*")] + [
        str(path) for path in base.rglob("pwned")
    ]
    printed = done.stdout + done.stderr
    return Run(
        out, sources, planted, rows, listeners.seen, printed, secret, time.monotonic() - started, watch.peak,
        done.returncode, strays,
    )  # fmt: skip


class _Watch:
    """The most memory that processes of ours have together."""

    def __enter__(self) -> _Watch:
        self.peak, self._over = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.25):
            children = psutil.Process().children(recursive=True)
            self.peak = max(self.peak, sum(map(_resident, children)) / (1 << 20))


def _resident(process: psutil.Process) -> int:
    try:
        memory = process.memory_info()
        return memory.rss - memory.shared
    except psutil.Error:
        return 0


def _copy(models: Path) -> list[str]:
    """The broken files, and those with odd names out of their archive; the paths that BROKEN.csv lists."""
    shutil.copytree(BROKEN, models, copy_function=shutil.copyfile)
    for folder in [models, *(path for path in models.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)
    with tarfile.open(models / "handmade" / "filenames.tar") as archive:
        archive.extractall(models / "handmade", filter="data")
    with (BROKEN / "BROKEN.csv").open(encoding="utf-8", newline="") as file:
        sources = [row["path"] for row in csv.DictReader(file)]
    assert len(sources) == 329
    return sources


def _one_of_each_kind(sources: list[str]) -> list[str]:
    """The first file of every folder, and all archives."""
    first = {source.split("/")[1]: source for source in reversed(sources)}
    return [s for s in sources if s in first.values() or s.startswith("handmade/archives/")]


def _mark(outside: Path, secret: bytes) -> None:
    """Every text and buffer outside carries the secret, so that any copy of it can be found."""
    for path in outside.iterdir():
        comment = {".mtl": b"# ", ".obj": b"# ", ".usda": b"# "}.get(path.suffix)
        if comment:
            path.write_bytes(path.read_bytes() + b"\n" + comment + secret + b"\n")


def _write_list(path: Path, sources: list[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path"])
        writer.writerows([source] for source in sources)


def test_every_file_has_its_verdict(run: Run, capsys: pytest.CaptureFixture[str]):
    assert set(run.rows) == {*run.sources, *run.planted}
    verdicts = collections.Counter(run.rows[source].kind or "ok" for source in run.sources)
    with capsys.disabled():
        print(f"\n{_table(run, verdicts)}")
    assert run.exit_code == 0, run.printed[-2000:]
    assert not verdicts.keys() & {"infrastructure", "missing"}, [
        r for r in run.rows.values() if r.kind == "missing"
    ]
    assert {row.confinement for row in run.rows.values() if row.confinement} == {_level()}


def _level() -> str:
    return f"full (landlock {landlock.abi()}, seccomp)"


def _table(run: Run, verdicts: collections.Counter[str]) -> str:
    lines = [f"{'class':<20}{'files':>6}{'slowest':>9}{'peak MiB':>10}"]
    for kind, count in verdicts.most_common():
        rows = [run.rows[source] for source in run.sources if (run.rows[source].kind or "ok") == kind]
        slowest, peak = max(row.seconds for row in rows), max(row.peak_rss_mib for row in rows)
        lines.append(f"{kind:<20}{count:>6}{slowest:>7.1f} s{peak:>10}")
    lines.append(f"{verdicts.total()} files and {len(run.planted)} planted models in {run.seconds:.0f} s,")
    return "\n".join([*lines, f"{run.peak_mib:.0f} MiB at most, all processes of the run together"])


def test_nothing_hangs_and_memory_is_bounded(run: Run):
    slow = {row.source: row.seconds for row in run.rows.values() if row.seconds > 2 * TIMEOUT + 60}
    assert not slow
    assert max(row.peak_rss_mib for row in run.rows.values()) < MEMORY + 300
    assert run.peak_mib < WORKERS * (MEMORY + 300) + 2500, "Ray's own processes have the rest"


def test_nothing_outside_was_read(run: Run):
    assert not run.seen, "somebody came to the server"
    for path in run.out.rglob("*"):
        assert not path.is_file() or run.secret not in path.read_bytes(), path
    assert run.secret not in run.printed.encode()
    assert not run.strays, "an archive or a name got out"


def test_the_secret_picture_shows_nowhere(run: Run):
    shown = [source for source in run.planted if _shows(_bundle(run, source))]
    assert not shown


def test_what_geometry_depends_on_is_refused_with_a_reason(run: Run):
    for name in ("buffer_outside.gltf", "buffer_server.gltf", "layer_outside.usda", "layer_server.usda"):
        row = run.rows[f"planted/{name}"]
        assert row.kind == "outside_reference", row
        assert row.message and name in row.message and "secret." in row.message
    for name in ("inline_outside.x3d", "inline_server.x3d", "linked_model.obj", "endless.ply"):
        assert run.rows[f"planted/{name}"].kind == "outside_reference"
    assert run.rows["planted/pipe.obj"].kind == "unsupported"


def test_a_refused_texture_is_dropped_and_named(run: Run):
    for name in ("absolute.obj", "up.gltf", "web.x3d", "file.usda", "linked_texture.obj"):
        assert run.rows[f"planted/{name}"].ok, run.rows[f"planted/{name}"]
        path = _bundle(run, f"planted/{name}")
        assert path is not None
        with Bundle(path) as bundle:
            notes = [note for note in bundle.meta["notes"] if note.startswith("refused: ")]
        assert len(notes) == 1, (name, notes)


def test_archives_that_are_bombs_or_leave_are_refused(run: Run):
    for name in ("traversal.usdz", "absolute.usdz", "bomb_256MB.usdz", "many_entries.usdz"):
        assert run.rows[f"handmade/archives/{name}"].kind == "unsafe_archive"


@pytest.fixture(scope="module")
def let_go(run: Run) -> Iterator[Supervisor]:
    limits = Limits(timeout=60, start_timeout=120, memory_mib=MEMORY, confine="off")
    supervisor = Supervisor("render.worker", limits)
    yield supervisor
    supervisor.end()


def test_the_control_shows_the_picture(run: Run, let_go: Supervisor):
    """Told of the file itself and let go, these importers do read outside."""
    names = ("absolute.obj", "absolute.gltf", "absolute.usda", "picture.blend", "picture.fbx", "picture.usdc")
    shown = {name for name in names if _shown_when_let_go(run, let_go, name, staged=False)}
    assert shown == set(names)


def test_staging_alone_keeps_names_in_the_clear_from_leading_out(run: Run, let_go: Supervisor):
    """Where the kernel has no Landlock; the names in a .usdc file are packed."""
    names = ("absolute.obj", "absolute.gltf", "absolute.usda", "absolute.x3d", "picture.blend", "picture.fbx")
    shown = {name for name in (*names, "up.obj", "file.usda") if _shown_when_let_go(run, let_go, name)}
    assert not shown


def _shown_when_let_go(run: Run, supervisor: Supervisor, name: str, staged: bool = True) -> bool:
    config = RenderConfig(views=2, resolution=64, samples=1, slots=4, device="cpu")
    source = f"planted/{name}"
    path = run.out.parent / "models" / source
    with supervisor.workspace.job() as folders, supervisor.turn() as turn:
        path, work = stage_input(path, source, folders, turn).path if staged else path, folders.work
        job = RenderJob(uid="one", config_hash="test", source=source, config=config)
        place = Placement(input=path, output=work / "one.zip", scratch=work / "w", input_sha256="")
        outcome = turn.run(job, place)
        assert outcome.ok, outcome
        return _shows(work / "one.zip")


def _bundle(run: Run, source: str) -> Path | None:
    row = run.rows[source]
    return next(run.out.glob(f"views/*/{row.uid}.zip")) if row.ok else None


def _shows(path: Path | None) -> bool:
    if path is None:
        return False
    with Bundle(path) as bundle:
        return any(shows(view.albedo) for view in bundle.views())
