"""Textures whose path is not theirs any more: found beside the model, or dropped and named.

Exporters write absolute paths of the machine they ran on. A missing file of the same name in the model's own
folder, or one folder below, is taken for it; a texture that stays missing is unlinked, so that the material's
factor shows instead of Blender's magenta. So is one that would fill the memory.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import bpy
from PIL import Image

MOST_FOLDERS = 64  # searched below the model's own


def mend_textures(folder: Path) -> tuple[list[str], list[str]]:
    """Relink what lies in `folder`; unlink the rest. Returns the names still missing, and notes."""
    beside: dict[str, str] | None = None
    notes = _drop_bombs()
    for image in [i for i in bpy.data.images if not _is_there(i)]:
        beside = _files(folder) if beside is None else beside
        name = file_name(image)
        if name.lower() in beside:
            image.filepath = beside[name.lower()]
            image.reload()
            notes.append(f"texture {name}: found beside the model")
    return _drop_missing(), notes


def _drop_bombs() -> list[str]:
    """Remove images with more pixels than Pillow dares to decode (2e8), by their header alone; notes."""
    bombs = [image for image in bpy.data.images if _is_bomb(image)]
    notes = [f"texture {file_name(image)}: too many pixels; left out" for image in bombs]
    for image in bombs:
        bpy.data.images.remove(image)
    return notes


def _is_bomb(image: bpy.types.Image) -> bool:
    packed = image.packed_file
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            Image.open(io.BytesIO(packed.data) if packed else bpy.path.abspath(image.filepath)).close()
    except Image.DecompressionBombError:
        return True
    except (OSError, ValueError, SyntaxError):  # not there, or not for Pillow: Blender's to judge
        return False
    return False


def file_name(image: bpy.types.Image) -> str:
    """The file's bare name, whichever system's separators its path has."""
    return PureWindowsPath(image.filepath.removeprefix("//")).name or image.name


def _files(folder: Path) -> dict[str, str]:
    """Lower-case name -> path of the files in `folder` and in the folders right below; its own come first."""
    below = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    found: dict[str, str] = {}
    for place in (str(folder), *below[:MOST_FOLDERS]):
        for name, path in _names(place):
            found.setdefault(name, path)
    return found


def _names(folder: str) -> Iterator[tuple[str, str]]:
    return ((e.name.lower(), e.path) for e in os.scandir(folder) if e.is_file(follow_symlinks=False))


def _drop_missing() -> list[str]:
    """Remove image nodes without pixels from every tree; the names of their files."""
    missing = set()
    for tree in [m.node_tree for m in bpy.data.materials if m.node_tree] + list(bpy.data.node_groups):
        for node in [n for n in tree.nodes if n.type == "TEX_IMAGE"]:
            if node.image is None or not _is_there(node.image):
                missing.add(file_name(node.image) if node.image else node.label or node.name)
                tree.nodes.remove(node)
    return sorted(missing)


def _is_there(image: bpy.types.Image) -> bool:
    """Whether the image's pixels can be had (asking for the size loads it)."""
    return image.source in {"GENERATED", "VIEWER"} or min(image.size) > 0
