"""The commands, as a person gives them, on real models with real Blender and Ray."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from fuse.dataset.layout import Layout
from fuse.dataset.manifest import read_manifest
from fuse.dataset.packing import packed_uids
from pipeline.ledger.compact import latest
from render.bundle import Bundle
from tests.helpers.commands import insideout

SMALL = ["--views", "3", "--resolution", "32", "--samples", "1"]
CORNERS = [(x, y, z) for x in (0, 1) for y in (0, 2) for z in (0, 3)]
FACES = ["1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4"]


def write_box(path: Path, size: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {x * size} {y} {z}" for x, y, z in CORNERS] + [f"f {face}" for face in FACES]
    path.write_text("\n".join(lines) + "\n")


def hashes(out: Path, pattern: str) -> dict[str, str]:
    found = sorted(out.glob(pattern))
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three boxes and a file that is no model, rendered and fused with two workers."""
    base = tmp_path_factory.mktemp("main")
    for number in range(3):
        write_box(base / "models" / f"box{number}.obj", 1 + number)
    (base / "models" / "broken.glb").write_bytes(b"glTF but no more")
    rendered = insideout("render", base / "models", base / "out", "--workers", 2, *SMALL)
    assert rendered.returncode == 0, rendered.stdout + rendered.stderr
    assert "3 ok" in rendered.stdout and "1 failed" in rendered.stdout and "broken.glb" in rendered.stderr
    fused = insideout("fuse", base / "out", "--points", 64, "--shard-rows", 2)
    assert fused.returncode == 0, fused.stdout + fused.stderr
    return base


def test_what_comes_out(done: Path):
    out = done / "out"
    assert len(hashes(out, "views/*/*.zip")) == 3
    assert [part.rows for part in read_manifest(out / "clouds")] == [2, 1]
    assert not [path for path in out.rglob(".*")], "nothing hidden, nothing unfinished"
    record = json.loads((out / "dataset.json").read_text())
    assert record["totals"]["render"]["ok"] == 3 and sum(record["totals"]["render"]["failed"].values()) == 1
    assert record["stages"]["render"]["config"]["views"] == 3
    assert (
        "No " not in (out / "README.md").read_text()[:200]
        and "| render | 3 | 1 |" in (out / "README.md").read_text()
    )
    verified = insideout("verify", out)
    assert verified.returncode == 0 and "no fault found" in verified.stdout


@pytest.mark.soak
def test_another_run_with_one_worker_gives_the_same_bytes(done: Path):
    other = done / "other"
    insideout("render", done / "models", other, "--workers", 1, *SMALL)
    insideout("fuse", other, "--points", 64, "--shard-rows", 2, "--workers", 1)
    for pattern in ("views/*/*.zip", "clouds/*", "dataset.json", "README.md"):
        assert hashes(other, pattern) == hashes(done / "out", pattern) != {}


@pytest.mark.soak
def test_running_again_changes_nothing_and_a_new_model_is_appended(done: Path):
    out = done / "out"
    before = {**hashes(out, "views/*/*"), **hashes(out, "clouds/*")}
    again = insideout("render", done / "models", out, *SMALL)
    assert "0 ok, 3 done before" in again.stdout and "1 failed before" in again.stdout
    insideout("fuse", out, "--points", 64, "--shard-rows", 2)
    assert {**hashes(out, "views/*/*"), **hashes(out, "clouds/*")} == before
    write_box(done / "models" / "new.obj", 9)
    insideout("render", done / "models", out, *SMALL)
    insideout("fuse", out, "--points", 64, "--shard-rows", 2)
    after = hashes(out, "clouds/part-*")
    assert (
        len(after) == 3
        and after.items() >= {name: sha for name, sha in before.items() if "part-" in name}.items()
    )


@pytest.mark.soak
def test_a_changed_model_replaces_its_row(done: Path):
    out = done / "out"
    parts = read_manifest(out / "clouds")
    uids = packed_uids(out / "clouds", parts)
    write_box(done / "models" / "box1.obj", 5)
    insideout("render", done / "models", out, *SMALL)
    fused = insideout("fuse", out, "--points", 64, "--shard-rows", 2)
    assert "1 ok" in fused.stdout
    assert packed_uids(out / "clouds", read_manifest(out / "clouds")) == uids
    assert insideout("verify", out).returncode == 0
    row = latest(Layout(out).ledger("render"))[next(uid for uid in uids if uid.startswith("box1-"))]
    exported = done / "box1.npz"
    assert insideout("export", out, row.uid, "--to", exported).returncode == 0 and exported.exists()


def test_another_configuration_is_refused_and_named(done: Path):
    refused = insideout("render", done / "models", done / "out", "--views", 4, "--seed", 3)
    assert refused.returncode == 2
    assert "render.views 3 -> 4" in refused.stderr and "render.seed 0 -> 3" in refused.stderr
    assert "--on-existing overwrite" in refused.stderr


def test_flags_override_the_file_which_overrides_the_defaults(tmp_path: Path):
    (tmp_path / "c.yaml").write_text("render: {views: 5, resolution: 48}\n")
    write_box(tmp_path / "m" / "box.obj", 1)
    out = tmp_path / "out"
    flags = ["--config", tmp_path / "c.yaml", "--resolution", "32", "--samples", "1", "--engine", "workbench"]
    done = insideout("render", tmp_path / "m", out, *flags)
    config = json.loads((out / "dataset.json").read_text())["stages"]["render"]["config"]
    assert (config["views"], config["resolution"], config["engine"]) == (5, 32, "workbench"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rendr"], "Did you mean render?"),
        (["render", "nowhere", "OUT"], "nowhere: no such folder or file"),
        (
            ["render", "nowhere", "OUT", "--config", "none.yaml"],
            "none.yaml: cannot be read",
        ),
        (["render", "nowhere", "OUT", "--views", "0"], "greater than or equal to 1"),
        (["render", "nowhere"], "render: needs DATASET."),
        (["fuse", "OUT"], "no view bundles"),
        (["export", "OUT", "u", "--to", "x.ply"], "OUT"),
    ],
)
def test_mistakes_are_a_few_clear_words_and_exit_code_2(tmp_path: Path, arguments: list[str], expected: str):
    done = insideout(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert expected in " ".join(done.stderr.replace("│", " ").split()) and "Traceback" not in done.stderr
    assert not (tmp_path / "OUT").exists()


def test_help_lists_the_verbs_and_the_flags():
    top = insideout("--help").stdout
    assert all(f"\n  {verb} " in top for verb in ("samples", "render", "fuse", "train", "generate", "verify"))
    flags = insideout("render", "--help").stdout
    assert "--views INT" in flags and "Views per model." in flags and "--memory-mib" in flags
    assert "--render.views" not in flags


def test_doctor_finds_this_machine_fit():
    done = insideout("doctor", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "shared libraries of bpy and open3d" in done.stdout


def test_a_model_named_by_an_absolute_path_keeps_it(tmp_path: Path):
    """The child reads a staged copy; what is recorded is what the list says, and so the same in every run."""
    model = tmp_path / "elsewhere" / "box.obj"
    write_box(model, 1)
    listed = tmp_path / "list.csv"
    listed.write_text(f"path,uid\n{model},box\n")
    rendered = insideout("render", listed, tmp_path / "out", *SMALL)
    assert rendered.returncode == 0, rendered.stderr
    with Bundle(Layout(tmp_path / "out").bundle("box")) as bundle:
        assert bundle.meta["source"] == str(model)
