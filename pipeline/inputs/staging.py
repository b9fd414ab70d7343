"""A model and the files that it names, put where the confined child may read them: and nothing else is there.

A worker's `Workspace` has two folders for all its life, because a child's confinement can only be tightened:
`input`, which its children may read, and `work`, which they may write. Each job has an empty folder in both.

    with workspace.job() as (inputs, work):
        staged = stage_input(task.input, task.source, inputs)   # the child gets staged.path

Which files a model may have, and what is refused: `render.references.closure`. What is staged is what an
importer opens: where a name leads elsewhere than to the file that it means, the staged copy names that file,
or the file is placed where the name leads.
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
from render.importing.formats import SUPPORTED
from render.references import archives, plain_text
from render.references.closure import Reference, closure
from render.references.link_scan import TEXTS, is_image, kind_of
from render.references.redaction import LARGEST, blinded, redirected, safe_path, spelled_for
from render.references.spelling import is_text, spelled, unspelled

_MOST_BYTES = 32 << 30  # of one model's companions
_MOST_NOTES = 16
_DRIVE = re.compile("[A-Za-z]:")
_REWRITTEN = ("obj", "mtl", "gltf", "glb", "usda", "dae")
"""Formats whose importers find a file only where its name leads, and whose names can be replaced."""


@dataclass(frozen=True)
class Staged:
    """What the child gets of one model."""

    path: Path
    """The model's own file, in its job's folder."""
    companions: list[Path] = field(default_factory=list)
    """Where the files came from that went with it, sorted."""
    notes: list[str] = field(default_factory=list)
    """What was refused without harm to the geometry, textures and the like; what was found far away."""
    absent: list[Path] = field(default_factory=list)
    """Where files would lie that are named and not there: when they come, the model is another one."""


class Workspace:
    """A worker's folder on its own node; `close` removes it."""

    def __init__(self, root: Path):
        self.root = root
        self.root.mkdir(mode=0o700)
        self.input, self.work = self.root / "input", self.root / "work"
        self.input.mkdir()
        self.work.mkdir()

    @contextlib.contextmanager
    def job(self) -> Iterator[tuple[Path, Path]]:
        """Empty folders of one job: for its input, and for what it writes. Both are removed when it ends."""
        with (
            tempfile.TemporaryDirectory(dir=self.input, prefix="job-") as inputs,
            tempfile.TemporaryDirectory(dir=self.work, prefix="job-") as work,
        ):
            yield Path(inputs), Path(work)

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def stage_input(path: Path, source: str, folder: Path) -> Staged:
    """Put the model at `path`, recorded as `source`, and its companions into the empty `folder`.

    Raises OSError where it cannot be read or put there, and ModelFailure `outside_reference` where it is a
    link out of the models' folder, or where its geometry depends on a file that it may not have.
    """
    real = admit(path, source)
    models = archives.models(real, SUPPORTED) if path.suffix.lower() == ".zip" else None
    if models:  # else no archive of models, but a bundle for instance
        return _from_archive(real, models, _member(path, source), folder)
    return _staged(path, real, tree_of(path, source)[0], folder)


def _from_archive(archive: Path, models: list[str], member: str, folder: Path) -> Staged:
    """One model of a zip archive, whose whole content is its tree."""
    if not member and len(models) > 1:
        example = f"{_name(archive)}/{spelled(models[0])}"
        raise ModelFailure(
            FailureClass.UNSUPPORTED, f"{_name(archive)} holds {len(models)} models: name one, as {example}"
        )
    if member and member not in models:
        raise ModelFailure(FailureClass.MISSING, f"{_name(archive)} holds no {spelled(member)}")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="unpacked-") as place:
        tree = Path(place)
        archives.unpack(archive, tree)
        path = tree / (member or models[0])
        staged = _staged(path, path, tree, folder)
    return Staged(staged.path, notes=staged.notes)


def _staged(path: Path, real: Path, tree: Path, folder: Path) -> Staged:
    """The file at `path`, which is `real`, and what it names in `tree`, put into `folder`."""
    named = closure(path, tree)
    refused = [one for found in named.values() for one in _refused(found)]
    for reference in refused:
        if reference.needed:
            raise ModelFailure(
                FailureClass.OUTSIDE_REFERENCE, f"{_name(path)}: {reference.text} {reference.refusal}"
            )
    if sum(file.stat().st_size for file in named if file != path) > _MOST_BYTES:
        raise ModelFailure(
            FailureClass.INVALID, f"{_name(path)}: the files that it names exceed {_MOST_BYTES >> 30} GiB"
        )
    stage = _Stage(tree, folder)
    for file, found in named.items():
        stage.put(file, real if file == path else file.resolve(), found)
    companions = sorted(file for file in named if file != path)
    return Staged(stage.place(path), companions, _notes(refused, named, tree), _absent(named))


def tree_of(path: Path, source: str) -> tuple[Path, Path]:
    """(the model's own folder tree, the models' root) of the file that `source` names below that root.

    The tree is the topmost folder below the root that holds the model: a model's folder, or a collection's.
    For a file right in the root, and for one that is not below a root, it is the file's own folder.
    """
    parts, _ = _split(path, source)
    if len(parts) < 2:
        return path.parent, path.parent
    return path.parents[len(parts) - 2], path.parents[len(parts) - 1]


def _split(path: Path, source: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The parts of `source` that end `path`, none where it is not below a root; the parts in an archive."""
    parts = PurePosixPath(unspelled(source)).parts
    shortest = 1 if path.suffix.lower() == ".zip" else len(parts)
    for count in range(len(parts), shortest - 1, -1):
        if 0 < count <= len(path.parts) and path.parts[-count:] == parts[:count] and ".." not in parts:
            return (parts[:count] if count < len(path.parts) else ()), parts[count:]
    return (), ()


def _member(path: Path, source: str) -> str:
    """Which file of the archive at `path` is meant by `source`; "" where it names the archive alone."""
    return "/".join(_split(path, source)[1])


def admit(path: Path, source: str) -> Path:
    """The real, regular file behind `path`: to be asked before it is opened, for a pipe would never end.

    Raises OSError where there is none, and ModelFailure where it is no such file or lies out of the root.
    """
    _, root = tree_of(path, source)
    try:
        real = path.resolve(strict=True)
    except RuntimeError as error:  # a link that leads to itself
        raise FileNotFoundError(None, "a link that leads to itself", str(path)) from error
    if not real.is_relative_to(root.resolve()):
        remedy = "Copy the file, or give the folder that it lies in."
        raise ModelFailure(
            FailureClass.OUTSIDE_REFERENCE, f"{_name(path)} is a link out of the models' folder. {remedy}"
        )
    if not stat.S_ISREG(real.stat().st_mode):
        raise ModelFailure(FailureClass.UNSUPPORTED, f"{_name(path)} is not a regular file")
    return real


class _Stage:
    """Puts files of `tree` into `folder`, as they lie to each other."""

    def __init__(self, tree: Path, folder: Path):
        self.tree, self.folder = tree, folder

    def place(self, file: Path) -> Path:
        """Where a file of the tree goes; one whose name is not UTF-8 gets a name that is."""
        relative = file.relative_to(self.tree)
        return self.folder / (safe_path(str(relative)) if not is_text(str(relative)) else relative)

    def put(self, file: Path, source: Path, found: list[Reference]) -> None:
        """The file, whose names lead to what is staged; and what it names, where it leads to."""
        target, kind = self.place(file), kind_of(file)
        edits: dict[tuple[int, int], list[tuple[str, str]]] = {}
        for one in found:
            if one.path is None or (one.exact and self.place(one.path) == self._as_is(one.path)):
                continue
            if kind in _REWRITTEN and one.spans:
                name = self._name_for(one.path, target, kind)
                for span in one.spans:
                    edits.setdefault(span, []).append((one.written, name))
            else:
                self._link(one.path.resolve(), self._as_is(one.leads or one.path))
        data = _plain(source, kind)
        foreign = [name for one in found for name in one.foreign]
        if (edits or foreign) and source.stat().st_size <= LARGEST:
            data = redirected(blinded(data or source.read_bytes(), foreign), kind, edits)
        self._write(source, target, data)

    def _as_is(self, file: Path) -> Path:
        return self.folder / file.relative_to(self.tree)

    def _name_for(self, file: Path, user: Path, kind: str) -> str:
        """What a staged file `user` of format `kind` calls `file`."""
        name = os.path.relpath(self.place(file), user.parent)
        written = spelled_for(kind, name)
        if written is None:
            written = safe_path(name)
            self._link(file.resolve(), user.parent / written)
        return written

    def _link(self, source: Path, target: Path) -> None:
        """Another place of a companion, unless something is there."""
        if target.is_relative_to(self.folder) and not os.path.lexists(target):
            self._write(source, target, None)

    def _write(self, source: Path, target: Path, data: bytes | None) -> None:
        """`data`, or a hard link where the file system has it, for the child can only read; else a copy."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target):
            target.unlink()
        if data is not None:
            target.write_bytes(data)
            return
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def _plain(source: Path, kind: str) -> bytes | None:
    """The text of a file that must be converted for its importer; None where it can stay as it is."""
    if kind not in (*TEXTS, "off", "stl"):
        return None
    with source.open("rb") as file:
        data = plain_text.as_utf8(file)
        if data is None and kind in ("obj", "mtl"):
            data = plain_text.without_false_continuations(file)
    return data


def _name(path: Path) -> str:
    return spelled(path.name)


def _refused(found: list[Reference]) -> list[Reference]:
    """What was refused, but for alternatives of what was found."""
    there = {one.group for one in found if one.path is not None}
    return [one for one in found if one.refusal and (one.group is None or one.group not in there)]


def _absent(named: dict[Path, list[Reference]]) -> list[Path]:
    """Places of the files that are missed."""
    missed = (
        Path(os.path.normpath(file.parent / one.written.replace("\\", "/")))
        for file, found in named.items()
        for one in found
        if one.path is None and not one.refusal and not one.stray
    )
    return sorted(set(missed))[:_MOST_NOTES]


def _notes(refused: list[Reference], named: dict[Path, list[Reference]], tree: Path) -> list[str]:
    """What is not taken, and what was taken from afar, each once.

    Another system's path (`C:\\...`) can be only stale: no note.
    """
    meant = (one for one in refused if not one.stray and not _DRIVE.match(one.text))
    texts = {f"refused: {one.text} {one.refusal}": None for one in meant}
    for file, found in named.items():
        for one in found:
            if one.namesake and one.path is not None and is_image(one.written) and _is_far(one.path, file):
                texts[f"texture {spelled(one.path.name)}: found in {spelled(_folder_of(one.path, tree))}"] = (
                    None
                )
    return list(texts)[:_MOST_NOTES]


def _is_far(path: Path, user: Path) -> bool:
    """Whether a file lies elsewhere than beside its user, right below it, or in `../textures`."""
    home = user.parent
    return path.parent not in (home, home.parent / "textures") and path.parent.parent != home


def _folder_of(path: Path, tree: Path) -> str:
    return path.parent.relative_to(tree).as_posix()
