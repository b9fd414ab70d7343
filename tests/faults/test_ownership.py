"""Nobody else's process or file ends because of a name, a link or an open file in the temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.sandbox.watchdog import MARK, OWNER, Watchdog, claim
from tests.helpers.places import ROOT

_WRITER = "import sys, time; file = open(sys.argv[1], 'w'); print('open', flush=True); time.sleep(120)"


@contextmanager
def stranger(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same user that is not ours and has a file open for writing."""
    with subprocess.Popen([sys.executable, "-c", _WRITER, file], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"open\n"
        try:
            yield process
        finally:
            process.kill()


def clear_the_dead(temporary: Path) -> None:
    """What every run does before it starts Ray."""
    code = "from pipeline.engine.session import _clear_the_dead; _clear_the_dead()"
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A short temporary folder: Ray's own limit would move a long one to /tmp."""
    path = Path(f"/tmp/io-{os.getpid()}")
    path.mkdir()
    yield path
    subprocess.run(["rm", "-rf", str(path)], check=True)


def test_a_link_with_a_sessions_name_ends_nobody(temporary: Path, tmp_path: Path):
    work = tmp_path / "work"
    work.mkdir()
    (temporary / "insideout-ray-0badcafe").symlink_to(work)
    os.utime(work, (1, 1))
    with stranger(work / "thesis.txt") as process:
        clear_the_dead(temporary)
        assert process.poll() is None
    assert (work / "thesis.txt").exists()


def test_a_folder_with_a_sessions_name_ends_nobody(temporary: Path):
    folder = temporary / "insideout-ray-0badcafe"
    folder.mkdir()
    with stranger(folder / "log.txt") as process:
        os.utime(folder, (1, 1))
        clear_the_dead(temporary)
        assert process.poll() is None
    assert (folder / "log.txt").exists(), "it has no marker"


def test_a_folder_with_another_folders_marker_stays(temporary: Path):
    claim(temporary / "insideout-ray-0badcafe")
    stranger = shutil.copytree(temporary / "insideout-ray-0badcafe", temporary / "insideout-ray-1badcafe")
    (temporary / "insideout-ray-2badcafe").mkdir()
    (temporary / "insideout-ray-2badcafe" / OWNER).symlink_to(temporary / "insideout-ray-2badcafe.txt")
    (temporary / "insideout-ray-2badcafe.txt").write_text("insideout-ray-2badcafe")
    for folder in temporary.glob("insideout-ray-*"):
        os.utime(folder, (1, 1))
    clear_the_dead(temporary)
    left = sorted(path.name for path in temporary.glob("insideout-ray-*"))
    assert left == [stranger.name, "insideout-ray-2badcafe", "insideout-ray-2badcafe.txt"]


def test_a_session_starts_no_fight_over_a_name_that_is_taken(tmp_path: Path):
    """A watchdog whose owner could not make its folder leaves the one that is there."""
    folder = tmp_path / "session"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    watchdog = Watchdog(f"{MARK}={folder}", [folder])
    with pytest.raises(FileExistsError):
        claim(folder)
    watchdog.close()
    assert (folder / "thesis.txt").exists()


def test_a_link_in_a_session_folder_is_removed_and_not_followed(temporary: Path, tmp_path: Path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("mine")
    folder = temporary / "insideout-ray-0badcafe"
    claim(folder)
    (folder / "session_latest").symlink_to(tmp_path / "home")
    (folder / "below").mkdir()
    (folder / "below" / "home").symlink_to(tmp_path / "home")
    os.utime(folder, (1, 1))
    clear_the_dead(temporary)
    assert not folder.exists() and (tmp_path / "home" / "thesis.txt").exists()


def test_a_sessions_own_process_is_ended(temporary: Path):
    """The control: what carries the session's mark does end."""
    folder = temporary / "insideout-ray-0badcafe"
    claim(folder)
    os.utime(folder, (1, 1))
    ours = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(120)"], env={**os.environ, MARK: str(folder)}
    )
    time.sleep(0.3)
    clear_the_dead(temporary)
    assert ours.wait(10) == -9
    assert not folder.exists()


def test_a_watchdog_removes_no_folder_that_became_a_link(tmp_path: Path):
    kept, folder = tmp_path / "kept", tmp_path / "session"
    kept.mkdir()
    watchdog = Watchdog(f"{MARK}={folder}", [folder])
    folder.symlink_to(kept)
    with stranger(kept / "thesis.txt") as process:
        watchdog.close()
        assert process.poll() is None
    assert (kept / "thesis.txt").exists() and folder.is_symlink()


def test_a_full_disk_leaves_no_marker_that_nobody_removes(tmp_path: Path):
    code = (
        "import resource; from pathlib import Path; from fuse.dataset.ownership import unfinished\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        f"unfinished(Path({str(tmp_path)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "File too large" in done.stderr
    assert not list(tmp_path.iterdir())
