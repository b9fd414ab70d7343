"""`insideout submit` against a real head node on loopback: code shipped, log followed, true exit code."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests

from fuse.dataset import storage
from pipeline.commands.submit import Cluster
from render.failures import UserError
from tests.helpers.places import ROOT
from tests.helpers.store import KEY, SECRET, Store, s3_server

TOKEN = "insideout-test-" + 25 * "x"  # in the environment: a token file in HOME would change later Rays
PORTS = ("port", "dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port")


@dataclass(frozen=True)
class Head:
    """A head node of our own."""

    address: str
    folder: Path


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for entry in sockets:
            entry.bind(("127.0.0.1", 0))
        return [entry.getsockname()[1] for entry in sockets]
    finally:
        for entry in sockets:
            entry.close()


def end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Stop this head and nothing else: `ray stop` would end every Ray of the machine."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
    for other in psutil.process_iter(["cmdline"]):
        if any(str(folder) in word for word in other.info["cmdline"] or ()):
            other.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with s3_server(tmp_path_factory.mktemp("s3") / "server.log") as running:
        yield running


@pytest.fixture(scope="module")
def head(store: Store) -> Iterator[Head]:
    """The nodes of a cluster have the credentials in their own environment; a job brings none."""
    folder = Path(tempfile.mkdtemp(prefix="io-head-", dir="/tmp"))  # Ray's socket paths must stay short
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=1"]
    command += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--include-log-monitor=false"]
    command += ["--object-store-memory=80000000", "--disable-usage-stats", f"--temp-dir={folder}"]
    command += [f"--{name}={number}" for name, number in ports.items()]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "PATH": path}
    environment.pop("RAY_ADDRESS", None)
    with (folder / "start.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{ports['dashboard-port']}"
        deadline = time.monotonic() + 90
        while not answers(address):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "start.log").read_text()
            time.sleep(0.5)
        yield Head(address, folder)
    finally:
        end(process, folder)


def ask(address: str, what: str) -> requests.Response:
    """The head's plain answer, without our client."""
    return requests.get(f"{address}/api/{what}", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)


def answers(address: str) -> bool:
    """Whether the head's dashboard and its job agent are up."""
    try:
        return ask(address, "jobs/").ok
    except requests.RequestException:
        return False


def submit(head: Head, *arguments: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", "submit", "--address", head.address, *arguments]
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)


def job_id(done: subprocess.CompletedProcess[str]) -> str:
    found = re.search(r"^job (\S+)$", done.stderr, re.MULTILINE)
    assert found, done.stderr
    return found[1]


def test_a_job_runs_the_shipped_code_and_its_log_comes_home(head: Head):
    done = submit(head, "failures", "--help")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "insideout failures" in done.stdout and "SUCCEEDED" in done.stderr
    shipped = list(head.folder.glob("*/runtime_resources/working_dir_files/_ray_pkg_*/"))
    folders = {path.name for package in shipped for path in package.glob("*/")}
    assert {"render", "fuse", "pipeline", "training", "configs"} <= folders, folders
    assert not folders & {".git", ".venv", "out", "tests", "docs"}, folders

    again = submit(head, "--attach", job_id(done))
    assert again.returncode == 0 and again.stdout == done.stdout, "the whole log, once more"


def test_a_failing_job_ends_with_its_own_exit_code(head: Head):
    done = submit(head, "render", "/nowhere", str(head.folder / "out"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "/nowhere: no such folder or file" in done.stdout and "FAILED (exit code 2)" in done.stderr


@pytest.mark.soak
def test_a_job_goes_on_unwatched_until_it_is_stopped(head: Head, tmp_path: Path):
    (tmp_path / "ledger" / "render").mkdir(parents=True)
    row = '{"uid": "u", "source": "u.glb", "status": "ok", "seconds": 1.0}\n'
    (tmp_path / "ledger" / "render" / "20260101T000000.000000-abcdef.jsonl").write_text(row)
    left = submit(head, "--no-wait", "status", str(tmp_path), "--watch", "0.5")
    assert left.returncode == 0 and "1 ok" not in left.stdout, left.stderr
    job = job_id(left)
    deadline = time.monotonic() + 90
    while "1 ok, 0 failed" not in (log := ask(head.address, f"jobs/{job}/logs").text):
        assert time.monotonic() < deadline, log
        time.sleep(0.5)

    stopped = submit(head, "--stop", job)
    assert stopped.returncode == 0 and "STOPPED" in stopped.stderr, stopped.stderr
    assert submit(head, "--attach", job).returncode == 130


@pytest.mark.soak
def test_jobs_of_every_stage_use_the_cluster_and_shared_storage(head: Head, tmp_path: Path):
    (tmp_path / "models").mkdir()
    corners = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"
    (tmp_path / "models" / "corner.obj").write_text(corners + "f 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n")
    models, out = str(tmp_path / "models"), str(tmp_path / "out")
    done = submit(head, "render", models, out, "--views", "1", "--resolution", "32", "--samples", "1")
    assert done.returncode == 0 and "1 ok" in done.stdout, done.stdout + done.stderr
    assert len(list((tmp_path / "out" / "views").glob("*/corner-*.zip"))) == 1
    done = submit(head, "fuse", out, "--points", "64", "--validation", "0")
    assert done.returncode == 0 and "1 ok" in done.stdout, done.stdout + done.stderr
    small = ("--points", "64", "--step-points", "0", "--width", "32", "--layers", "1", "--heads", "2")
    done = submit(head, "train", out, *small, "--steps", "2", "--batch", "2", "--processes", "1")
    assert done.returncode == 0 and "step 2/2" in done.stdout, done.stdout + done.stderr
    assert (tmp_path / "out" / "checkpoints" / "default" / "step-0000002.pt").exists()


@pytest.mark.soak
def test_a_job_reads_models_from_and_writes_to_an_object_store(head: Head, store: Store):
    corner = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
    storage.publish_bytes(corner, store.place("models", "corner.obj"))
    places = [str(store.place("models")), str(store.place("out"))]
    done = submit(head, "render", *places, "--views", "1", "--resolution", "32", "--samples", "1")
    assert done.returncode == 0 and "1 ok" in done.stdout, done.stdout + done.stderr
    names = {entry.name.rpartition("/")[2] for entry in storage.listing(store.place("out"))}
    assert any(name.startswith("corner-") for name in names) and "dataset.json" in names, names
    status = submit(head, "status", str(store.place("out")))
    assert "render  1 ok, 0 failed, 0 left of 1" in status.stdout, status.stdout + status.stderr
    shown = done.stdout + done.stderr + ask(head.address, "jobs/").text
    assert SECRET not in shown and KEY not in shown
    leak = submit(head, "render", f"s3://{KEY}:{SECRET}@bucket/models", "/tmp/x")
    assert leak.returncode == 2 and SECRET not in leak.stdout + leak.stderr + ask(head.address, "jobs/").text


def test_mistakes_are_told(head: Head):
    unknown = submit(head, "--attach", "no-such-job")
    assert unknown.returncode == 2 and "no-such-job does not exist" in unknown.stderr, unknown.stderr
    both = submit(head, "--attach", "x", "doctor")
    assert both.returncode == 2 and "one of" in both.stderr
    silent = submit(Head(f"http://127.0.0.1:{free_ports(1)[0]}", head.folder), "doctor")
    assert silent.returncode == 1 and "no Ray dashboard answers" in silent.stderr, silent.stderr
    stranger = submit(head, "doctor", token="another-" + 25 * "x")
    assert stranger.returncode == 2 and "refuses access" in stranger.stderr, stranger.stderr
    with pytest.raises(UserError, match="expected http://"):
        Cluster("head:8265")
