"""Models and OUT in an object store, against a real S3 server on loopback: the same bytes as locally."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuse.dataset import storage
from fuse.dataset.layout import Layout
from fuse.dataset.manifest import read_manifest
from fuse.dataset.packing import packed_uids
from pipeline.inputs.fetching import fetch_model
from pipeline.ledger.compact import NAME, fold, latest, read_rows, run_files
from pipeline.ledger.rows import Row
from pipeline.ledger.writer import Ledger
from pipeline.output.lock import remote_lock
from render.failures import Status, UserError
from tests.helpers.commands import insideout
from tests.helpers.places import ROOT
from tests.helpers.staging import Here
from tests.helpers.store import KEY, SECRET, Store, s3_server

SMALL = ["--views", "2", "--resolution", "32", "--samples", "1"]
FUSE = ["--points", "64", "--shard-rows", "2"]
PYRAMID = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 {height}\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with s3_server(tmp_path_factory.mktemp("s3") / "server.log") as running:
        yield running


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, here or there."""
    return {entry.name: (folder / entry.name).read_bytes() for entry in storage.listing(folder)}


def hashes(folder: Path, *parts: str) -> dict[str, str]:
    found = contents(folder)
    return {n: hashlib.sha256(found[n]).hexdigest() for n in found if n.split("/")[0] in parts}


def put(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, data in files.items():
        storage.publish_bytes(data.encode() if isinstance(data, str) else data, folder / name)


def models() -> dict[str, str | bytes]:
    """Three small models; one has a material with a texture beside it."""
    from io import BytesIO

    from PIL import Image

    picture = BytesIO()
    Image.new("RGB", (4, 4), (200, 30, 30)).save(picture, "PNG")
    textured = "mtllib skin.mtl\nusemtl skin\nvt 0 0\nvt 1 0\nvt 0 1\n" + PYRAMID.format(height=3)
    return {
        "a.obj": PYRAMID.format(height=1),
        "sub/b.obj": PYRAMID.format(height=2),
        "skinned/c.obj": textured.replace("f 1 3 2", "f 1/1 3/2 2/3"),
        "skinned/skin.mtl": "newmtl skin\nmap_Kd textures/red.png\n",
        "skinned/textures/red.png": picture.getvalue(),
    }


def run(*arguments: object) -> str:
    done = insideout(*arguments)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert SECRET not in text and KEY not in text
    return text


@pytest.fixture(scope="module")
def done(store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(remote OUT, local OUT) of the same models."""
    base = tmp_path_factory.mktemp("done")
    put(base / "models", models())
    put(store.place("models"), models())
    run("render", base / "models", base / "out", *SMALL)
    run("fuse", base / "out", *FUSE)
    rendered = run("render", store.place("models"), store.place("out"), *SMALL)
    assert "3 ok" in rendered
    run("fuse", store.place("out"), *FUSE)
    return store.place("out"), base / "out"


def test_the_bytes_are_those_of_a_local_run(done: tuple[Path, Path]):
    remote, local = done
    parts = ("views", "clouds", "dataset.json", "README.md", "contact-sheet.jpg", "croissant.json")
    assert hashes(remote, *parts) == hashes(local, *parts) != {}
    names = {entry.name.split("/")[0] for entry in storage.listing(remote)}
    assert names == {*parts, "ledger"}, "no lock, nothing unfinished"


def test_a_model_brings_what_it_names(done: tuple[Path, Path]):
    row = next(row for row in read_rows(Layout(done[0]).ledger("render")) if row.source == "skinned/c.obj")
    assert [name for name, _, _ in row.companions or []] == ["skin.mtl", "textures/red.png"]
    assert row.companions_sha256


def test_no_file_holds_a_secret(done: tuple[Path, Path]):
    for name, data in contents(done[0]).items():
        assert SECRET.encode() not in data and KEY.encode() not in data, name


def test_verbs_that_read_work_on_the_store(done: tuple[Path, Path], tmp_path: Path):
    remote, local = done
    assert "no fault found" in run("verify", remote)
    shown = run("status", remote)
    assert "render  3 ok, 0 failed, 0 left of 3" in shown and "s3://bucket/models" in shown, shown
    assert "exit code 0" in shown and "clouds  3 rows in 2 shards" in shown
    assert "No failure in render" in run("failures", remote)
    for name, out in (("there.ply", remote), ("here.ply", local)):
        run("export", out, "a.obj", "--to", tmp_path / name)
    assert (tmp_path / "there.ply").read_bytes() == (tmp_path / "here.ply").read_bytes()
    run("export", remote, "a.obj", "--to", tmp_path / "nerf")
    assert (tmp_path / "nerf" / "transforms.json").exists()
    run("sheet", remote, "--to", tmp_path / "sheet.png", "--size", "32")


@pytest.mark.soak
def test_running_again_does_nothing_and_new_models_are_added(done: tuple[Path, Path], store: Store):
    remote, _ = done
    before = {**hashes(remote, "views", "clouds")}
    again = run("render", store.place("models"), remote, *SMALL)
    assert "0 ok, 3 done before" in again
    run("fuse", remote, *FUSE)
    assert hashes(remote, "views", "clouds") == before

    put(store.place("models"), {"new.obj": PYRAMID.format(height=7)})
    assert "1 ok, 3 done before" in run("render", store.place("models"), remote, *SMALL)
    assert "1 ok, 3 done before" in run("fuse", remote, *FUSE)
    after = hashes(remote, "views", "clouds")
    old = {name: sha for name, sha in before.items() if not name.endswith("manifest.jsonl")}
    assert after.items() >= old.items() and len(after) == len(before) + 2
    assert "no fault found" in run("verify", remote)


@pytest.mark.soak
def test_a_changed_texture_renders_its_model_again(done: tuple[Path, Path], store: Store):
    remote, _ = done
    time.sleep(1.1)  # a store's clock counts seconds
    put(store.place("models"), {"skinned/skin.mtl": "newmtl skin\nKd 0 1 0\n"})
    again = run("render", store.place("models"), remote, *SMALL)
    assert "1 ok, 3 done before" in again, again
    assert "1 ok" in run("fuse", remote, *FUSE)
    assert len(packed_uids(remote / "clouds", read_manifest(remote / "clouds"))) == 4
    assert "no fault found" in run("verify", remote)


@pytest.mark.soak
def test_a_list_names_models_by_uri(store: Store, tmp_path: Path):
    put(store.place("listed"), {"x/a.obj": PYRAMID.format(height=1)})
    leak = f"s3://{KEY}:{SECRET}@bucket/listed/x/a.obj"
    (tmp_path / "list.csv").write_text(
        f"path,uid\n{store.place('listed', 'x', 'a.obj')},one\n{leak},two\ns3://bucket/none.obj,three\n"
    )
    out = tmp_path / "out"
    text = run("render", tmp_path / "list.csv", out, *SMALL)
    rows = latest(Layout(out).ledger("render"))
    assert rows["one"].ok and rows["three"].kind == "missing", text
    assert rows["row-000000002"].kind == "invalid" and "credentials" in str(rows["row-000000002"].message)
    for path in out.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path
    assert "1 ok, 1 done before" not in text


def test_a_secret_in_a_uri_is_refused_and_not_repeated(tmp_path: Path):
    for words in ([f"s3://{KEY}:{SECRET}@bucket/out"], ["out", f"--config=s3://bucket/out?key={SECRET}"]):
        refused = insideout("render", tmp_path, *words)
        text = refused.stdout + refused.stderr
        assert refused.returncode == 2 and "environment" in text
        assert SECRET not in text and KEY not in text, text


@pytest.mark.soak
def test_a_killed_driver_leaves_a_lock_that_the_next_run_breaks(store: Store, tmp_path: Path):
    """Killed while the models are in work: the same command goes on, and the bytes are those of one run."""
    put(store.place("many"), {f"{n}.obj": PYRAMID.format(height=1 + n) for n in range(5)})
    out = store.place("killed")
    command = [sys.executable, "-m", "pipeline.cli", "render", str(store.place("many"))]
    command += [str(out), "--workers", "1", *SMALL]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    deadline = time.monotonic() + 240
    while not hashes(out, "views"):
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    assert (out / ".lock").exists(), "the kill came too late to test anything"
    run("render", store.place("many"), out, *SMALL)
    run("render", store.place("many"), tmp_path / "whole", *SMALL)
    assert hashes(out, "views") == hashes(tmp_path / "whole", "views")
    assert len(hashes(out, "views")) == 5 and not (out / ".lock").exists()


def test_a_second_run_sees_that_the_first_lives(store: Store):
    lock = store.place("locked", ".lock")
    refused = pytest.raises(UserError, match="another run is writing")
    with remote_lock(lock, beat=0.2), refused, remote_lock(lock, beat=0.2, dead=10):
        pass
    assert not lock.exists()


def test_a_lock_that_nobody_renews_is_broken_in_time(store: Store):
    lock = store.place("stale", ".lock")
    storage.publish_bytes(json.dumps({"host": "elsewhere", "pid": 1, "id": "x", "beat": 7}).encode(), lock)
    started = time.monotonic()
    with remote_lock(lock, beat=0.5, dead=2):
        assert time.monotonic() - started >= 2
        assert json.loads(lock.read_bytes())["id"] != "x"
    assert not lock.exists()


def test_a_lock_on_this_machine_whose_process_is_gone_is_broken_at_once(store: Store):
    import socket

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    lock = store.place("gone", ".lock")
    owner = {"host": socket.gethostname(), "pid": gone.pid, "id": "x", "beat": 0}
    storage.publish_bytes(json.dumps(owner).encode(), lock)
    started = time.monotonic()
    with remote_lock(lock, dead=60):
        assert time.monotonic() - started < 30


def test_a_run_whose_lock_is_taken_is_asked_to_stop(store: Store):
    lock, stopped = store.place("taken", ".lock"), threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        with remote_lock(lock, beat=0.2):
            storage.publish_bytes(b'{"id": "another"}', lock)
            deadline = time.monotonic() + 20
            while not stopped.is_set():
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert json.loads(lock.read_bytes()) == {"id": "another"}, "it is not ours to remove"
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_ledger_grows_by_objects_and_is_folded(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipeline.ledger.writer._OBJECT", 2000)
    monkeypatch.setattr("pipeline.ledger.writer._PUT_EVERY", 0.2)
    layout = Layout(store.place("rows"))
    folder = layout.ledger("render")
    ledger = Ledger(folder, "20260101T000000.000000-aaaaaa")
    ledger.begin("render", "s3://bucket/models", 30, 30)
    for number in range(30):
        ledger.append(
            Row(f"m{number}", f"m{number}.glb", Status.OK, config_hash="c", seconds=number, bytes=9)
        )
    deadline = time.monotonic() + 20
    while len(latest(folder)) < 30:  # the last rows are put within moments, before the run ends
        assert time.monotonic() < deadline
        time.sleep(0.1)
    ledger.end(0)
    ledger.close()
    assert len(run_files(folder)) > 2
    rows = latest(folder)
    assert fold(folder, layout.temporary, least=1)
    assert [entry.name for entry in storage.listing(folder)] == [NAME]
    folded = latest(folder)
    assert {uid: (row.ok, row.seconds, row.bytes, row.time) for uid, row in folded.items()} == {
        uid: (row.ok, row.seconds, row.bytes, row.time) for uid, row in rows.items()
    }


def test_what_a_model_names_is_fetched_and_nothing_else(store: Store, tmp_path: Path):
    place = store.place("named")
    gltf = {
        "buffers": [{"uri": "data/a%20b.bin"}],
        "images": [{"uri": "C:\\\\me\\\\Wood.PNG"}, {"uri": "../up.png"}],
    }
    put(
        place,
        {
            "set/one/m.gltf": json.dumps(gltf),
            "set/one/data/a b.bin": b"12",
            "set/one/tex/wood.png": b"png",
            "set/one/other.png": b"no",
            "set/up.png": b"up",
        },
    )
    found = fetch_model(place / "set/one/m.gltf", "set/one/m.gltf", tmp_path, Here())
    names = {path.relative_to(tmp_path).as_posix() for path in found.stamps}
    assert names == {"set/one/m.gltf", "set/one/data/a b.bin", "set/one/tex/wood.png", "set/up.png"}
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()} == names
    assert (tmp_path / "set/one/data/a b.bin").read_bytes() == b"12"


def test_more_than_a_page_is_listed(store: Store):
    place = store.place("pages")
    list(storage.in_parallel(lambda n: storage.publish_bytes(b"x", place / f"{n:04d}"), list(range(1100))))
    assert {entry.name for entry in storage.listing(place)} == {f"{n:04d}" for n in range(1100)}
    assert list(storage.listing(store.place("nothing"))) == []


def test_a_store_that_does_not_answer_is_one_clear_error(tmp_path: Path):
    environment = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_MAX_ATTEMPTS": "1",
    }
    command = [sys.executable, "-m", "pipeline.cli", "status", "s3://bucket/out"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=200
    )
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr, done.stderr
    assert "127.0.0.1:9" in done.stderr
