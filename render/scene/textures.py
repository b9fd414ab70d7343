"""Textures with stale paths: found beside the model, or removed and reported.

Exporters write absolute paths of the machine they ran on. A file of the same name in the model's folder, or
one folder below, replaces a missing texture. A texture that stays missing, or is too large for memory, is
unlinked, so that the material's color factor shows instead of Blender's magenta.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import bpy
from PIL import Image

MAX_FOLDERS = 64  # searched below the model's own


def relink_textures(folder: Path) -> tuple[list[str], list[str]]:
    """Relink missing textures found in `folder`; unlink the others. Returns the names of those, and notes."""
    beside: dict[str, str] | None = None
    notes = _drop_oversized()
    for image in [i for i in bpy.data.images if not _has_pixels(i)]:
        beside = _files(folder) if beside is None else beside
        name = _file_name(image)
        if name.lower() in beside:
            image.filepath = beside[name.lower()]
            image.reload()
            notes.append(f"texture {name}: found beside the model")
    return _drop_missing(), notes


def _drop_oversized() -> list[str]:
    """Remove images whose header declares more pixels than Pillow decodes (2e8). Returns notes."""
    oversized = [image for image in bpy.data.images if _is_oversized(image)]
    notes = [f"texture {_file_name(image)}: too many pixels; removed" for image in oversized]
    for image in oversized:
        bpy.data.images.remove(image)
    return notes


def _is_oversized(image: bpy.types.Image) -> bool:
    packed = image.packed_file
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            Image.open(io.BytesIO(packed.data) if packed else bpy.path.abspath(image.filepath)).close()
    except Image.DecompressionBombError:
        return True
    except (OSError, ValueError, SyntaxError):  # missing, or not a format of Pillow's: left to Blender
        return False
    return False


def _file_name(image: bpy.types.Image) -> str:
    """The file's bare name; its path may use either system's separators."""
    return PureWindowsPath(image.filepath.removeprefix("//")).name or image.name


def _files(folder: Path) -> dict[str, str]:
    """Lower-case name -> path of the files in `folder` and its direct subfolders; those in `folder` win."""
    below = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    found: dict[str, str] = {}
    for place in (str(folder), *below[:MAX_FOLDERS]):
        for name, path in _names(place):
            found.setdefault(name, path)
    return found


def _names(folder: str) -> Iterator[tuple[str, str]]:
    return ((e.name.lower(), e.path) for e in os.scandir(folder) if e.is_file(follow_symlinks=False))


def _drop_missing() -> list[str]:
    """Remove image nodes without pixels from every node tree. Returns the names of their files."""
    missing = set()
    for tree in [m.node_tree for m in bpy.data.materials if m.node_tree] + list(bpy.data.node_groups):
        for node in [n for n in tree.nodes if n.type == "TEX_IMAGE"]:
            if node.image is None or not _has_pixels(node.image):
                missing.add(_file_name(node.image) if node.image else node.label or node.name)
                tree.nodes.remove(node)
    return sorted(missing)


def _has_pixels(image: bpy.types.Image) -> bool:
    """Whether the image's pixels are available (asking for the size loads it)."""
    return image.source in {"GENERATED", "VIEWER"} or min(image.size) > 0
