"""kill -9 and other ends of every process of a run, at random times: run again, and it is as if nothing was.

Each kill has an OUT of its own. What is compared is every byte below OUT but the ledger's, with those of an
uninterrupted run; and neither a process nor a temporary file of the killed run or of the next may be left.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.helpers.commands_under_fire import Command, contents, cube, end, nothing_left, using, words
from tests.helpers.tiers import soak

RENDER = ("--views", "2", "--resolution", "32", "--samples", "1", "--workers", "2")
FUSE = (
    "--points",
    "64",
    "--hidden-points",
    "64",
    "--solid-points",
    "64",
    "--shard-rows",
    "2",
    "--workers",
    "2",
)


@dataclass
class Site:
    """Models, and what an uninterrupted run makes of them."""

    models: Path
    rendered: Path
    fused: Path
    seconds: dict[str, float]


@dataclass
class Fire:
    """One OUT, and the commands that are run into it."""

    site: Site
    verb: str
    folder: Path
    commands: list[Command]

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def start(self) -> Command:
        if self.verb == "fuse" and not self.out.exists():
            shutil.copytree(self.site.rendered, self.out)
        self.commands.append(Command(arguments(self.verb, self.site.models, self.out), self.folder / "t"))
        return self.commands[-1]

    def random_moment(self, seed: int, earlier: int = 1) -> Command:
        """A command that has run for a random share of an uninterrupted run's time, and still runs."""
        delay = random.Random(seed).uniform(0.05, 0.95) * self.site.seconds[self.verb] / earlier
        while True:
            command = self.start()
            try:
                command.process.wait(delay)
            except subprocess.TimeoutExpired:
                return command
            shutil.rmtree(self.out)  # the machine is faster now than it was: kill earlier
            delay /= 2

    def recovers(self) -> None:
        """The same command ends well and with the same bytes, and leaves nothing."""
        again = self.start()
        assert again.ended() == 0, again.text()
        self.is_whole()
        assert not nothing_left(self.commands)

    def is_whole(self) -> None:
        """The output has the bytes of an uninterrupted run."""
        wanted = self.site.fused if self.verb == "fuse" else self.site.rendered
        assert contents(self.out) == contents(wanted), self.commands[-1].text()


def arguments(verb: str, models: Path, out: Path) -> tuple[str, ...]:
    if verb == "render":
        return ("render", str(models), str(out), *RENDER)
    return ("fuse", str(out), *FUSE)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    base = Path(tempfile.mkdtemp(prefix="io-k", dir="/tmp"))  # Ray's socket paths must stay short
    models, rendered, fused = base / "models", base / "rendered", base / "fused"
    models.mkdir()
    for number in range(5):
        cube(models / f"box{number}.obj", 1 + number / 4)
    seconds = {}
    for verb, out in (("render", rendered), ("fuse", fused)):
        if verb == "fuse":
            shutil.copytree(rendered, fused)
        command = Command(arguments(verb, models, out), base / "t")
        assert command.ended() == 0, command.text()
        seconds[verb] = time.monotonic() - command.started
    assert len(list(fused.glob("clouds/part-*.parquet"))) == 3, "enough shards to be killed between two"
    yield Site(models, rendered, fused, seconds)
    shutil.rmtree(base)


@pytest.fixture
def fire(site: Site, request: pytest.FixtureRequest) -> Iterator[Fire]:
    folder = Path(tempfile.mkdtemp(prefix="io-f", dir="/tmp"))
    yield Fire(site, getattr(request, "param", "render"), folder, [])
    end(using(folder / "t"))
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("fire", "seed"),
    [
        ("render", 0),
        *(soak("render", seed) for seed in range(1, 5)),
        soak("fuse", 10),
    ],
    indirect=["fire"],
)
def test_a_killed_driver(fire: Fire, seed: int):
    fire.random_moment(seed).process.kill()
    fire.recovers()


@pytest.mark.parametrize(
    ("fire", "seed"),
    [("render", 20), soak("render", 21), soak("fuse", 23)],
    indirect=["fire"],
)
def test_killed_children_cost_no_model(fire: Fire, seed: int):
    """Three in a run, at random times: a child that somebody else killed is no model's failure."""
    command, chance, kills = fire.start(), random.Random(seed), 0
    for _ in range(3):
        kills += command.kill(command.child)
        time.sleep(chance.uniform(0.1, fire.site.seconds[fire.verb] / 4))
    assert kills
    assert command.ended() == 0, command.text()
    fire.recovers()
    assert "5 done before" in fire.commands[-1].text(), "the killed run had lost none"


@pytest.mark.soak
@pytest.mark.parametrize(("fire", "seed"), [("render", 30), ("fuse", 31)], indirect=["fire"])
def test_killed_supervisors_cost_no_model(fire: Fire, seed: int):
    command, chance = fire.start(), random.Random(seed)
    assert command.kill(command.supervisor)
    time.sleep(chance.uniform(0.5, fire.site.seconds[fire.verb] / 3))
    command.kill(command.supervisor)
    assert command.ended() == 0, command.text()
    fire.recovers()
    assert "5 done before" in fire.commands[-1].text(), "the killed run had lost none"


@pytest.mark.soak
@pytest.mark.parametrize(
    ("fire", "server"),
    [("render", "raylet"), ("fuse", "raylet"), ("render", "gcs_server")],
    indirect=["fire"],
)
def test_a_killed_server_of_ray(fire: Fire, server: str):
    command = fire.start()
    assert command.kill(lambda: command.child() and command.server(server))
    assert command.ended() == 1
    assert f"Ray's {server} on this machine died" in command.text()
    fire.recovers()


@pytest.mark.soak
@pytest.mark.parametrize(
    ("fire", "number", "group", "seed"),
    [
        ("render", signal.SIGINT, True, 40),
        ("fuse", signal.SIGINT, True, 41),
        ("render", signal.SIGTERM, False, 42),
        ("render", signal.SIGTERM, True, 43),
        ("render", signal.SIGHUP, True, 44),
    ],
    indirect=["fire"],
)
def test_a_stop(fire: Fire, number: signal.Signals, group: bool, seed: int):
    """By one who sends the signal to the driver, or to all (a terminal, a batch system)."""
    command = stopped(fire, number, group, seed)
    for earlier in (2, 4, 8):  # the machine may be faster now than it was
        if command.ended() != 0:
            break
        fire.is_whole()  # it was at its end
        shutil.rmtree(fire.out)
        command = stopped(fire, number, group, seed, earlier)
    assert command.ended() != 0
    assert "Traceback" not in command.text()
    fire.recovers()


def stopped(fire: Fire, number: signal.Signals, group: bool, seed: int, earlier: int = 1) -> Command:
    """A command, after the signal."""
    command = fire.random_moment(seed, earlier)
    for process in command.alive() if group else [command.process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    return command


@pytest.mark.soak
def test_driver_and_watchdog_killed_together(fire: Fire):
    """Then nobody is left to clear: the next run does."""
    command = fire.start()
    assert command.kill(command.child, signal.SIGSTOP)
    for process in command.alive():
        if "watchdog.py" in " ".join(words(process)):
            process.kill()
    command.process.kill()
    time.sleep(4)  # a folder that is younger might belong to a run that is just starting
    fire.recovers()
