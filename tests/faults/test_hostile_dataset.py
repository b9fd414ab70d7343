"""A dataset from a stranger: every verb ends soon, with a line that names the file and what to do.

Each attack changes one file of a good dataset. `verify` must find it and still check everything else, and the
verbs that read the file must end in a message for people. Nothing may hang: each check has an alarm.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fuse.config import FuseConfig
from fuse.dataset.layout import Layout, open_dataset, part_name
from fuse.dataset.manifest import describe, read_manifest, write_manifest
from fuse.dataset.shard import Shard, table_of, write_shard
from fuse.dataset.verify import verify
from fuse.export.model import export
from fuse.job import FuseJob
from fuse.preview.sheet import write_sheet
from fuse.worker import process
from pipeline.config import EngineConfig
from pipeline.ledger.failed import failures
from pipeline.ledger.status import Status
from pipeline.stages.retry import retry
from render.failures import FailureClass, ModelFailure, UserError
from render.job import Placement
from training.data.loader import CloudLoader

PATIENCE = 60  # seconds until something hangs
DEEP = "[" * 100_000


@contextlib.contextmanager
def soon() -> Iterator[None]:
    """TimeoutError, from wherever the code is, when it takes too long."""

    def ring(*_: object) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_the_dataset_is_good_before(layout: Layout) -> None:
    assert str(verify(layout.root)) == "1 parts with 2 rows, 2 bundles: no fault found"


# ---- view bundles -----------------------------------------------------------------------------------------


def rezip(path: Path, change: Callable[[dict[str, bytes]], object], kind: int = zipfile.ZIP_STORED) -> None:
    """Write a bundle again with its members changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def in_json(name: str, change: Callable[[Any], object]) -> Callable[[Path], None]:
    """Change the value that a JSON member holds."""

    def edit(members: dict[str, bytes]) -> None:
        value = json.loads(members[name])
        change(value)
        members[name] = json.dumps(value).encode()

    return lambda path: rezip(path, edit)


def with_member(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda path: rezip(path, lambda members: members.update({name: data}))


def frame(**changes: object) -> Callable[[Path], None]:
    """Change the first view's entries."""
    return in_json("transforms.json", lambda value: value["frames"][0].update(changes))


def meta(**changes: object) -> Callable[[Path], None]:
    return in_json("meta.json", lambda value: value.update(changes))


def png(width: int, height: int, mode: str = "RGBA") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def arrays(**named: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **named)
    return buffer.getvalue()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def twice(path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("meta.json", "{}")


def overlapping(path: Path) -> None:
    """Every member claims to be the largest one's bytes."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.start_dir
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    at = data.index(b"PK\x01\x02", start)
    while at >= 0:
        sizes = largest.file_size.to_bytes(4, "little")
        data[at + 20 : at + 28] = sizes + sizes
        at = data.find(b"PK\x01\x02", at + 4)
    path.write_bytes(data)


FACES = np.array([[0, 1, 2]], np.int32)
CORNERS = np.eye(3, dtype=np.float32)
TURN = np.eye(4).tolist()
FAR = [*([*row[:3], 1e6] for row in TURN[:3]), TURN[3]]
LATE = ("depth of another mode", "mesh")
"""How the attacks begin that are found when images and mesh are read, not when the bundle is opened."""

BUNDLES: dict[str, Callable[[Path], object]] = {
    "fifo": fifo,
    "device": device,
    "text": lambda path: path.write_text("PK"),
    "deflated": lambda path: rezip(path, lambda members: None, zipfile.ZIP_DEFLATED),
    "extra member": with_member("rgba/evil.sh", b"rm"),
    "extra image": with_member("rgba/999.png", png(48, 48)),
    "member outside": with_member("../../x.png", png(48, 48)),
    "member twice": twice,
    "members overlap": overlapping,
    "image bomb": with_member("rgba/000.png", png(20_000, 20_000, "1")),
    "image of another size": with_member("albedo/000.png", png(47, 48, "RGB")),
    "image of text": with_member("normal/000.png", b"PNG"),
    "depth of another mode": with_member("depth/000.png", png(48, 48, "RGB")),
    "frames of the wrong shape": in_json("transforms.json", lambda value: value.update(frames={"a": 1})),
    "no frames": in_json("transforms.json", lambda value: value.update(frames=[])),
    "not square": in_json("transforms.json", lambda value: value.update(h=1)),
    "NaN camera": frame(camera_angle_x=float("nan")),
    "infinite camera": frame(transform_matrix=[[float("inf")] * 4] * 4),
    "absurd camera": frame(transform_matrix=FAR),
    "mirrored camera": frame(transform_matrix=np.diag([-1.0, 1, 1, 1]).tolist()),
    "camera of the wrong shape": frame(transform_matrix=[[1]]),
    "depth without end": frame(depth_far=1e300),
    "image path outside": frame(file_path="../../etc/passwd"),
    "image named twice": frame(albedo_file_path="normal/000.png"),
    "transforms nested without end": with_member("transforms.json", DEEP.encode()),
    "meta nested without end": with_member("meta.json", DEEP.encode()),
    "meta of the wrong shape": with_member("meta.json", b"[1, 2]"),
    "another schema": meta(schema_version=99),
    "scale beyond float": meta(scale=10**400),
    "center of text": meta(center=["x", "y", "z"]),
    "uid outside": meta(uid="../../x"),
    "uid of control characters": meta(uid="\x1b]0;owned\x07"),
    "mesh of text": with_member("mesh.npz", b"mesh"),
    "mesh bomb": with_member("mesh.npz", arrays(vertices=np.zeros((9 << 20, 3), "f4"), faces=FACES)),
    "mesh with NaN": with_member("mesh.npz", arrays(vertices=CORNERS * np.float32("nan"), faces=FACES)),
    "mesh with foreign faces": with_member("mesh.npz", arrays(vertices=CORNERS, faces=FACES + 9)),
    "mesh of objects": with_member("mesh.npz", arrays(vertices=CORNERS, faces=FACES.astype(object))),
    "mesh with more": with_member("mesh.npz", arrays(vertices=CORNERS, faces=FACES, more=FACES)),
}


@pytest.mark.parametrize("name", BUNDLES)
def test_a_hostile_bundle(layout: Layout, tmp_path: Path, name: str) -> None:
    path = layout.bundle("cube")
    BUNDLES[name](path)
    relative = path.relative_to(layout.root).as_posix()
    with soon():
        report = verify(layout.root)
        found = [finding for finding in report.findings if finding.file == relative]
        assert found, "verify finds it"
        assert report.parts == 1 and report.rows == 2, "and checks the rest"
        assert all(finding.remedy and "\x1b" not in str(finding) for finding in report.findings)
        assert not [finding for finding in report.findings if finding.file != relative]
        if not name.startswith("uid"):  # the file's own name is used, not what it says of itself
            place = Placement(input=path, output=tmp_path / "row.parquet", scratch=tmp_path)
            job = FuseJob(uid="cube", config_hash="", config=FuseConfig(points=64), seed=1)
            with pytest.raises(ModelFailure, match=path.name) as failure:
                process(job, place)
            assert failure.value.kind == FailureClass.FUSE_ERROR
        if not name.startswith(("uid", *LATE)):
            with pytest.raises(UserError, match=path.name):
                export(layout.root, "cube", tmp_path / "views")
    assert {path.name for path in tmp_path.iterdir()} <= {"OUT", "views"}, "nothing is written elsewhere"


# ---- manifest, dataset.json, shards -----------------------------------------------------------------------


def in_manifest(**changes: object) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | changes))


TEXTS: dict[str, Callable[[Path], object]] = {
    "fifo": fifo,
    "device": device,
    "not JSON": lambda path: path.write_bytes(b"\xff\xfe{"),
    "of the wrong shape": lambda path: path.write_text("[1]"),
    "nested without end": lambda path: path.write_text(DEEP),
    "control characters": lambda path: path.write_text('{"\x1b[2J": 1}'),
}
MANIFESTS = TEXTS | {
    "integer beyond 64 bits": in_manifest(rows=2**70),
    "negative": in_manifest(bytes=-1),
    "text for a number": in_manifest(rows="2"),
    "name outside": in_manifest(file="../../x.parquet"),
    "control characters in a name": in_manifest(file="\x1b[2J.parquet"),
    "more fields": in_manifest(command="rm"),
}
DESCRIPTIONS = TEXTS | {
    "another schema": lambda path: path.write_text('{"schema_version": 7}'),
    "stages of the wrong shape": lambda path: path.write_text('{"schema_version": 1, "stages": [1]}'),
    "seed beyond 64 bits": lambda path: path.write_text(
        f'{{"schema_version": 1, "seeds": {{"render": {2**70}}}}}'
    ),
    "NaN": lambda path: path.write_text('{"schema_version": 1, "totals": {"clouds": {"rows": NaN}}}'),
}


def ends(action: Callable[[], object], word: str) -> str:
    """The one line in which an action ends."""
    with soon(), pytest.raises(UserError) as error:
        action()
    line = str(error.value)
    assert word in line and "\n" not in line and "\x1b" not in line
    return line


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_hostile_manifest(layout: Layout, tmp_path: Path, name: str) -> None:
    MANIFESTS[name](layout.manifest)
    with soon():
        report = verify(layout.root)
    assert report.bundles == 2 and [f.file for f in report.findings][-1] == "clouds/manifest.jsonl"
    assert "\x1b" not in str(report)
    for action in (
        lambda: read_manifest(layout.clouds),
        lambda: write_sheet(layout.root, tmp_path / "sheet.png", (), 32, 2, 4),
        lambda: export(layout.root, "cube", tmp_path / "cube.ply"),
        lambda: CloudLoader(layout.clouds, 1),
    ):
        ends(action, "manifest.jsonl")


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_hostile_description(layout: Layout, name: str) -> None:
    layout.dataset.write_text("{}")
    DESCRIPTIONS[name](layout.dataset)
    with soon():
        report = verify(layout.root)
    assert [finding.file for finding in report.findings] == ["dataset.json"] and report.bundles == 2
    assert "\x1b" not in str(report)
    ends(lambda: Status(layout.root), "dataset.json")


def changed_row(**changes: object) -> Callable[[Path], None]:
    """The shard again, with its first row changed, under its own name."""

    def write(path: Path) -> None:
        with Shard(path) as shard:
            rows = list(shard.rows())
        write_shard(path, [table_of({**rows[0], **changes}), table_of(rows[1])], "abc", {"insideout": "test"})

    return write


SHARDS: dict[str, Callable[[Path], object]] = {
    "fifo": fifo,
    "device": device,
    "text": lambda path: path.write_text("PAR1 and no more"),
    "uid outside": changed_row(uid="../../x"),
    "uid of control characters": changed_row(uid="\x1b]0;owned\x07"),
}


@pytest.mark.parametrize("name", SHARDS)
def test_a_hostile_shard(layout: Layout, tmp_path: Path, name: str) -> None:
    path = layout.shard(part_name(0))
    SHARDS[name](path)
    with soon():
        report = verify(layout.root)
    assert {finding.file for finding in report.findings} == {f"clouds/{path.name}"} and report.bundles == 2
    assert "\x1b" not in str(report)
    ends(lambda: write_sheet(layout.root, tmp_path / "sheet.png", (), 32, 2, 4), path.name)
    ends(lambda: export(layout.root, "cube", tmp_path / "cube.ply"), path.name)


@pytest.mark.parametrize(
    "changes",
    [
        {"outside_xyz": b"12345"},
        {"image_00": b"no PNG"},
        {"image_00": png(20_000, 20_000, "1")},
        {"cameras": []},
        {"outside_xyz": np.full((300, 3), np.nan, "<f4").tobytes()},
    ],
    ids=["half a number", "no image", "image bomb", "no cameras", "NaN points"],
)
def test_a_hostile_row(layout: Layout, changes: dict[str, object]) -> None:
    path = layout.shard(part_name(0))
    changed_row(**changes)(path)
    write_manifest(layout.clouds, [describe(path)])
    with soon():
        report = verify(layout.root)
    assert report.rows == 2 and report.findings and report.bundles == 2


@pytest.mark.parametrize("make", ["empty", "files"])
def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path, make: str) -> None:
    if make == "files":
        (tmp_path / "views").mkdir()
        (tmp_path / "views" / "home.html").write_text("a web site")
        (tmp_path / "clouds.txt").write_text("of the sky")
    for action in (
        lambda: open_dataset(tmp_path),
        lambda: verify(tmp_path),
        lambda: Status(tmp_path),
        lambda: export(tmp_path, "cube", tmp_path / "cube.ply"),
        lambda: write_sheet(tmp_path, tmp_path / "sheet.png", (), 32, 2, 4),
        lambda: failures(tmp_path),
        lambda: retry(tmp_path, "render", None, (), EngineConfig()),
    ):
        assert "dataset" in ends(action, str(tmp_path))
