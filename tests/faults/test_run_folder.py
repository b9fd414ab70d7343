"""A training run's folder in a stranger's dataset: nothing outside it is written, truncated or removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuse.dataset.layout import Layout
from render.failures import UserError
from training import checkpoints
from training.runs import LOCK, locked, run_folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Somebody's home, beside the dataset."""
    path = tmp_path / "home"
    path.mkdir()
    for name in (".bashrc", "step-0000001.pt", "step-0000001.png"):
        (path / name).write_text("mine")
    return path


@pytest.mark.parametrize("place", ["checkpoints", "checkpoints/run"])
def test_a_run_folder_that_is_a_link_is_refused(tmp_path: Path, home: Path, place: str) -> None:
    path = tmp_path / "OUT" / place
    path.parent.mkdir(parents=True)
    path.symlink_to(home)
    with pytest.raises(UserError, match="a link"):
        run_folder(tmp_path / "OUT", "run")


LINKS = (
    *(
        "samples",
        "tensorboard",
        "ray",
        "samples/step-0000001.png",
        "config.json",
        "loss.jsonl",
        ".loss.jsonl",
    ),
    *(".loss.jsonl", "best.pt", "step-0000001.pt", ".step-0000001.pt.1"),
)


@pytest.mark.parametrize("place", LINKS)
def test_nothing_in_a_run_folder_may_be_a_link(tmp_path: Path, home: Path, place: str) -> None:
    """Through one, `.lock` was truncated, `config.json` overwritten, and pictures were written."""
    folder = run_folder(tmp_path / "OUT", "run")
    path = folder / place
    path.parent.mkdir(parents=True)
    if place != LOCK:
        (folder / LOCK).touch()
    path.symlink_to(home / ".bashrc" if path.suffix or place == LOCK else home)
    with pytest.raises(UserError, match="a link"), locked(folder):
        pytest.fail("the run began")
    assert {file.read_text() for file in home.iterdir()} == {"mine"} and len(list(home.iterdir())) == 3


def test_a_folder_of_something_else_is_no_runs(tmp_path: Path) -> None:
    folder = Layout(tmp_path).checkpoints / "run"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("mine")
    with pytest.raises(UserError, match="not the folder of a run"), locked(folder):
        pytest.fail("the run began")
    assert (folder / "config.json").read_text() == "mine" and not (folder / LOCK).exists()


def test_only_a_runs_own_names_are_removed(tmp_path: Path) -> None:
    own = ["notes.pt", ".notes.pt.old", "step-final.pt", ".step-1.pt.bak", "step-0000001.pt.txt"]
    for name in (*own, ".step-0000004.pt.77", ".best.pt.77"):
        (tmp_path / name).write_text("mine")
    for step in (1, 2, 3):
        checkpoints.save(tmp_path, {"step": step}, keep=1)
    checkpoints.remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*own, "step-0000003.pt"])
