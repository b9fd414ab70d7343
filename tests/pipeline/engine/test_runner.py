"""Whole runs on a real local Ray with real children: others finish, resume skips, a stop leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from fuse.dataset.layout import Layout
from pipeline.config import EngineConfig
from pipeline.engine.resume import Resume
from pipeline.engine.runner import Summary, run_stage
from pipeline.engine.session import ray_session, share_cores
from pipeline.engine.tasks import Stage, Task
from pipeline.errors import InfrastructureError
from pipeline.inputs.discovery import Rejection
from pipeline.ledger.compact import latest, read_rows
from pipeline.ledger.known import Known
from pipeline.output.commit import exclusive
from pipeline.stages.render import bundle_stored
from render.job import Job
from tests.helpers.commands_under_fire import below
from tests.helpers.places import ROOT
from tests.helpers.tiers import soak

ENGINE = EngineConfig(workers=2, timeout=20, start_timeout=60, memory_mib=300)
MIXED = ["ok", "segfault", "refuse", "ok", "leave", "blunder", "allocate", "ok", "shout", "die_later", "ok"]


def key_inside(path: Path) -> tuple[str, str] | None:
    """What the test stage writes into its outputs."""
    try:
        values = json.loads(path.read_text())
    except ValueError:
        return None
    return values["source_sha256"], values["config_hash"]


def make_stage(out: Path, config: str = "v1") -> Stage:
    return Stage("faulty", "tests.helpers.faulty_stage", config, Layout(out), key_inside)


def run(
    stage: Stage, tasks: list[Task], engine: EngineConfig, rejections: Sequence[Rejection] = ()
) -> Summary:
    with exclusive(stage.layout):
        known = Known.load(stage.layout.ledger(stage.name))
        resume = Resume(stage.config_hash, known, engine.on_existing, bundle_stored(stage.layout))
        return run_stage(stage, tasks, engine, resume, rejections)


def make_tasks(folder: Path, out: Path, deeds: list[str], config: str = "v1") -> list[Task]:
    folder.mkdir(exist_ok=True)
    tasks = []
    for number, deed in enumerate(deeds):
        path = folder / f"{number:02d}.json"
        if not path.exists():
            path.write_text(json.dumps({"do": deed, "number": number}))
        job = Job(uid=f"model-{number:02d}", config_hash=config)
        tasks.append(Task(path.name, path, Layout(out).bundle(job.uid), job))
    return tasks


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    """One Ray for the tests of this file that do not start their own."""
    with ray_session(ENGINE):
        yield


def test_an_output_that_cannot_be_stored_is_no_success(ray: None, tmp_path: Path):
    tasks = make_tasks(tmp_path / "models", tmp_path / "out", ["ok", "ok"])
    blocked = tasks[0].output
    blocked.mkdir(parents=True)
    anew = ENGINE.model_copy(update={"on_existing": "overwrite"})
    summary = run(make_stage(tmp_path / "out"), tasks, anew)
    assert (summary.ok, summary.failed["infrastructure"], summary.exit_code) == (1, 1, 1)
    row = latest(Layout(tmp_path / "out").ledger("faulty"))["model-00"]
    assert not row.ok and "Is a directory" in str(row.message)


@pytest.fixture(scope="module")
def mixed(ray: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Task], Summary]:
    base = tmp_path_factory.mktemp("mixed")
    tasks = make_tasks(base / "models", base / "out", MIXED)
    return base / "out", tasks, run(make_stage(base / "out"), tasks, ENGINE)


def outputs(out: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in out.glob("views/*/*.zip")}


def test_every_model_gets_its_verdict(mixed: tuple[Path, list[Task], Summary]):
    out, _, summary = mixed
    rows = latest(out / "ledger" / "faulty")
    verdicts = {uid: row.kind or row.status for uid, row in rows.items()}
    expected = {
        "refuse": "empty",
        "segfault": "crash",
        "leave": "crash",
        "blunder": "error",
        "allocate": "out_of_memory",
    }
    assert verdicts == {f"model-{i:02d}": expected.get(deed, "ok") for i, deed in enumerate(MIXED)}
    assert set(outputs(out)) == {uid for uid, verdict in verdicts.items() if verdict == "ok"}
    assert (summary.ok, summary.failed.total(), summary.exit_code) == (6, 5, 0)
    assert rows["model-01"].signal == "SIGSEGV"
    assert rows["model-01"].log_tail and "address 0" in rows["model-01"].log_tail
    assert rows["model-00"].input_sha256 and rows["model-00"].steps == {"ok": 0.0}


def test_nothing_unfinished_is_left(mixed: tuple[Path, list[Task], Summary]):
    out, _, _ = mixed
    assert not Layout(out).temporary.exists()
    assert not list(Path(tempfile.gettempdir()).glob(f"insideout-{ledger_runs(out)[0]}*"))


def test_running_again_does_nothing(mixed: tuple[Path, list[Task], Summary]):
    out, tasks, _ = mixed
    runs = ledger_runs(out)
    again = run(make_stage(out), tasks, ENGINE)
    assert (again.ok, again.kept, again.left_failed, again.exit_code) == (0, 6, 5, 0)
    assert ledger_runs(out) == runs, "a run without work writes no ledger"


def test_resume_does_what_is_lost_changed_or_asked_for(ray: None, tmp_path: Path):
    out, models = tmp_path / "out", tmp_path / "models"
    tasks = make_tasks(models, out, ["ok", "ok", "ok", "refuse", "ok"])
    run(make_stage(out), tasks, ENGINE)
    tasks[0].output.unlink()
    tasks[1].output.write_bytes(b"cut off")
    tasks[2].input.write_text('{"do": "ok", "number": 200}')
    tasks[3].input.write_text('{"do": "ok", "number": 300}')
    again = run(make_stage(out), tasks, ENGINE)
    assert (again.ok, again.kept) == (4, 1)
    assert b"200" in outputs(out)["model-02"] and b"300" in outputs(out)["model-03"]


def test_retry_failed_and_overwrite(ray: None, tmp_path: Path):
    out = tmp_path / "out"
    tasks = make_tasks(tmp_path / "models", out, ["ok", "refuse"])
    run(make_stage(out), tasks, ENGINE)
    retried = run(make_stage(out), tasks, ENGINE.model_copy(update={"on_existing": "retry-failed"}))
    assert (retried.kept, retried.failed.total()) == (1, 1)
    assert latest(out / "ledger" / "faulty")["model-01"].attempt == 2
    redone = run(make_stage(out), tasks, ENGINE.model_copy(update={"on_existing": "overwrite"}))
    assert (redone.ok, redone.kept, redone.failed.total()) == (1, 0, 1)


def test_an_output_without_its_ledger_row_is_found_again(ray: None, tmp_path: Path):
    """What a driver killed between commit and ledger leaves."""
    out = tmp_path / "out"
    tasks = make_tasks(tmp_path / "models", out, ["ok", "ok"])
    run(make_stage(out), tasks, ENGINE)
    for path in (out / "ledger" / "faulty").glob("*.jsonl"):
        path.unlink()
    run(make_stage(out), tasks, ENGINE)
    assert [row.record for row in read_rows(out / "ledger" / "faulty")] == [{"recovered": True}] * 2


def test_the_same_bytes_whatever_the_configuration_of_the_engine(ray: None, tmp_path: Path):
    models = tmp_path / "models"
    for name, workers in (("one", 1), ("two", 2)):
        tasks = make_tasks(models, tmp_path / name, ["ok"] * 6)
        run(make_stage(tmp_path / name), tasks, ENGINE.model_copy(update={"workers": workers}))
    assert outputs(tmp_path / "one") == outputs(tmp_path / "two") != {}


def test_rejections_and_missing_files_lose_nothing_else(ray: None, tmp_path: Path):
    out = tmp_path / "out"
    tasks = make_tasks(tmp_path / "models", out, ["ok", "ok"])
    tasks[1].input.unlink()
    summary = run(make_stage(out), tasks, ENGINE, [Rejection("row-000000007", "x.glb", "bad uid")])
    assert (summary.ok, dict(summary.failed)) == (1, {"invalid": 1, "missing": 1})
    rows = latest(out / "ledger" / "faulty")
    assert rows["row-000000007"].message == "bad uid"
    assert str(tasks[1].input) in str(rows["model-01"].message)


def test_broken_machinery_stops_the_run(ray: None, tmp_path: Path):
    out = tmp_path / "out"
    stage = Stage("broken", "tests.helpers.broken_stage", "v1", Layout(out), key_inside)
    summary = run(stage, make_tasks(tmp_path / "models", out, ["ok"] * 20), ENGINE)
    assert summary.exit_code == 1 and summary.broken and "libMissing.so.1" in summary.broken
    assert 5 <= summary.failed["infrastructure"] < 20


def test_two_runs_do_not_share_an_output(tmp_path: Path):
    with exclusive(Layout(tmp_path)):
        code = f"from pipeline.output.commit import *\nwith exclusive(Layout(Path({str(tmp_path)!r}))): pass"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "another run is writing here" in other.stderr
    with exclusive(Layout(tmp_path)):
        assert not os.listdir(tmp_path), "a lock leaves no file"


def test_cores_are_shared():
    assert share_cores(EngineConfig(), 8) == (8, 1)
    assert share_cores(EngineConfig(threads=3), 8) == (2, 3)
    assert share_cores(EngineConfig(workers=2, threads=0), 8) == (2, 4)
    assert share_cores(EngineConfig(workers=5), 2) == (5, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, soak(signal.SIGTERM)])
def test_a_stop_leaves_no_process_and_no_file_and_is_resumed(tmp_path: Path, number: signal.Signals):
    temp = tmp_path / "t"
    temp.mkdir()
    script = tmp_path / "run.py"
    script.write_text(
        "import sys; from pathlib import Path; from tests.pipeline.engine.test_runner import *\n"
        "tasks = make_tasks(Path('models'), Path('out'), ['ok', 'ok'] + ['hang'] * 4)\n"
        "summary = run(make_stage(Path('out')), tasks, ENGINE)\n"
        "print('\\n'.join(summary.lines('faulty'))); sys.exit(summary.exit_code)\n"
    )
    short = tempfile.mkdtemp(prefix="io-")
    driver = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": short},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    ledger = tmp_path / "out" / "ledger" / "faulty"  # an output is there a moment before its row
    wait_for(lambda: sum(row.ok for row in read_rows(ledger)) == 2, 90)
    wait_for(lambda: len(below(driver.pid, "pipeline.sandbox.child")) == 2, 90)
    processes = psutil.Process(driver.pid).children(recursive=True)
    os.killpg(driver.pid, number) if number == signal.SIGINT else driver.send_signal(number)
    text, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130, text
    assert "Run the same command again" in text and "Traceback" not in text
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive
    assert os.listdir(short) == []
    assert not Layout(tmp_path / "out").temporary.exists()
    assert sum(row.ok for row in read_rows(ledger)) == 2
    os.rmdir(short)


def test_a_ctrl_c_while_ray_ends_leaves_nothing():
    code = (
        "import os, ray, signal\n"
        "from pipeline.engine.session import *\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores it
        "end = ray.shutdown\n"
        "ray.shutdown = lambda: (os.kill(os.getpid(), signal.SIGINT), end())\n"
        "with ray_session(EngineConfig()):\n"
        "    print(signal.getsignal(signal.SIGTERM).name, flush=True)\n"
    )
    with tempfile.TemporaryDirectory(prefix="io-", dir="/tmp") as short:  # Ray's socket paths must stay short
        environment = {**os.environ, "TMPDIR": short}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=180
        )
        assert "KeyboardInterrupt" in done.stderr, done.stderr
        assert done.stdout == "SIG_DFL\n", "Ray takes no signal for itself"
        assert os.listdir(short) == []


def test_a_cluster_that_is_not_there_is_one_clear_error(tmp_path: Path):
    code = (
        "from pipeline.engine.session import *\n"
        "try:\n"
        "    with ray_session(EngineConfig()): print('up')\n"
        "except InfrastructureError as error: print(error)\n"
    )
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.stdout.startswith("Ray did not start (127.0.0.1:1)"), done.stdout + done.stderr
    assert InfrastructureError.__name__ not in done.stderr


def ledger_runs(out: Path) -> list[str]:
    return sorted(path.stem for path in (out / "ledger" / "faulty").glob("*.jsonl"))


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.2)
