"""Objaverse 1.0 as its package downloads it (`~/.objaverse/hf-objaverse-v1`): annotations and LVIS.

`metadata/*.json.gz` has name, license and user of each uid, `lvis-annotations.json.gz` the uids of each
category, and the models lie in `glbs/000-000/UID.glb`. Only models that are there are listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.catalogs.entry import Entry, read_json
from pipeline.output.licenses import License

NAME = "objaverse"
_LICENSES = {
    "by": "CC-BY-4.0",
    "by-sa": "CC-BY-SA-4.0",
    "by-nd": "CC-BY-ND-4.0",
    "by-nc": "CC-BY-NC-4.0",
    "by-nc-sa": "CC-BY-NC-SA-4.0",
    "by-nc-nd": "CC-BY-NC-ND-4.0",
    "cc0": "CC0-1.0",
}


def knows(folder: Path) -> bool:
    """Whether the folder is a download of Objaverse."""
    return (folder / "glbs").is_dir() and any((folder / "metadata").glob("*.json.gz"))


def entries(folder: Path) -> Iterator[Entry]:
    """Every model that is there, with its annotation."""
    there = {path.stem: path.relative_to(folder).as_posix() for path in folder.glob("glbs/*/*.glb")}
    categories = _categories(folder)
    for file in sorted((folder / "metadata").glob("*.json.gz")):
        for uid, annotation in sorted(read_json(file).items()):
            if path := there.pop(uid, None):
                yield _entry(uid, path, annotation, categories.get(uid))
    for uid, path in sorted(there.items()):
        yield Entry(path, None, categories.get(uid), License(None), uid)


def _entry(uid: str, path: str, annotation: dict[str, Any], category: str | None) -> Entry:
    user = annotation.get("user") or {}
    license = _LICENSES.get(annotation.get("license") or "", annotation.get("license"))
    author = user.get("displayName") or user.get("username")
    tagged = next((one.get("name") for one in annotation.get("categories") or ()), None)
    url = annotation.get("viewerUrl")
    return Entry(path, annotation.get("name"), category or tagged, License(license, author, url), uid)


def _categories(folder: Path) -> dict[str, str]:
    """uid -> LVIS category; empty where they were not downloaded."""
    path = folder / "lvis-annotations.json.gz"
    if not path.exists():
        return {}
    found = read_json(path)
    return {uid: name.replace("_", " ") for name in sorted(found) for uid in found[name]}
