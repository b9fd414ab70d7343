"""Which file a task means, and the tree whose files it may have: by names and links, not by content."""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath

from render.failures import FailureClass, ModelFailure
from render.references.spelling import spelled, unspelled


def tree_of(path: Path, source: str) -> tuple[Path, Path]:
    """(the model's own folder tree, the models' root) of the file that `source` names below that root.

    The tree is the topmost folder below the root that holds the model: a model's folder, or a collection's.
    For a file right in the root, and for one that is not below a root, it is the file's own folder.
    """
    parts, _ = _split(path, source)
    if len(parts) < 2:
        return path.parent, path.parent
    return path.parents[len(parts) - 2], path.parents[len(parts) - 1]


def member_of(path: Path, source: str) -> str:
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
            FailureClass.OUTSIDE_REFERENCE,
            f"{spelled(path.name)} is a link out of the models' folder. {remedy}",
        )
    if not stat.S_ISREG(real.stat().st_mode):
        raise ModelFailure(FailureClass.UNSUPPORTED, f"{spelled(path.name)} is not a regular file")
    return real


def _split(path: Path, source: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The parts of `source` that end `path`, none where it is not below a root; the parts in an archive."""
    parts = PurePosixPath(unspelled(source)).parts
    shortest = 1 if path.suffix.lower() == ".zip" else len(parts)
    for count in range(len(parts), shortest - 1, -1):
        if 0 < count <= len(path.parts) and path.parts[-count:] == parts[:count] and ".." not in parts:
            return (parts[:count] if count < len(path.parts) else ()), parts[count:]
    return (), ()
