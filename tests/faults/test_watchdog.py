"""Who is taken for a process of the owner's, and who is not: with real processes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.sandbox.watchdog import Watchdog, claim

Start = Callable[..., subprocess.Popen[bytes]]
OWNER = """
import sys
from pathlib import Path
from pipeline.sandbox.watchdog import Watchdog, claim

folder = Path(sys.argv[1])
watchdog = Watchdog("MARK=it", [folder])
claim(folder)
print(flush=True)
sys.stdin.read()
"""

MANY = """
import sys
from pathlib import Path
from pipeline.sandbox.watchdog import Watchdog

for number in range(20):
    Watchdog("MARK=it", [Path(sys.argv[1]) / str(number)]).close()
"""


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def sleep(**how: object) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", "100"], **how))  # type: ignore[arg-type]
        return started[-1]

    yield sleep
    for process in started:
        process.kill()
        process.wait(10)


def test_what_bears_the_mark_or_writes_there_is_ended(start: Start, tmp_path: Path):
    folder = tmp_path / "link" / "session"
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    watchdog = Watchdog("MARK=it", [folder])
    claim(folder)
    with (folder / "log").open("wb") as log, (folder / "log").open("rb") as shown:
        writer, reader = start(stdout=log, env={}), start(stdin=shown, env={})
        marked, stranger = start(env={"MARK": "it is"}), start(env={"UNMARK": "it", "OTHER": "MARK=it"})
        watchdog.close()  # the owner, this process, writes there too
    assert writer.wait(10) == marked.wait(10) == -9
    assert reader.poll() is stranger.poll() is None
    assert not folder.exists()


def test_a_killed_owner(start: Start, tmp_path: Path):
    folder = tmp_path / "session"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", OWNER, folder], stdin=pipe, stdout=pipe) as owner:
        assert owner.stdout and owner.stdout.readline()
        marked = start(env={"MARK": "it"})
        owner.kill()
    assert marked.wait(10) == -9
    deadline = time.monotonic() + 10
    while folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_stop_of_all_processes_while_it_starts(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", MANY, tmp_path]) as owner:
        stopped = 0
        while owner.poll() is None:
            for watchdog in psutil.Process(owner.pid).children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    watchdog.terminate()
                    stopped += 1
    assert stopped > 20
    assert owner.returncode == 0
