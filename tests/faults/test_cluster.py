"""A simulated cluster: a head without cores, nodes with temporary folders of their own that come and go.

`ray.cluster_utils.Cluster` starts a real GCS and real raylets. What it has not: file systems, images and
networks of their own. `insideout submit` to a real head node: tests/pipeline/test_submit.py.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.config import EngineConfig
from pipeline.engine.session import ray_session
from pipeline.ledger.compact import latest
from tests.helpers.commands_under_fire import Command, contents, cube, using, words

MODELS = 6
FLAGS = ("--views", "2", "--resolution", "32", "--samples", "1")
STORE = 80 << 20  # bytes of a node's object store


@dataclass
class Machines:
    """The cluster, and where each node has its temporary folder."""

    base: Path
    cluster: Any
    nodes: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, cores: int) -> None:
        os.environ["TMPDIR"] = str(self.temporary(name))
        self.temporary(name).mkdir()
        self.nodes[name] = self.cluster.add_node(
            num_cpus=cores, object_store_memory=STORE, include_dashboard=False
        )

    def remove(self, name: str) -> None:
        """As a pulled plug does."""
        self.cluster.remove_node(self.nodes.pop(name), allow_graceful=False)

    def temporary(self, name: str) -> Path:
        return self.base / name

    def child(self, name: str) -> psutil.Process | None:
        """A process that touches models on this node."""
        return next((p for p in using(self.temporary(name)) if "pipeline.sandbox.child" in words(p)), None)

    def start(self, *arguments: object) -> Command:
        return Command(tuple(map(str, arguments)), self.base / "driver")


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    from ray.cluster_utils import Cluster

    base = Path(tempfile.mkdtemp(prefix="io-n", dir="/tmp"))  # Ray's socket paths must stay short
    monkeypatch.setenv("TMPDIR", str(base))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    machines = Machines(base, Cluster())
    try:
        machines.add("head", 0)
        monkeypatch.setenv("RAY_ADDRESS", machines.cluster.address)
        yield machines
    finally:
        machines.cluster.shutdown()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for number in range(MODELS):
        cube(folder / f"box{number}.obj", 1 + number / 4)
    return folder


@pytest.fixture(scope="module")
def alone(models: Path) -> Iterator[Path]:
    """What one machine makes of the models."""
    base = Path(tempfile.mkdtemp(prefix="io-a", dir="/tmp"))
    command = Command(("render", str(models), str(base / "out"), *FLAGS), base / "t")
    assert command.ended() == 0, command.text()
    yield base / "out"
    shutil.rmtree(base)


def test_a_node_that_is_lost_loses_nothing(machines: Machines, models: Path, alone: Path, tmp_path: Path):
    machines.add("one", 1)
    machines.add("two", 1)
    run = machines.start("render", models, tmp_path / "out", *FLAGS)
    child = eventually(lambda: machines.child("two"))
    eventually(lambda: machines.child("one"))
    child.suspend()  # so that it has a model in work for sure
    machines.remove("two")
    assert run.ended() == 0, run.text()
    assert contents(tmp_path / "out") == contents(alone)
    rows = latest(tmp_path / "out" / "ledger" / "render")
    assert len(rows) == MODELS and all(row.ok for row in rows.values())
    assert eventually(lambda: not list(using(machines.temporary("two")))), "processes of a lost node"
    assert eventually(lambda: scratch(machines.temporary("one")) == []), "files on the node that is left"


@pytest.mark.soak
def test_a_node_that_joins_gets_work(machines: Machines, models: Path, alone: Path, tmp_path: Path):
    run = machines.start("render", models, tmp_path / "out", *FLAGS)
    eventually(lambda: "render 0/" in run.text() or ray_is_connected(run))
    assert run.process.poll() is None, "it waits for a node"
    machines.add("one", 1)
    eventually(lambda: machines.child("one"))
    machines.add("two", 1)
    assert eventually(lambda: machines.child("two") or run.process.poll() is not None)
    assert run.ended() == 0, run.text()
    assert contents(tmp_path / "out") == contents(alone)


@pytest.mark.soak
def test_the_window_follows_the_cluster(machines: Machines):
    machines.add("one", 1)
    with ray_session(EngineConfig()) as session:
        assert session.workers == 1
        assert session.window() > 10, "an autoscaler starts nodes for what waits"
        machines.add("two", 40)
        assert eventually(lambda: session.workers == 41)
        assert session.window() == 82
        capped = EngineConfig(workers=4)
        with ray_session(capped) as other:
            assert other.window() == 4, "--workers is the most that may run"
        machines.remove("two")
        assert eventually(lambda: session.workers == 1)


@pytest.mark.soak
def test_a_killed_driver_leaves_the_nodes_clean(
    machines: Machines, models: Path, alone: Path, tmp_path: Path
):
    machines.add("one", 2)
    render = ("render", models, tmp_path / "out", *FLAGS)
    run = machines.start(*render)
    eventually(lambda: machines.child("one"))
    run.process.kill()
    assert eventually(lambda: not machines.child("one")), "a process without a driver"
    again = machines.start(*render)
    assert again.ended() == 0, again.text()
    assert contents(tmp_path / "out") == contents(alone)
    assert eventually(lambda: scratch(machines.temporary("one")) == [])


def scratch(temporary: Path) -> list[str]:
    """What runs have left in a node's temporary folder."""
    return [path.name for path in temporary.glob("insideout-*")]


def ray_is_connected(run: Command) -> bool:
    """Whether a driver talks to Ray: it has threads of gRPC's."""
    return psutil.Process(run.process.pid).num_threads() > 20


def eventually(condition: Callable[[], Any], seconds: float = 300) -> Any:
    """What `condition` gives, as soon as that is something."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.1)
    return value
