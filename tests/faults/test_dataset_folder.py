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
from pipeline.config import EngineConfig
from pipeline.output.commit import commit_bytes, exclusive
from pipeline.stages.fuse import _unpack, fuse, pack
from render.failures import UserError

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
    ["views", "views/ab", "clouds", "clouds/.staging", "ledger", "ledger/fuse", "checkpoints", ".tmp"],
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
    with exclusive(layout), storage.writing(layout.shard(part_name(7)), layout.temporary) as path:
        path.write_text("half")
        unfinished = shutil.copy(path, path.with_name(path.name.replace(path.name[10:14], "beef", 1)))
        announce(layout, [part_name(0), part_name(5)])
        layout.shard(part_name(5)).write_text("packed, and killed before the manifest")
    assert not Path(unfinished).exists() and not layout.temporary.exists()
    sweep(layout)
    assert layout.shards() == {part_name(0), part_name(7)}, "part 0 is in the manifest"
    assert not layout.pending.exists()


@pytest.mark.parametrize("link", [True, False], ids=["link", "folder"])
def test_an_unfinished_name_is_removed_only_if_it_is_a_file(layout: Layout, marker: Path, link: bool) -> None:
    place = layout.temporary / f"insideout-{'0' * 32}.unfinished"
    layout.temporary.mkdir(exist_ok=True)
    if link:
        place.symlink_to(marker.parent)
    else:
        place.mkdir()
        (place / "own").write_text("mine")
    with exclusive(layout):
        commit_bytes(b"x", layout.card, layout)
    assert marker.read_text() == "mine"
    assert link or (place / "own").read_text() == "mine"


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
