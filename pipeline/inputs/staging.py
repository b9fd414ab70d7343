"""A model and the files that it names, put where the confined child may read them: and nothing else is there.

A worker's `Workspace` has two folders for all its life, because a child's confinement can only be tightened:
`input`, which its children may read, and `work`, which they may write. Each job has an empty folder in both.

    with workspace.job() as (inputs, work):
        staged = stage_input(task.input, task.source, inputs)   # staged.path is what the child is told

Which files a model may have, and what is refused: `render.importing.references`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from render.failures import FailureClass, ModelFailure
from render.importing.redaction import LARGEST, blinded
from render.importing.references import MOST_COMPANIONS, Reference, references

_MOST_BYTES = 32 << 30  # of one model's companions
_MOST_NOTES = 16
_DRIVE = re.compile("[A-Za-z]:")


@dataclass(frozen=True)
class Staged:
    """What the child is given of one model."""

    path: Path
    """The model's own file, in the folder for it."""
    companions: list[Path] = field(default_factory=list)
    """Where the files came from that went with it, sorted."""
    notes: list[str] = field(default_factory=list)
    """What was refused without harm to the geometry: textures and the like."""
    absent: list[Path] = field(default_factory=list)
    """Where files would lie that are named and not there: when they come, the model is another one."""


class Workspace:
    """A worker's folder on its own node; it goes with `close`."""

    def __init__(self, root: Path):
        self.root = root
        self.root.mkdir(mode=0o700)
        self.input, self.work = self.root / "input", self.root / "work"
        self.input.mkdir()
        self.work.mkdir()

    @contextlib.contextmanager
    def job(self) -> Iterator[tuple[Path, Path]]:
        """Empty folders of one job: for its input, and for what it writes. Both go when it ends."""
        with (
            tempfile.TemporaryDirectory(dir=self.input, prefix="job-") as inputs,
            tempfile.TemporaryDirectory(dir=self.work, prefix="job-") as work,
        ):
            yield Path(inputs), Path(work)

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def stage_input(path: Path, source: str, folder: Path) -> Staged:
    """Put the model at `path`, known to its list as `source`, and its companions into the empty `folder`.

    Raises OSError where it cannot be read or put there, and ModelFailure `outside_reference` where it is a
    link out of the models' folder, or where its geometry depends on a file that it may not have.
    """
    tree, _ = tree_of(path, source)
    real = admit(path, source)
    named = _closure(path, tree)
    refused = [one for told in named.values() for one in told if one.refusal]
    for reference in refused:
        if reference.needed:
            raise ModelFailure(
                FailureClass.OUTSIDE_REFERENCE, f"{path.name}: {reference.text} {reference.refusal}"
            )
    if sum(file.stat().st_size for file in named if file != path) > _MOST_BYTES:
        raise ModelFailure(
            FailureClass.INVALID, f"{path.name}: the files that it names exceed {_MOST_BYTES >> 30} GiB"
        )
    for file, told in named.items():
        _put(real if file == path else file.resolve(), folder / file.relative_to(tree), told)
    found = sorted(file for file in named if file != path)
    return Staged(folder / path.relative_to(tree), found, _notes(refused), _absent(named))


def tree_of(path: Path, source: str) -> tuple[Path, Path]:
    """(the model's own folder tree, the models' root) of the file that `source` names below that root.

    The tree is the topmost folder below the root that holds the model: a model's folder, or a collection's.
    For a file right in the root, and for one that is not below a root, it is the file's own folder.
    """
    parts = PurePosixPath(source).parts
    below = 0 < len(parts) < len(path.parts) and path.parts[-len(parts) :] == parts and ".." not in parts
    if not below or len(parts) == 1:
        return path.parent, path.parent
    return path.parents[len(parts) - 2], path.parents[len(parts) - 1]


def admit(path: Path, source: str) -> Path:
    """The real, regular file behind `path`: to be asked before it is opened, for a pipe would never end.

    Raises OSError where there is none, and ModelFailure where it is no such file or lies out of the root.
    """
    _, root = tree_of(path, source)
    real = path.resolve(strict=True)
    if not real.is_relative_to(root.resolve()):
        cure = "Copy the file, or give the folder that it lies in."
        raise ModelFailure(
            FailureClass.OUTSIDE_REFERENCE, f"{path.name} is a link out of the models' folder. {cure}"
        )
    if not stat.S_ISREG(real.stat().st_mode):
        raise ModelFailure(FailureClass.UNSUPPORTED, f"{path.name} is not a regular file")
    return real


def _closure(path: Path, tree: Path) -> dict[Path, list[Reference]]:
    """What the model names, and what each file that goes with it names: the model first."""
    named: dict[Path, list[Reference]] = {path: []}
    waiting = [path]
    while waiting:
        file = waiting.pop()
        named[file] = references(file, tree)
        for reference in named[file]:
            if reference.path is not None and reference.path not in named and len(named) <= MOST_COMPANIONS:
                named[reference.path] = []
                waiting.append(reference.path)
    return named


def _absent(named: dict[Path, list[Reference]]) -> list[Path]:
    """Places of the files that are missed."""
    missed = (
        Path(os.path.normpath(file.parent / one.text.replace("\\", "/")))
        for file, told in named.items()
        for one in told
        if one.path is None and not one.refusal and not one.stray
    )
    return sorted(set(missed))[:_MOST_NOTES]


def _put(source: Path, target: Path, told: list[Reference]) -> None:
    """A hard link where the file system has it, for the child can only read there; else a copy.

    A file that names what is not the model's is copied, and those names are blinded in the copy.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    foreign = [one.foreign for one in told if one.foreign is not None]
    if foreign and source.stat().st_size <= LARGEST:
        target.write_bytes(blinded(source.read_bytes(), foreign))
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _notes(refused: list[Reference]) -> list[str]:
    """What is not taken, each once. Another system's path (`C:\\...`) can be only stale: no note."""
    meant = (one for one in refused if not one.stray and not _DRIVE.match(one.text))
    texts = {f"refused: {one.text} {one.refusal}": None for one in meant}
    return list(texts)[:_MOST_NOTES]
