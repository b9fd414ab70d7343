"""Disks that fill up or cannot be written, and models that vanish: named with path and remedy, fixed by room.

OUT lies on a small tmpfs of its own, which only root may mount.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.ledger.compact import latest
from tests.helpers.commands_under_fire import Command, contents, cube, nothing_left

FLAGS = ("--views", "2", "--resolution", "32", "--samples", "1", "--workers", "2")
FUSE = ("--points", "64", "--hidden-points", "64", "--solid-points", "64", "--shard-rows", "2", "--workers=2")
ROOM = "Make room there; then run the same command again."


def mount(folder: Path, options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        pytest.skip(f"needs the right to mount a tmpfs: {done.stderr.strip()}")


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(
        prefix="io-d", dir="/tmp"
    ) as folder:  # Ray's socket paths must stay short
        yield Path(folder)


@pytest.fixture(scope="module")
def models(base: Path) -> Path:
    folder = base / "models"
    folder.mkdir()
    for number in range(5):
        cube(folder / f"box{number}.obj", 1 + number / 4)
    return folder


@pytest.fixture(scope="module")
def whole(base: Path, models: Path) -> Path:
    """What a run with room makes."""
    assert render(base, models, base / "whole").ended() == 0
    assert fuse(base, base / "whole").ended() == 0
    return base / "whole"


@pytest.fixture
def small_disk(base: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=base))
    mount(folder, "size=40k")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=20)


def render(base: Path, models: Path, out: Path) -> Command:
    return Command(("render", str(models), str(out), *FLAGS), base / "t")


def fuse(base: Path, out: Path) -> Command:
    return Command(("fuse", str(out), *FUSE), base / "t")


@pytest.mark.soak
def test_a_full_disk(base: Path, models: Path, whole: Path, small_disk: Path):
    out = small_disk
    full = render(base, models, out)
    assert full.ended() == 1
    assert f"{out}/" in full.text() and "No space left on device" in full.text(), full.text()
    assert ROOM in full.text()
    assert "Traceback" not in full.text()

    mount_again(out, "size=110k")
    done = render(base, models, out)
    assert done.ended() == 0 and "0 failed" in done.text(), done.text()
    full = fuse(base, out)
    assert full.ended() == 1 and ROOM in full.text() and f"{out}/" in full.text(), full.text()

    mount_again(out, "size=10m")
    done = fuse(base, out)
    assert done.ended() == 0, done.text()
    assert contents(out) == contents(whole)
    assert not nothing_left([done])


def test_an_output_that_cannot_be_written(base: Path, models: Path, small_disk: Path):
    mount_again(small_disk, "ro")
    out = small_disk / "out"
    refused = render(base, models, out)
    assert refused.ended() == 1
    assert refused.text().startswith(f"insideout: {out}: Read-only file system. Make it writable"), (
        refused.text()
    )
    assert not nothing_left([refused])


@pytest.mark.soak
def test_an_output_that_turns_read_only(base: Path, models: Path, whole: Path, small_disk: Path):
    mount_again(small_disk, "size=10m")
    shutil.copytree(whole, small_disk, dirs_exist_ok=True)
    shutil.rmtree(small_disk / "clouds")
    mount_again(small_disk, "ro")
    refused = fuse(base, small_disk)
    assert refused.ended() == 1 and f"insideout: {small_disk}/" in refused.text(), refused.text()
    assert "Read-only file system. Make it writable" in refused.text()
    mount_again(small_disk, "rw")
    done = fuse(base, small_disk)
    assert done.ended() == 0, done.text()
    assert contents(small_disk) == contents(whole)


@pytest.mark.soak
def test_models_that_vanish_while_they_are_rendered(base: Path, models: Path, whole: Path):
    here, away, out = base / "here", base / "away", base / "vanished"
    shutil.copytree(models, here)
    lost = render(base, here, out)
    assert lost.kill(lost.child, 0), "up and running"
    os.rename(here, away)
    assert lost.ended() in (0, 1), lost.text()
    rows = latest(out / "ledger" / "render").values()
    missing = [row for row in rows if not row.ok]
    assert missing and {row.kind for row in missing} == {"missing"}, lost.text()
    assert str(here / missing[0].source) in str(missing[0].message) and "Correct the path" in str(
        missing[0].message
    )

    os.rename(away, here)
    done = render(base, here, out)
    assert done.ended() == 0 and "0 failed" in done.text(), done.text()
    assert bundles(out) == bundles(whole)
    assert not nothing_left([done])


def bundles(out: Path) -> dict[str, str]:
    return {name: digest for name, digest in contents(out).items() if name.startswith("views/")}


def mount_again(folder: Path, options: str) -> None:
    command = ["mount", "-o", f"remount,{options}", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=20)
