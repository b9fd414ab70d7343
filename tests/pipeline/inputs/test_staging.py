"""What the child is given of a model: its file, what it names, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.inputs.admission import admit, tree_of
from pipeline.inputs.workspace import Workspace
from render.failures import ModelFailure
from tests.helpers.staging import stage

OBJ = "mtllib {mtl}\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """models/chair/source/chair.obj, its material, a texture in a sibling folder; a stranger beside each."""
    models = tmp_path / "models"
    for name in (
        "chair/source/stranger.png",
        "chair/textures/wood.png",
        "chair/textures/other.png",
        "table/steel.png",
    ):
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        (models / name).write_bytes(name.encode())
    (models / "chair/source/chair.obj").write_text(OBJ.format(mtl="chair.mtl"))
    (models / "chair/source/chair.mtl").write_text(
        "newmtl a\nmap_Kd ../textures/wood.png\nmap_Ks ../../table/steel.png\n"
    )
    return models


def test_the_model_and_what_it_names_and_nothing_else(root: Path, tmp_path: Path):
    source = "chair/source/chair.obj"
    staged = stage(root / source, source, tmp_path / "in")
    found = {
        path.relative_to(tmp_path / "in").as_posix()
        for path in (tmp_path / "in").rglob("*")
        if path.is_file()
    }
    assert found == {"source/chair.obj", "source/chair.mtl", "textures/wood.png"}
    assert staged.path == tmp_path / "in" / "source" / "chair.obj"
    assert staged.companions == [root / "chair/source/chair.mtl", root / "chair/textures/wood.png"]
    assert staged.notes == ["refused: ../../table/steel.png leaves the model's folder"]
    assert (tmp_path / "in/textures/wood.png").read_bytes() == b"chair/textures/wood.png"


def test_the_tree_of_a_model():
    path = Path("/m/chair/source/chair.obj")
    assert tree_of(path, "chair/source/chair.obj") == (Path("/m/chair"), Path("/m"))
    assert tree_of(Path("/m/a.obj"), "a.obj") == (Path("/m"), Path("/m"))
    for named in ("/m/chair/source/chair.obj", "../chair/source/chair.obj", "s3://x/chair.obj", ""):
        assert tree_of(path, named) == (Path("/m/chair/source"), Path("/m/chair/source"))


def test_links_within_the_models_folder_are_followed_and_no_others(root: Path, tmp_path: Path):
    (root / "alias.obj").symlink_to(root / "chair/source/chair.obj")
    assert stage(root / "alias.obj", "alias.obj", tmp_path / "in").path.read_text().startswith("mtllib")
    (tmp_path / "secret.obj").write_text(OBJ)
    (root / "out.obj").symlink_to(tmp_path / "secret.obj")
    with pytest.raises(ModelFailure, match=r"out\.obj is a link out of the models' folder") as caught:
        stage(root / "out.obj", "out.obj", tmp_path / "in2")
    assert caught.value.kind == "outside_reference"


def test_what_is_no_regular_file_is_never_opened(root: Path):
    os.mkfifo(root / "pipe.obj")
    (root / "folder.obj").mkdir()
    for name in ("pipe.obj", "folder.obj"):
        with pytest.raises(ModelFailure, match="not a regular file"):
            admit(root / name, name)
    with pytest.raises(FileNotFoundError):
        admit(root / "gone.obj", "gone.obj")


def test_geometry_elsewhere_fails_the_model(root: Path, tmp_path: Path):
    (root / "a.gltf").write_text('{"asset": {"version": "2.0"}, "buffers": [{"uri": "../secret.bin"}]}')
    with pytest.raises(ModelFailure, match=r"a\.gltf: \.\./secret\.bin leaves") as caught:
        stage(root / "a.gltf", "a.gltf", tmp_path / "in")
    assert caught.value.kind == "outside_reference"


def test_a_workspace_leaves_nothing(tmp_path: Path):
    workspace = Workspace(tmp_path / "insideout")
    with workspace.job() as (inputs, work):
        (inputs / "a").write_text("x")
        (work / "b").mkdir()
        first = inputs, work
    with workspace.job() as folders:
        assert folders[0] == first[0] and folders[1] != first[1], "one with a folder in it is not used again"
        assert not any(list(folder.iterdir()) for folder in folders)
    workspace.close()
    assert not workspace.root.exists()


def test_a_link_in_place_of_a_models_folder_is_not_followed(tmp_path: Path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    workspace = Workspace(tmp_path / "insideout")
    with pytest.raises(OSError, match="symbolic link"), workspace.job() as (_, work):
        work.rename(work.with_name("away"))
        work.symlink_to(precious)
    with workspace.job() as (_, again):
        assert again.is_dir() and not again.is_symlink()
    assert (precious / "file").exists()
    workspace.close()
