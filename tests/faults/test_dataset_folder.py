"""Runs remove and write only what is theirs, whatever links, names and other files a dataset folder holds.

Each attack leaves a marker where harm would be done, and the marker must survive.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from fuse.config import FuseConfig
from fuse.dataset import storage
from fuse.dataset.layout import Layout, open_dataset, part_name
from fuse.dataset.manifest import describe, read_manifest, write_manifest
from fuse.dataset.packing import announce, sweep
from fuse.dataset.shard import Shard, ShardError, table_of, write_shard
from fuse.export.model import export
from pipeline.config import EngineConfig
from pipeline.ledger.compact import fold
from pipeline.output import record
from pipeline.output.commit import commit_bytes, exclusive
from pipeline.output.lock import remote_lock
from pipeline.report.site import Options, write_report
from pipeline.stages.fuse import _unpack, fuse, pack
from render.failures import UserError

RUN = "0123456789abcdef"
NAMES = ("../../x", "/etc/x", "..", ".hidden", "a/b", "a\\b", "bell\x07", "", "x" * 300)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file in somebody's home, beside the dataset."""
    path = tmp_path / "home" / ".ssh" / "id"
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    (tmp_path / "home" / ".bashrc").write_text("mine")
    return path


def everything(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    "folder",
    [
        *("views", "views/ab", "clouds", "clouds/.staging", "ledger", "ledger/fuse", "checkpoints", ".tmp"),
        *("report", "curation", "curation/measures", "curation/clusters"),
    ],
)
def test_a_folder_that_is_a_link_is_refused(layout: Layout, marker: Path, folder: str) -> None:
    place = layout.root / folder
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(marker.parent.parent)
    before = everything(marker.parent.parent)
    with pytest.raises(UserError, match=r"a link\. Folders inside a dataset"), exclusive(layout):
        pytest.fail("a run began")
    with pytest.raises(UserError, match="a link"):
        fuse(layout.root, FuseConfig(), EngineConfig())
    with pytest.raises(UserError, match="a link"):
        open_dataset(layout.root)
    assert everything(marker.parent.parent) == before


def test_the_dataset_itself_may_be_a_link(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(layout.root)
    with exclusive(Layout(tmp_path / "link")):
        pass
    assert read_manifest(open_dataset(tmp_path / "link").clouds)


def test_a_persons_own_files_among_ours_survive(layout: Layout) -> None:
    own = [
        layout.temporary / "notes.txt",
        layout.temporary / ".cache" / "page",
        layout.staging / ".git" / "config",
        layout.staging / "readme.txt",
        layout.clouds / "part-99.parquet",
        layout.clouds / part_name(1),
        layout.clouds / ".git" / "config",
    ]
    for path in own:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    with exclusive(layout):
        sweep(layout)
        parts = pack(layout, FuseConfig(), EngineConfig(), seed=7)
    assert all(path.read_text() == "mine" for path in own)
    assert [part.file for part in parts] == [part_name(0)]


def test_new_shards_take_no_name_that_exists(layout: Layout, two_models: Path) -> None:
    (layout.clouds / part_name(1)).write_text("mine")
    with Shard(layout.shard(part_name(0))) as shard:
        row = next(shard.rows())
    layout.staging.mkdir(exist_ok=True)
    write_shard(layout.staged_row("new"), [table_of({**row, "uid": "new"})], "abc", {})
    parts = pack(layout, FuseConfig(), EngineConfig(), seed=7)
    assert [part.file for part in parts] == [part_name(0), part_name(2)]
    assert (layout.clouds / part_name(1)).read_text() == "mine"


def test_what_a_killed_run_left_is_removed(layout: Layout) -> None:
    with Shard(layout.shard(part_name(0))) as shard:
        uids = shard.uids()
    with exclusive(layout), storage.writing(layout.shard(part_name(7)), layout.temporary) as path:
        path.write_text("half")
        unfinished = shutil.copy(path, path.with_name(f"{path.name[:27]}{'0' * 32}.unfinished"))
        announce(layout, {part_name(0): uids, part_name(5): uids, part_name(6): uids})
        shutil.copy(layout.shard(part_name(0)), layout.shard(part_name(5)))  # killed before the manifest
        layout.shard(part_name(6)).write_text("a person's own, under the name that was announced")
    assert not Path(unfinished).exists() and not layout.temporary.exists()
    sweep(layout)
    assert layout.shards() == {part_name(0), part_name(6), part_name(7)}, "part 0 is in the manifest"
    assert not layout.pending.exists()


@pytest.mark.parametrize("link", [True, False], ids=["link", "folder"])
def test_an_unfinished_name_is_removed_only_if_it_is_a_file(layout: Layout, marker: Path, link: bool) -> None:
    place = layout.temporary / f"insideout-{RUN}-{'0' * 32}.unfinished"
    layout.temporary.mkdir(exist_ok=True)
    (layout.temporary / f"insideout-{RUN}.run").write_text(RUN)
    if link:
        place.symlink_to(marker.parent)
    else:
        place.mkdir()
        (place / "own").write_text("mine")
    with exclusive(layout):
        commit_bytes(b"x", layout.card, layout)
    assert marker.read_text() == "mine"
    assert link or (place / "own").read_text() == "mine"


@pytest.mark.parametrize("proof", ["none", "another", "empty", "link", "folder"])
def test_an_unfinished_file_without_its_runs_marker_stays(layout: Layout, tmp_path: Path, proof: str) -> None:
    layout.temporary.mkdir(exist_ok=True)
    place = layout.temporary / f"insideout-{RUN}-{'0' * 32}.unfinished"
    run = layout.temporary / f"insideout-{RUN}.run"
    place.write_text("mine")
    match proof:
        case "another":
            (layout.temporary / f"insideout-{RUN[::-1]}.run").write_text(RUN[::-1])
        case "empty":
            run.write_text("")
        case "link":
            (tmp_path / "said").write_text(RUN)
            run.symlink_to(tmp_path / "said")
        case "folder":
            run.mkdir()
    with exclusive(layout):
        commit_bytes(b"x", layout.card, layout)
    assert place.read_text() == "mine"


def test_a_persons_own_readme_and_ledger_notes_survive(layout: Layout) -> None:
    layout.card.write_text("# My project\n")
    notes = layout.ledger("render") / "notes.jsonl"
    notes.parent.mkdir(parents=True, exist_ok=True)
    notes.write_text('{"uid": "cube", "source": "cube.glb", "status": "ok"}\n')
    with exclusive(layout):
        record.describe(layout)
        fold(layout.ledger("render"), layout.temporary, least=0)
    assert layout.card.read_text() == "# My project\n" and notes.exists()
    layout.card.unlink()
    record.describe(layout)
    ours = layout.card.read_text()
    layout.card.write_text(ours + "stale")
    record.describe(layout)
    assert layout.card.read_text() == ours


def test_a_persons_own_file_under_a_packed_models_name_stays(layout: Layout) -> None:
    layout.staging.mkdir(exist_ok=True)
    with Shard(layout.shard(part_name(0))) as shard:
        uid = shard.uids()[0]
    layout.staged_row(uid).write_text("mine")
    pack(layout, FuseConfig(), EngineConfig(), seed=7)
    assert layout.staged_row(uid).read_text() == "mine"


@pytest.mark.parametrize("place", ["", "thumbs", "models/ab", "runs", "index.html", "done.json"])
def test_a_report_is_not_written_through_a_link(layout: Layout, marker: Path, place: str) -> None:
    """Its folders were listed, and what was unknown there removed, wherever a link led."""
    path = layout.report / place if place else layout.report
    path.parent.mkdir(parents=True, exist_ok=True)
    if place and place != "done.json":
        (layout.report / "done.json").write_text("{}")
    path.symlink_to(marker if path.suffix else marker.parent.parent)
    with pytest.raises(UserError, match="a link"):
        write_report(layout.root, Options())
    assert marker.read_text() == "mine" and (marker.parent.parent / ".bashrc").exists()


def test_a_report_replaces_nobodys_own_report(layout: Layout) -> None:
    page = layout.report / "index.html"
    page.parent.mkdir()
    page.write_text("mine")
    with pytest.raises(UserError, match="not a report of ours"):
        write_report(layout.root, Options())
    assert page.read_text() == "mine"


def test_a_report_removes_only_its_own_files(layout: Layout) -> None:
    write_report(layout.root, Options())
    gone = layout.report / "models" / layout.bundle_name("gone").replace(".zip", ".js")
    own = [layout.report / "models" / name for name in ("notes.js", "zz/gone.js", ".git/config")]
    for path in (gone, *own):
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    write_report(layout.root, Options())
    assert not gone.exists() and all(path.exists() for path in own)


@pytest.mark.parametrize("place", ["pictures", "rgba", "rgba/000.png", "transforms.json"])
def test_an_export_is_not_written_through_a_link(
    layout: Layout, marker: Path, tmp_path: Path, place: str
) -> None:
    path = tmp_path / "to" / place
    path.parent.mkdir(parents=True)
    path.symlink_to(marker if path.suffix else marker.parent.parent)
    before = everything(tmp_path / "home")
    with pytest.raises(UserError, match="a link"):
        export(layout.root, "cube", tmp_path / "to")
    assert everything(tmp_path / "home") == before


@pytest.mark.parametrize("uid", ["a*", "chair[12]", "chair?"])
def test_a_name_in_a_store_is_no_pattern(uid: str) -> None:
    """fsspec's `rm` expands patterns: removing the staged row of `a*` removed all that begin with a."""
    place = storage.locate("memory://bucket/rows")
    names = (uid, "abc", "a", "chair1", "chair2")
    for name in names:
        storage.publish_bytes(b"x", place / name)
    storage.remove([place / uid])
    assert {entry.name for entry in storage.listing(place)} == set(names) - {uid}


@pytest.mark.parametrize("content", [b"mine", b"[]", b'{"host": "x", "pid": 1}'])
def test_a_lock_object_that_no_run_made_stays(content: bytes) -> None:
    place = storage.locate("memory://bucket/OUT/.lock")
    storage.publish_bytes(content, place)
    with pytest.raises(UserError, match="not a lock that a run has made"), remote_lock(place):
        pytest.fail("the run began")
    assert storage.read_bytes(place) == content


@pytest.mark.parametrize("name", NAMES)
def test_no_name_from_a_file_leads_outside(layout: Layout, marker: Path, tmp_path: Path, name: str) -> None:
    before = everything(tmp_path / "home")
    with pytest.raises(UserError, match="cannot be a file name"):
        layout.bundle(name)
    with pytest.raises(UserError, match="cannot be a file name"):
        layout.staged_row(name)
    with pytest.raises(UserError, match="cannot be a file name"):
        layout.shard(name)
    assert everything(tmp_path / "home") == before


@pytest.mark.parametrize("uid", NAMES[:3])
def test_a_shards_uid_writes_nothing_outside(layout: Layout, tmp_path: Path, uid: str) -> None:
    path = layout.shard(part_name(1))
    with Shard(layout.shard(part_name(0))) as shard:
        write_shard(path, [table_of({**next(shard.rows()), "uid": uid})], "abc", {})
    part = {**asdict(read_manifest(layout.clouds)[0]), "file": path.name}
    before = sorted(everything(tmp_path))
    with pytest.raises(ShardError, match="cannot name a file"):
        describe(path)
    with pytest.raises(ShardError, match="cannot name a file"):
        _unpack(layout, type(read_manifest(layout.clouds)[0])(**part), leave_out=())
    assert sorted(everything(tmp_path)) == before


@pytest.mark.parametrize("name", ["../../home/.bashrc", "../x.parquet", "/etc/passwd"])
def test_neither_manifest_nor_announcement_removes_outside(
    layout: Layout, marker: Path, tmp_path: Path, name: str
) -> None:
    layout.staging.mkdir(exist_ok=True)
    layout.pending.write_text(f'["{name}"]')
    with pytest.raises(UserError, match="not a list of shards"):
        sweep(layout)
    text = layout.manifest.read_text()
    layout.manifest.write_text(text.replace(part_name(0), name))
    with pytest.raises(ShardError, match="line 1: not a manifest"):
        read_manifest(layout.clouds)
    assert marker.read_text() == "mine" and (tmp_path / "home" / ".bashrc").exists()


def test_a_staged_row_must_hold_the_model_of_its_name(layout: Layout) -> None:
    layout.staging.mkdir(exist_ok=True)
    shutil.copy(layout.shard(part_name(0)), layout.staged_row("other"))
    with pytest.raises(ShardError, match="does not hold the one row"):
        pack(layout, FuseConfig(), EngineConfig(), seed=7)
    assert layout.staged_row("other").exists()


def test_a_manifest_names_each_shard_once(layout: Layout) -> None:
    part = read_manifest(layout.clouds)[0]
    write_manifest(layout.clouds, [part, part])
    with pytest.raises(ShardError, match=r"names part-00000\.parquet again"):
        read_manifest(layout.clouds)
