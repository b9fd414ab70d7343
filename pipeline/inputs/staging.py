"""A model and the files that it names, put where the confined child may read them: and nothing else is there.

    with workspace.job() as folders, supervisor.turn() as turn:
        staged = stage_input(task.input, task.source, folders, turn)    # the child gets staged.path

Place, scan, place, decode: the model's file is placed; the child scans it for names; the supervisor looks
them up and places the files that the rules allow, which the child scans in turn, until nothing new is named;
then the child decodes, redacts and rewrites the copies that need it. It unpacks an archive first.

Which files a model may have, and what is refused: `render.references.closure`. What the child does with
their bytes: `render.references.orders`.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.inputs.admission import admit, member_of, tree_of
from pipeline.inputs.placing import PlacedTree, put, take, text_path
from pipeline.inputs.reader import Reader
from pipeline.inputs.workspace import Folders
from render.failures import FailureClass, ModelFailure
from render.references.closure import Reference, closure
from render.references.link_scan import is_image
from render.references.lookup import LocalTree
from render.references.orders import UnpackOrder
from render.references.spelling import spelled, unspelled

_MOST_NOTES = 16
_DRIVE = re.compile("[A-Za-z]:")

Named = dict[Path, list[Reference]]
"""The model's file and its companions, each with what it names."""


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


def stage_file(path: Path, source: str, folders: Folders, reader: Reader) -> Staged:
    """Put a file that names no others, a view bundle for instance, into an empty folder."""
    target = folders.input / text_path(path.name)
    put(admit(path, source), target, reader)
    return Staged(target)


def stage_input(path: Path, source: str, folders: Folders, reader: Reader) -> Staged:
    """Put the model at `path`, recorded as `source`, and its companions into the empty `folders.input`.

    Raises OSError where it cannot be read or put there, and ModelFailure `outside_reference` where it is a
    link out of the models' folder, or where its geometry depends on a file that it may not have.
    """
    admit(path, source)
    if path.suffix.lower() != ".zip":
        return _staged(path, tree_of(path, source)[0], folders, reader)
    with tempfile.TemporaryDirectory(dir=folders.input.parent, prefix="unpacked-") as folder:
        model = _unpacked(path, member_of(path, source), Path(folder), folders.work, reader)
        if model is None:
            return _staged(path, tree_of(path, source)[0], folders, reader)
        staged = _staged(model, Path(folder, "tree"), folders, reader)
    return Staged(staged.path, notes=staged.notes)


def _staged(path: Path, tree: Path, folders: Folders, reader: Reader) -> Staged:
    """The file at `path`, and what it names in `tree`, put into a folder."""
    placed = PlacedTree(tree, folders, reader)
    named = closure(path, tree, LocalTree(tree), placed.scan, reader.check)
    refused = [one for found in named.values() for one in _refused(found)]
    for reference in refused:
        if reference.needed:
            raise ModelFailure(
                FailureClass.OUTSIDE_REFERENCE, f"{_name(path)}: {reference.text} {reference.refusal}"
            )
    for file, found in named.items():
        placed.finish(file, found)
    companions = sorted(file for file in named if file != path)
    return Staged(placed.place(path), companions, _notes(refused, named, tree), _absent(named))


def _unpacked(archive: Path, member: str, folder: Path, work: Path, reader: Reader) -> Path | None:
    """One model of a zip archive, below `folder`/tree; None where the archive holds no models."""
    placed, unpacked, tree = folder / text_path(archive.name), work / "unpacked", folder / "tree"
    put(archive, placed, reader)
    found = reader.unpack(UnpackOrder(archive=placed, member=spelled(member), folder=unpacked)).model
    if found is None:
        return None
    take(unpacked, tree, stat.S_IFDIR)
    name = unspelled(found)
    if os.path.isabs(name) or LocalTree(tree).refusal(name) != "":
        raise ModelFailure(FailureClass.CRASH, "The process broke the protocol: it unpacked no such file.")
    return tree / name


def _name(path: Path) -> str:
    return spelled(path.name)


def _refused(found: list[Reference]) -> list[Reference]:
    """What was refused, but for alternatives of what was found."""
    there = {one.group for one in found if one.path is not None}
    return [one for one in found if one.refusal and (one.group is None or one.group not in there)]


def _absent(named: Named) -> list[Path]:
    """Places of the files that are missed."""
    missed = (
        Path(os.path.normpath(file.parent / one.written.replace("\\", "/")))
        for file, found in named.items()
        for one in found
        if one.path is None and not one.refusal and not one.stray
    )
    return sorted(set(missed))[:_MOST_NOTES]


def _notes(refused: list[Reference], named: Named, tree: Path) -> list[str]:
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
